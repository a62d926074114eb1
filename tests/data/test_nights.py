"""Night after night a file joins the folder: what is read, and that the result is a full one's."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinsage import stages
from pinsage.config import Config, parse_config
from pinsage.data import snapshot
from pinsage.data.sources import Found, open_files
from pinsage.errors import SourceError
from pinsage.store import Artifact, Store

HEADER = "user_id,item_id,timestamp,weight\n"
FILES = ("interactions.parquet", "items.parquet", "quarantine.parquet", "users.parquet")
QUICK = settings(
    deadline=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Row = tuple[str, str, str, str]


NONE = "there is no earlier ingest of a part of these files"


class Shop:
    """A folder of logs, a catalog if there is one, and the store that sees them every night."""

    def __init__(self, folder: Path, duplicates: str = "exact") -> None:
        self.folder = folder
        self.duplicates = duplicates
        self.has_catalog = False
        (folder / "log").mkdir(parents=True)

    def add(self, name: str, rows: list[Row]) -> None:
        lines = "".join(",".join(row) + "\n" for row in rows)
        (self.folder / "log" / f"{name}.csv").write_text(HEADER + lines)

    def list_items(self, items: list[str]) -> None:
        self.has_catalog = True
        lines = "".join(f"{item},title of {item} in {len(items)}\n" for item in items)
        (self.folder / "items.csv").write_text("item_id,title\n" + lines)

    def config(self, root: str = "var", **data: Any) -> Config:
        log = {
            "path": str(self.folder / "log"),
            "weight_column": "weight",
            "duplicates": self.duplicates,
        }
        tree: dict[str, Any] = {"interactions": log, **data}
        if self.has_catalog:
            tree["items"] = {"path": str(self.folder / "items.csv"), "title_column": "title"}
        return parse_config({"name": "shop", "root": str(self.folder / root), "data": tree})

    def night(self, root: str = "var") -> Artifact:
        config = self.config(root)
        store = Store(config.root)
        return stages.ingest(config, store, stages.snapshot(config, store))

    def afresh(self) -> Artifact:
        """What a store gives that has never seen any of it."""
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        return self.night("fresh")


def contents(artifact: Artifact) -> dict[str, bytes]:
    return {name: artifact.file(name).read_bytes() for name in FILES}


def same_facts(one: Artifact, other: Artifact) -> bool:
    how = {"num_read", "extends", "full_because"}
    return {k: v for k, v in one.facts.items() if k not in how} == {
        k: v for k, v in other.facts.items() if k not in how
    }


def days(first: int, last: int) -> list[Row]:
    return [(f"u{t % 3}", f"i{t % 5}", str(t), "1") for t in range(first, last)]


def ids(letters: str) -> st.SearchStrategy[str]:
    return st.sampled_from(["", *letters])


def logs(first: int) -> st.SearchStrategy[list[Row]]:
    """Rows of three seconds from `first` on; some of them are late, some unusable."""
    late = st.sampled_from([first, first + 1, first + 2, first + 1, first + 2, max(first - 1, 0)])
    when = st.one_of(late.map(str), st.just("never"))
    weights = st.sampled_from(["1", "2.5", "much"])
    return st.lists(st.tuples(ids("abcXY"), ids("pqrsQ"), when, weights), max_size=12)


CATALOGS = st.lists(st.sampled_from("pqrsQtz"), min_size=1, max_size=9).map(lambda ids: ["r", *ids])


@pytest.mark.slow
@pytest.mark.parametrize("duplicates", ["exact", "first", "keep"])
@QUICK
@given(data=st.data())
def test_every_night_ends_with_what_a_full_ingest_gives(
    tmp_path: Path, duplicates: str, data: st.DataObject
) -> None:
    shop = Shop(tmp_path / str(len(list(tmp_path.iterdir()))), duplicates)
    with_catalog = data.draw(st.booleans())
    for night in range(3):
        rows = data.draw(logs(3 * night))
        shop.add(
            f"{data.draw(st.integers(0, 9))}-{night}", [*rows, ("a", "r", str(3 * night), "1")]
        )
        if with_catalog:
            shop.list_items(data.draw(CATALOGS))
        made, fresh = shop.night(), shop.afresh()
        assert contents(made) == contents(fresh)
        assert same_facts(made, fresh)
        assert fresh.facts["extends"] == ""
        assert bool(made.facts["extends"]) != bool(night == 0 or made.facts["full_because"])


@QUICK
@given(cuts=st.sets(st.integers(1, 39), min_size=1, max_size=4))
def test_days_in_a_row_are_always_added_and_never_read_again(
    tmp_path: Path, cuts: set[int]
) -> None:
    shop = Shop(tmp_path / str(len(list(tmp_path.iterdir()))))
    bounds = [0, *sorted(cuts), 40]
    for first, last in pairwise(bounds):
        shop.add(f"{first:02}", days(first, last))
        made = shop.night()
        assert bool(made.facts["extends"]) == (first > 0)
        assert made.facts["num_read"] == last - first
    assert contents(made) == contents(shop.afresh())


@contextmanager
def opened_below(folder: Path) -> Iterator[list[str]]:
    """Names of the files of `folder` that any code of this process opens, as the kernel sees it."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert watch >= 0
    assert libc.inotify_add_watch(watch, os.fsencode(folder), 0x20) >= 0  # IN_OPEN
    names: list[str] = []
    try:
        yield names
        events = os.read(watch, 1 << 16) if _has_events(watch) else b""
        while events:
            length = int.from_bytes(events[12:16], "little")
            names.append(events[16 : 16 + length].rstrip(b"\0").decode())
            events = events[16 + length :]
    finally:
        os.close(watch)


def _has_events(watch: int) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/sys/fs/inotify").exists(), reason="asks the kernel by inotify")
def test_the_files_of_the_past_are_not_opened(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    for day in range(3):
        shop.add(f"day-{day}", days(10 * day, 10 * day + 10))
    time.sleep(2.1)  # a file this young may still change unseen, so its digest isn't remembered
    with opened_below(shop.folder / "log") as names:
        shop.night()
    assert {name for name in names if name} == {f"day-{day}.csv" for day in range(3)}
    shop.add("day-3", days(30, 40))
    with opened_below(shop.folder / "log") as names:
        made = shop.night()
    assert {name for name in names if name} == {"day-3.csv"}
    assert made.facts["num_read"] == 10
    assert contents(made) == contents(shop.afresh())


class TestWhatChangesThePast:
    @pytest.fixture
    def shop(self, tmp_path: Path) -> Shop:
        shop = Shop(tmp_path / "shop")
        shop.add("1", [*days(0, 10), ("u9", "lost", "3", "1")])
        shop.list_items([f"i{n}" for n in range(5)])
        shop.night()
        return shop

    def reread(self, shop: Shop) -> str:
        made = shop.night()
        assert made.facts["extends"] == ""
        assert contents(made) == contents(shop.afresh())
        return str(made.facts["full_because"])

    def test_a_row_at_the_last_time_before(self, shop: Shop) -> None:
        shop.add("2", days(9, 12))
        assert self.reread(shop) == (
            "a new interaction at 1970-01-01T00:00:09+00:00 is not later than "
            "1970-01-01T00:00:09+00:00, the last before"
        )

    def test_an_item_that_left_the_catalog(self, shop: Shop) -> None:
        shop.add("2", days(10, 12))
        shop.list_items([f"i{n}" for n in range(4)])
        assert self.reread(shop) == "the catalog has no item 'i4' any more"

    def test_an_item_that_was_missing_in_the_catalog(self, shop: Shop) -> None:
        shop.list_items(["lost", *(f"i{n}" for n in range(5))])
        assert self.reread(shop) == "the catalog has item 'lost' now, which was quarantined"

    def test_a_file_that_is_gone_or_altered_is_no_night_more(self, shop: Shop) -> None:
        shop.add("1", days(0, 9))
        assert self.reread(shop) == NONE

    def test_ids_that_became_text(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path / "numbers")
        shop.add("1", [("10", "7", "1", "1"), ("9", "7", "1", "1")])
        assert pq.read_table(shop.night().file("users.parquet"))["user_id"].to_pylist() == [9, 10]
        shop.add("2", [("x", "7", "2", "1")])
        assert self.reread(shop) == "user_id became string, it was int64"

    def test_but_a_catalog_in_another_order_does_not(self, shop: Shop) -> None:
        shop.add("2", days(10, 12))
        shop.list_items(["new", *(f"i{n}" for n in (3, 1, 0, 2, 4))])
        made = shop.night()
        assert made.facts["num_read"] == 2
        assert contents(made) == contents(shop.afresh())

    def test_a_damaged_ingest_is_passed_over(self, shop: Shop) -> None:
        for file in (shop.folder / "var" / "stages" / "ingest").glob("*/interactions.parquet"):
            file.write_bytes(file.read_bytes()[:-1])
        shop.add("2", days(10, 12))
        assert self.reread(shop) == NONE


def test_the_same_file_twice_counts_twice(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", duplicates="keep")
    shop.add("1", days(0, 5))
    assert shop.night().facts["num_interactions"] == 5
    shop.add("2", days(0, 5))
    made = shop.night()
    assert made.facts["num_interactions"] == 10
    assert contents(made) == contents(shop.afresh())


def test_memory_is_in_no_key(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    shop.add("1", days(0, 5))
    made = shop.night()
    config = shop.config(memory_mib=200)
    store = Store(config.root)
    landed = stages.snapshot(config, store)
    again = stages.ingest(config, store, landed)
    assert landed.reused
    assert again.reused
    assert again.path == made.path


def test_a_folder_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path, "exact")
    shop.add("monday", days(0, 5))
    config, find = shop.config(), snapshot.find_sources

    def found_before(*arguments: Any) -> dict[str, Found]:
        found = find(*arguments)
        shop.add("tuesday", days(5, 9))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "find_sources", found_before)
        with pytest.raises(SourceError, match=r"tuesday.csv: appeared while its folder was"):
            stages.snapshot(config, Store(config.root))
    table = open_files(config.data.interactions)[0]
    with pytest.raises(SourceError, match=r"monday.csv: changed while it was being read; run"):
        stages.part(config, Store(config.root), table, "the digest of what it was")
    assert shop.night().facts["num_interactions"] == 9
