"""The sets that configs/ names, where this machine has them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from pinsage.config import Config, load_config
from pinsage.data.ingest import write_ingested
from pinsage.data.pairs import consecutive_pairs
from pinsage.data.snapshot import write_snapshot
from pinsage.data.split import write_split
from pinsage.store import Facts

pytestmark = pytest.mark.data
ROOT = Path(__file__).parents[2]
SMALL = ROOT / ".." / "shared" / "data" / "ml-latest-small"


def run(config: Config, out: Path) -> tuple[Facts, Facts]:
    """Ingest and split facts."""
    folders = [out / name for name in ("snapshot", "ingest", "split")]
    for folder in folders:
        folder.mkdir()
    snapshot, ingested, parts = folders
    write_snapshot(config.data, snapshot)
    facts = write_ingested(snapshot, config.data, ingested)
    return facts, write_split(ingested, config.split, parts, has_catalog=True)


@pytest.mark.skipif(not SMALL.is_dir(), reason="../shared/data/ml-latest-small is not here")
def test_movielens_latest_small_has_the_counts_of_its_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    facts, _ = run(load_config(ROOT / "configs" / "movielens-latest-small.toml"), tmp_path)
    counts = ("num_interactions", "num_users", "num_items", "num_quarantined")
    assert [facts[name] for name in counts] == [100_836, 610, 9_742, 0]


def test_movielens_100k_has_the_counts_of_its_authors(tmp_path: Path) -> None:
    try:
        metadata.distribution("recbole")
    except metadata.PackageNotFoundError:
        pytest.skip("the package recbole, which carries the data, is not installed")
    facts, parts = run(load_config(ROOT / "configs" / "movielens-100k.toml"), tmp_path)
    counts = ("num_interactions", "num_users", "num_items", "num_quarantined", "num_duplicates")
    assert [facts[name] for name in counts] == [100_000, 943, 1_682, 0, 0]
    assert sum(parts[f"num_{part}"] for part in ("train", "valid", "test")) == 100_000
    test = tmp_path / "split" / "test.parquet"
    assert len(consecutive_pairs(test, equal_times="drop")) == 9_501
