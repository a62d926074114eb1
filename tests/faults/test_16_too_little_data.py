"""Row 16: empty input, one row, one item, one user: a clear failure, and the champion is kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pinsage.config import parse_config
from pinsage.errors import PinSageError
from pinsage.retrieval.published import load_published

if TYPE_CHECKING:
    from tests.conftest import RunStages

HEADER = "user_id,item_id,timestamp"
ITEMS = "item_id,title,group,year,tags"
MANY = [f"u{n % 5},i{n % 7},{1_700_000_000 + 100 * n}" for n in range(200)]
CATALOG = [f"i{n},Film {n},g,1990,a|b" for n in range(7)]


@pytest.mark.parametrize(
    ("rows", "items", "words"),
    [
        ([], CATALOG, "interaction"),
        (MANY[:1], CATALOG, "split.*empty"),
        (MANY[:2], CATALOG, "split.*empty"),
        (MANY, [], "item"),
        ([row.replace(",i", ",j") for row in MANY], CATALOG, "catalog"),
        ([f"u1,i1,{n}" for n in range(100)], CATALOG, "no two .* items in a row"),
        ([f"u{n},i{n % 7},{n}" for n in range(100)], CATALOG, "no two .* items in a row"),
        ([f"u{n % 5},i{n % 7},1700000000" for n in range(100)], CATALOG, "split.*distinct times"),
    ],
    ids=[
        "no row", "one row", "two rows", "no item", "only unknown items", "one item of one user",
        "every user once", "one time",
    ],
)  # fmt: skip
def test_is_one_clear_failure_and_what_is_published_stays(
    tiny_run: SimpleNamespace,
    tmp_path: Path,
    run_stages: RunStages,
    rows: list[str],
    items: list[str],
    words: str,
) -> None:
    shutil.copytree(tiny_run.config.root / "published", tmp_path / "published")
    (tmp_path / "interactions.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (tmp_path / "items.csv").write_text("\n".join([ITEMS, *items]) + "\n")
    tree = tiny_run.config.model_dump(mode="json")
    tree["root"] = str(tmp_path)
    tree["data"]["interactions"]["path"] = str(tmp_path / "interactions.csv")
    tree["data"]["items"]["path"] = str(tmp_path / "items.csv")
    with pytest.raises(PinSageError, match=rf"(?s).*{words}") as caught:
        run_stages(parse_config(tree))
    assert caught.value.exit_code == 2
    assert load_published(tmp_path, "tiny").version == tiny_run.version.name
    assert not list(tmp_path.rglob(".staging-*"))


def test_one_user_is_enough(
    tiny_run: SimpleNamespace, tmp_path: Path, run_stages: RunStages
) -> None:
    rows = [f"u1,i{(n * n) % 7},{1_700_000_000 + 100 * n}" for n in range(200)]
    (tmp_path / "interactions.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    tree = tiny_run.config.model_dump(mode="json")
    tree["root"], tree["data"]["items"] = str(tmp_path), None
    tree["data"]["interactions"]["path"] = str(tmp_path / "interactions.csv")
    tree["evaluation"]["ks"] = [1, 2]
    run = run_stages(parse_config(tree))
    assert load_published(tmp_path, "tiny").version == run.version.name
