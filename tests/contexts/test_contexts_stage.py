"""The stage: every user once, the newest interactions, whatever the size of the blocks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage import stages
from pinsage.config import ContextsConfig, parse_config
from pinsage.contexts import histories as reading
from pinsage.contexts.histories import read_histories
from pinsage.contexts.stage import TABLE, VECTORS, ContextVectors, write_contexts
from pinsage.errors import ArtifactError, UnknownItemError
from pinsage.store import Store

NUM_USERS, NUM_ITEMS, WIDTH = 37, 20, 5


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingested")
    rng = np.random.default_rng(3)
    user = np.minimum(rng.zipf(1.3, 3000) - 1, NUM_USERS - 2)  # the last user took nothing
    pq.write_table(
        pa.table({
            "user_row": pa.array(user.astype(np.int32)),
            "item_row": pa.array(rng.integers(0, NUM_ITEMS, len(user)).astype(np.int32)),
            "timestamp": pa.array(np.sort(rng.integers(0, 1 << 40, len(user)))),
            "weight": pa.array(rng.random(len(user)).astype(np.float32)),
        }),
        folder / "interactions.parquet",
        row_group_size=700,
    )  # fmt: skip
    ids = [f"ü{row}/.." for row in range(NUM_USERS)]
    pq.write_table(pa.table({"user_id": ids}), folder / "users.parquet")
    np.save(folder / "e.npy", rng.standard_normal((NUM_ITEMS, WIDTH)).astype(np.float32))
    return folder


@pytest.mark.parametrize("newest", [1, 7, 2000])
def test_a_history_is_the_newest_interactions_in_their_order(ingested: Path, newest: int) -> None:
    table = pq.read_table(ingested / "interactions.parquet").to_pandas()
    settings = ContextsConfig(newest=newest)
    [(first, found)] = read_histories(ingested, settings, WIDTH)
    assert (first, found.num_contexts) == (0, NUM_USERS)
    for user in range(NUM_USERS):
        expected = table[table.user_row == user].tail(newest)
        span = slice(found.indptr[user], found.indptr[user + 1])
        assert found.items[span].tolist() == expected.item_row.tolist()
        assert found.times[span].tolist() == expected.timestamp.tolist()
        assert found.weights[span].tolist() == expected.weight.tolist()


@pytest.mark.parametrize("kind", ["mean", "medoids"])
def test_small_blocks_write_the_same_bytes(
    ingested: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ContextsConfig.model_validate({"pool": kind, "newest": 30, "half_life_days": 2})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    facts = write_contexts(ingested, ingested / "e.npy", settings, whole)
    monkeypatch.setattr(reading, "_ENTRY", 1 << 18)  # as if an entry were so large
    small = settings.model_copy(update={"memory_mib": 16})
    assert len(list(read_histories(ingested, small, WIDTH))) > 5
    assert write_contexts(ingested, ingested / "e.npy", small, parts) == facts
    for name in (VECTORS, TABLE):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_a_user_is_found_by_its_id_and_has_the_mean_of_its_items(
    ingested: Path, tmp_path: Path
) -> None:
    facts = write_contexts(ingested, ingested / "e.npy", ContextsConfig(newest=2000), tmp_path)
    table = pq.read_table(ingested / "interactions.parquet").to_pandas()
    embeddings = np.load(ingested / "e.npy")
    opened = ContextVectors.open(tmp_path)
    assert facts["num_users"] == facts["num_vectors"] == table.user_row.nunique()
    for user in (0, 5, int(table.user_row.max())):
        found, importance = opened.of(f"ü{user}/..")
        expected = embeddings[table.item_row[table.user_row == user]].mean(axis=0)
        np.testing.assert_allclose(found, expected[None], atol=1e-5)
        assert importance.tolist() == [1.0]
    for nobody in (f"ü{NUM_USERS - 1}/..", "nobody"):
        with pytest.raises(UnknownItemError, match="has no vector"):
            opened.of(nobody)


def test_vectors_that_are_cut_short_are_named(ingested: Path, tmp_path: Path) -> None:
    write_contexts(ingested, ingested / "e.npy", ContextsConfig(), tmp_path)
    (tmp_path / VECTORS).write_bytes(b"\x93NUMPY")
    with pytest.raises(ArtifactError, match=r"vectors\.npy: cannot be read"):
        ContextVectors.open(tmp_path)


def test_the_stage_is_found_again_and_how_it_is_made_changes_no_key(
    tiny_run: SimpleNamespace,
) -> None:
    config, store = tiny_run.config, Store(tiny_run.config.root)
    made = stages.contexts(config, store, tiny_run.ingest, tiny_run.embed)
    tree = config.model_dump(mode="json")

    def again(**changes: object) -> bool:
        other = parse_config({**tree, "contexts": {**tree["contexts"], **changes}})
        return stages.contexts(other, store, tiny_run.ingest, tiny_run.embed).reused

    assert again(memory_mib=16, publish=True)
    assert not again(half_life_days=1)
    assert made.facts["num_users"] == tiny_run.ingest.facts["num_users"]
    assert made.manifest.inputs["embeddings"] == tiny_run.embed.digest()
