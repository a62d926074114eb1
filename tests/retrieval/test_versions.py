"""Versions: published once, switched at once, rolled back, pruned."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pinsage.errors import ArtifactError
from pinsage.retrieval.index import FILE
from pinsage.retrieval.published import load_published
from pinsage.retrieval.versions import (
    champion,
    current_version,
    list_versions,
    names,
    new_version,
    only_name,
    rollback,
)
from pinsage.store import MANIFEST, read_manifest

if TYPE_CHECKING:
    from tests.retrieval.conftest import PublishItems


def folder(root: Path) -> Path:
    return root / "published" / "films"


def versions(root: Path) -> list[str]:
    return sorted(path.name for path in folder(root).iterdir() if path.is_dir())


def current(root: Path) -> str:
    return current_version(root, "films")


class TestPublish:
    def test_same_inputs_twice_are_one_version(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        first, second = publish_items(tmp_path), publish_items(tmp_path)
        assert (first.reused, second.reused) == (False, True)
        assert first.path == second.path
        assert versions(tmp_path) == [first.name]

    def test_new_inputs_switch_the_pointer(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        published = [publish_items(tmp_path, seed=seed).name for seed in range(3)]
        assert published == sorted(set(published))
        assert (folder(tmp_path) / "CURRENT").read_text() == published[-1] + "\n"
        assert [info.current for info in list_versions(tmp_path, "films")] == [False, False, True]

    def test_earlier_inputs_switch_back_without_a_new_version(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        first = publish_items(tmp_path, seed=1)
        publish_items(tmp_path, seed=2)
        assert publish_items(tmp_path, seed=1).reused
        assert current(tmp_path) == first.name
        assert len(versions(tmp_path)) == 2

    def test_wall_times_of_a_training_make_no_new_version(
        self, tmp_path: Path, publish_items: PublishItems, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = publish_items(tmp_path)
        write = Path.write_text

        def slower(path: Path, text: str, *args: str, **kwargs: str) -> int:
            return write(path, '[{"seconds": 9}]' if path.name == "history.json" else text)

        for stage in (tmp_path / "stages").iterdir():
            stage.rename(tmp_path / f"old-{stage.name}")
        monkeypatch.setattr(Path, "write_text", slower)
        assert publish_items(tmp_path).path == first.path

    def test_damaged_version_is_published_anew(
        self, tmp_path: Path, publish_items: PublishItems, caplog: pytest.LogCaptureFixture
    ) -> None:
        damaged = publish_items(tmp_path)
        (damaged.path / FILE).write_bytes(b"")
        mended = publish_items(tmp_path)
        assert not mended.reused
        assert mended.name > damaged.name
        assert load_published(tmp_path, "films").version == mended.name
        assert "publishing anew what is damaged" in caplog.text
        assert publish_items(tmp_path).path == mended.path

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1, "facts": 2}'])
    def test_broken_manifest_of_another_version_stops_nothing(
        self, tmp_path: Path, publish_items: PublishItems, content: str
    ) -> None:
        broken = publish_items(tmp_path, seed=1)
        (broken.path / MANIFEST).write_text(content)
        good = publish_items(tmp_path, seed=2)
        assert load_published(tmp_path, "films").version == good.name
        assert [info.version for info in list_versions(tmp_path, "films")] == [good.name]

    def test_embeddings_of_other_items_are_refused(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        good = publish_items(tmp_path)
        matrix = np.zeros((3, 2), dtype=np.float32)
        with pytest.raises(ArtifactError, match=r"3 embeddings for the 2 items of .* embed these"):
            publish_items(tmp_path, ids=["a", "b"], titles=["A", "B"], matrix=matrix)
        assert current(tmp_path) == good.name
        assert versions(tmp_path) == [good.name]

    def test_prune_keeps_the_newest(self, tmp_path: Path, publish_items: PublishItems) -> None:
        published = [publish_items(tmp_path, seed=seed, keep=3).name for seed in range(5)]
        assert versions(tmp_path) == published[2:]
        assert current(tmp_path) == published[-1]

    def test_prune_never_takes_the_current(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        first, _, third = (publish_items(tmp_path, seed=seed).name for seed in range(3))
        rollback(tmp_path, "films", first)
        assert publish_items(tmp_path, seed=2, keep=2).name == third  # withdrawn: not followed
        assert current(tmp_path) == first
        assert versions(tmp_path) == [first, third]


class TestNames:
    NOW = datetime(2024, 3, 31, 1, 30, tzinfo=UTC)

    def test_say_when_and_from_what(self, tmp_path: Path) -> None:
        assert new_version(tmp_path, self.NOW, "abcdef0123456789") == "20240331t013000z-abcdef01"

    @pytest.mark.parametrize("last", ["20240331t013000z-ffffffff", "20241231t235959z-00000000"])
    def test_sort_after_all_others_whatever_the_clock_says(self, tmp_path: Path, last: str) -> None:
        for name in ("20230101t000000z-eeeeeeee", last):
            (tmp_path / name).mkdir()
            (tmp_path / name / MANIFEST).write_text("{}")
        assert new_version(tmp_path, self.NOW, "0" * 16) > last

    def test_only_name_is_found_or_asked_for(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        with pytest.raises(ArtifactError, match="nothing is published there; run"):
            only_name(tmp_path)
        publish_items(tmp_path)
        assert only_name(tmp_path) == "films"
        (tmp_path / "published" / "books").mkdir()
        (tmp_path / "published" / "books" / "CURRENT").write_text("v1\n")
        assert names(tmp_path) == ["books", "films"]
        with pytest.raises(ArtifactError, match="found books, films; choose one with --name"):
            only_name(tmp_path)


class TestRollback:
    @pytest.fixture
    def three(self, tmp_path: Path, publish_items: PublishItems) -> list[str]:
        return [publish_items(tmp_path, seed=seed).name for seed in range(3)]

    def test_goes_to_the_one_before(self, tmp_path: Path, three: list[str]) -> None:
        assert rollback(tmp_path, "films") == three[1] == current(tmp_path)
        assert rollback(tmp_path, "films") == three[0] == current(tmp_path)
        with pytest.raises(ArtifactError, match="no version before"):
            rollback(tmp_path, "films")
        assert versions(tmp_path) == three

    def test_withdrawn_version_is_not_published_again(
        self,
        tmp_path: Path,
        three: list[str],
        publish_items: PublishItems,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        rollback(tmp_path, "films")
        with caplog.at_level(logging.WARNING):
            assert publish_items(tmp_path, seed=2).name == three[2]
        assert f"`pinsage rollback {three[2]}` goes forward" in caplog.text
        assert current(tmp_path) == three[1]
        assert [i.withdrawn for i in list_versions(tmp_path, "films")] == [False, False, True]

    def test_going_forward_lifts_it(
        self, tmp_path: Path, three: list[str], publish_items: PublishItems
    ) -> None:
        rollback(tmp_path, "films", three[0])
        assert rollback(tmp_path, "films", three[2]) == three[2] == current(tmp_path)
        assert not any(info.withdrawn for info in list_versions(tmp_path, "films"))
        assert publish_items(tmp_path, seed=2).reused
        assert current(tmp_path) == three[2]

    def test_new_inputs_are_followed_after_one(
        self, tmp_path: Path, three: list[str], publish_items: PublishItems
    ) -> None:
        rollback(tmp_path, "films")
        fourth = publish_items(tmp_path, seed=3).name
        assert current(tmp_path) == fourth
        assert rollback(tmp_path, "films") == three[1]  # not to the one that was withdrawn

    @pytest.mark.parametrize("version", ["v9", "", "..", "../films"])
    def test_unknown_version_lists_those_there_are(
        self, tmp_path: Path, three: list[str], version: str
    ) -> None:
        with pytest.raises(ArtifactError, match=f"has no version .*{three[0]}"):
            rollback(tmp_path, "films", version)
        assert current(tmp_path) == three[2]

    @pytest.mark.parametrize("name", [FILE, MANIFEST])
    def test_gets_away_from_a_damaged_version(
        self, tmp_path: Path, three: list[str], name: str
    ) -> None:
        (folder(tmp_path) / three[2] / name).write_bytes(b"")
        assert rollback(tmp_path, "films") == three[1]
        assert load_published(tmp_path, "films").version == three[1]

    @pytest.mark.parametrize("name", [FILE, MANIFEST])
    def test_does_not_go_to_a_damaged_version(
        self, tmp_path: Path, three: list[str], name: str
    ) -> None:
        (folder(tmp_path) / three[1] / name).write_bytes(b"")
        with pytest.raises(ArtifactError, match=rf"{three[1]}/{name}: "):
            rollback(tmp_path, "films")
        assert current(tmp_path) == three[2]
        assert rollback(tmp_path, "films", three[0]) == three[0]

    def test_broken_list_of_withdrawn_versions_says_what_to_do(
        self, tmp_path: Path, three: list[str]
    ) -> None:
        rollback(tmp_path, "films")
        record = folder(tmp_path) / "withdrawn"
        assert json.loads(record.read_text()) == [three[2]]
        record.write_text("[")
        with pytest.raises(ArtifactError, match=r"withdrawn: cannot be read .*delete it"):
            list_versions(tmp_path, "films")


class TestChampion:
    """What new embeddings are compared with."""

    @staticmethod
    def embeddings(path: Path) -> str:
        return read_manifest(path).inputs["embeddings"]

    def test_the_first_night_has_none(self, tmp_path: Path) -> None:
        assert champion(tmp_path, "films", "new") is None

    def test_new_embeddings_meet_what_readers_follow(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        for seed in range(2):
            newest = publish_items(tmp_path, seed=seed)
        assert champion(tmp_path, "films", "new") == newest.path

    def test_an_unchanged_night_meets_the_one_before_again(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        before, current = (publish_items(tmp_path, seed=seed) for seed in range(2))
        assert champion(tmp_path, "films", self.embeddings(current.path)) == before.path
        assert champion(tmp_path, "films", "new") == current.path

    def test_the_only_version_does_not_meet_itself(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        only = publish_items(tmp_path)
        assert champion(tmp_path, "films", self.embeddings(only.path)) is None

    def test_what_was_rolled_back_is_no_champion(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        good, _ = (publish_items(tmp_path, seed=seed) for seed in range(2))
        rollback(tmp_path, "films")
        assert champion(tmp_path, "films", "new") == good.path

    def test_a_damaged_manifest_is_passed_over(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        good, damaged = (publish_items(tmp_path, seed=seed) for seed in range(2))
        (damaged.path / MANIFEST).write_text("{}")
        assert champion(tmp_path, "films", "new") == good.path
