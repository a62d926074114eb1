"""Fencing: who began earlier than the last who published is refused, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pinsage
from pinsage.errors import ArtifactError, PublishError
from pinsage.retrieval import fencing, history
from pinsage.retrieval.fencing import Fence, Token
from pinsage.retrieval.publish import Version, publish, take_token
from pinsage.retrieval.published import load_published
from pinsage.retrieval.versions import current_version, list_versions, rollback
from tests.retrieval.conftest import artifacts, shelf_config, unit_rows

TAKE = """
import sys
from pathlib import Path
from pinsage.retrieval import fencing
from pinsage.retrieval.versions import locked
for _ in range(20):
    with locked(Path(sys.argv[1])):
        print(fencing.take(Path(sys.argv[1])))
"""


def published(root: Path, seed: int, **settings: Any) -> Version:
    config = shelf_config(root)
    ids = [f"i{row}" for row in range(12)]
    return publish(config, **artifacts(config, ids, ids, unit_rows(12, 4, seed)), **settings)


def folder(root: Path) -> Path:
    return root / "published" / "films"


def test_a_late_publisher_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    early, late = take_token(shelf_config(tmp_path)), take_token(shelf_config(tmp_path))
    newer = published(tmp_path, 1, token=late)
    with pytest.raises(PublishError, match=rf"token 1, and token 2 published {newer.name} since"):
        published(tmp_path, 2, token=early)
    assert current_version(tmp_path, "films") == newer.name
    assert [each.version for each in list_versions(tmp_path, "films")] == [newer.name]
    assert [each["what"] for each in history.read_history(folder(tmp_path))] == [
        "publish",
        "refused",
    ]


def test_who_began_earlier_and_is_not_late_publishes(tmp_path: Path) -> None:
    early, late = take_token(shelf_config(tmp_path)), take_token(shelf_config(tmp_path))
    published(tmp_path, 1, token=early)
    newer = published(tmp_path, 2, token=late)
    assert current_version(tmp_path, "films") == newer.name
    assert published(tmp_path, 3, token=late).followed  # the same publisher, tried again


def test_a_late_duplicate_is_the_same_version_and_moves_no_fence(tmp_path: Path) -> None:
    early, late = take_token(shelf_config(tmp_path)), take_token(shelf_config(tmp_path))
    first = published(tmp_path, 1, token=late)
    again = published(tmp_path, 1, token=early)
    assert (again.name, again.reused) == (first.name, True)
    assert fencing.read_fence(folder(tmp_path)).published == late.local
    assert len(history.read_history(folder(tmp_path))) == 1


def test_a_late_publisher_does_not_go_back_to_what_it_published_before(tmp_path: Path) -> None:
    old = published(tmp_path, 1)
    early = take_token(shelf_config(tmp_path))
    newer = published(tmp_path, 2)
    with pytest.raises(PublishError):
        published(tmp_path, 1, token=early)
    assert current_version(tmp_path, "films") == newer.name != old.name


def test_force_lets_a_late_publisher_through_with_a_reason(tmp_path: Path) -> None:
    early = take_token(shelf_config(tmp_path))
    published(tmp_path, 1)
    forced = published(tmp_path, 2, token=early, force=True, why="the newer data were wrong")
    assert current_version(tmp_path, "films") == forced.name
    last = history.read_history(folder(tmp_path))[-1]
    assert (last["what"], last["forced"]) == ("publish", True)
    assert last["why"] == "the newer data were wrong"
    assert last["who"]
    assert fencing.read_fence(folder(tmp_path)).published == 2  # it never goes back


def test_processes_never_take_the_same_number(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = [[int(line) for line in each.communicate()[0].split()] for each in processes]
    assert sorted(number for each in taken for number in each) == list(range(1, 61))
    assert all(each == sorted(each) for each in taken)


def test_a_rollback_is_in_the_history(tmp_path: Path) -> None:
    first, second = published(tmp_path, 1), published(tmp_path, 2)
    rollback(tmp_path, "films", why="complaints")
    last = history.read_history(folder(tmp_path))[-1]
    assert (last["what"], last["version"], last["was"], last["why"]) == (
        "rollback",
        first.name,
        second.name,
        "complaints",
    )


def test_a_line_that_a_kill_cut_short_hides_no_other(tmp_path: Path) -> None:
    history.record(tmp_path, history.event("publish", version="a"))
    with (tmp_path / history.FILE).open("ab") as file:
        file.write(b'{"when": "2024')
    history.record(tmp_path, history.event("publish", version="b"))
    assert [each["version"] for each in history.read_history(tmp_path)] == ["a", "b"]


def test_a_broken_fence_says_what_to_do(tmp_path: Path) -> None:
    published(tmp_path, 1)
    (folder(tmp_path) / fencing.FILE).write_text("{")
    with pytest.raises(ArtifactError, match=r"fence\.json: cannot be read .*delete it"):
        published(tmp_path, 2)


def test_the_fence_never_goes_back() -> None:
    fence = Fence(issued=5, published=4).passed(2, "v", {"who": "me", "when": "now"})
    assert (fence.issued, fence.published) == (5, 4)
    assert Token(3) == Token(3, 0)


class TestReading:
    def test_from_the_top_of_the_package(self, tmp_path: Path) -> None:
        version = published(tmp_path, 1)
        assert pinsage.load_published(tmp_path).version == version.name

    def test_vectors_are_mapped_and_nobody_writes_to_them(self, tmp_path: Path) -> None:
        published(tmp_path, 1)
        found = load_published(tmp_path, "films")
        assert not found.vectors.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            found.vectors[0, 0] = 1

    def test_a_version_from_before_vectors_were_mapped_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(tmp_path, 1)
        expected = load_published(tmp_path, "films").vectors.tobytes()
        monkeypatch.setattr("pinsage.retrieval.published.VECTORS", "not there")
        assert load_published(tmp_path, "films").vectors.tobytes() == expected

    def test_the_manifest_describes_what_is_there(self, tmp_path: Path) -> None:
        origin = {"git_commit": "abc", "mlflow_run_id": "def"}
        version = published(tmp_path, 1, origin=origin)
        facts = load_published(tmp_path, "films").manifest.facts
        assert [each["name"] for each in facts["schema"]] == [
            "item_id",
            "title",
            "version",
            "vector",
        ]
        assert (facts["dimension"], facts["num_items"], facts["metric"]) == (4, 12, "inner product")
        assert facts["origin"] == origin
        assert set(facts["code"]) == {"version", "digest"}
        import pyarrow.parquet as pq

        column = pq.read_table(version.path / "embeddings")["version"].to_pylist()
        assert column == [version.name] * 12

    def test_checksums_are_compared_once_until_a_file_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = published(tmp_path, 1)
        load_published(tmp_path, "films")
        read: list[Path] = []
        from pinsage import store

        digest = store.file_digest

        def seen(path: Path) -> str:
            read.append(path)
            return digest(path)

        monkeypatch.setattr(store, "file_digest", seen)
        load_published(tmp_path, "films")
        assert read == []
        file = version.path / "vectors.npy"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"vectors\.npy: its content"):
            load_published(tmp_path, "films")
        assert load_published(tmp_path, "films", verify=False).version == version.name
        file.write_bytes(content[:-1])
        with pytest.raises(ArtifactError, match=r"vectors\.npy: .* bytes"):
            load_published(tmp_path, "films", verify=False)
