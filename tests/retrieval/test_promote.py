"""Publishing in two steps: made and visible first, followed only when readers are switched."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinsage.errors import ArtifactError, PublishError
from pinsage.retrieval import history
from pinsage.retrieval.publish import Version, promote, publish, take_token
from pinsage.retrieval.published import load_published
from pinsage.retrieval.unpromoted import FILE, Mark, read_marks
from pinsage.retrieval.versions import champion, current_version, judge, list_versions, rollback
from tests.retrieval.conftest import artifacts, shelf_config, unit_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

IDS = [f"i{row}" for row in range(12)]


def published(root: Path, seed: int, *, keep: int = 5, to: str = "", **settings: Any) -> Version:
    config = shelf_config(root, keep)
    if to:
        config = config.model_copy(update={"publish": config.publish.model_copy(update={"to": to})})
    return publish(config, **artifacts(config, IDS, IDS, unit_rows(12, 4, seed)), **settings)


def waiting(root: Path, seed: int, said: str = "ask", **settings: Any) -> Version:
    version = published(root, seed, promote=False, **settings)
    judge(root, "films", version.name, Mark(said, ("because",)))  # type: ignore[arg-type]
    return version


def folder(root: Path) -> Path:
    return root / "published" / "films"


def verdicts(root: Path) -> dict[str, str]:
    return {each.version: each.verdict for each in list_versions(root, "films")}


def test_it_is_visible_by_name_and_readers_stay(tmp_path: Path) -> None:
    first = published(tmp_path, 1)
    second = published(tmp_path, 2, promote=False)
    assert (second.followed, second.stability["against"]) == (False, first.name)
    assert current_version(tmp_path, "films") == first.name
    assert load_published(tmp_path, "films", second.name).version == second.name
    assert verdicts(tmp_path) == {first.name: "", second.name: "undecided"}
    assert [each["version"] for each in history.read_history(folder(tmp_path))] == [first.name]


def test_promoting_switches_once_with_a_line_of_history(tmp_path: Path) -> None:
    published(tmp_path, 1)
    second = waiting(tmp_path, 2)
    for expected in (False, True):
        done = promote(tmp_path, "films", second.name, why="looks good")
        assert (done.followed, done.reused) == (True, expected)
    assert current_version(tmp_path, "films") == second.name
    assert verdicts(tmp_path)[second.name] == ""
    last = history.read_history(folder(tmp_path))[-1]
    assert (last["version"], last["why"], last["forced"]) == (second.name, "looks good", False)


@pytest.mark.parametrize("said", ["refuse", "undecided"])
def test_what_was_refused_or_never_judged_takes_force_which_is_logged(
    tmp_path: Path, said: str
) -> None:
    first, second = published(tmp_path, 1), waiting(tmp_path, 2, said)
    with pytest.raises(PublishError, match=f"because.*pinsage promote {second.name}"):
        promote(tmp_path, "films", second.name)
    assert current_version(tmp_path, "films") == first.name
    assert promote(tmp_path, "films", second.name, force=True, why="I know").followed
    last = history.read_history(folder(tmp_path))[-1]
    assert (last["forced"], last["why"]) == (True, "I know")


def test_the_same_inputs_again_change_nothing_of_what_was_said(tmp_path: Path) -> None:
    first, second = published(tmp_path, 1), waiting(tmp_path, 2, "refuse")
    again = published(tmp_path, 2, promote=False)
    assert (again.name, again.reused, again.followed) == (second.name, True, False)
    assert verdicts(tmp_path) == {first.name: "", second.name: "refuse"}


def test_a_person_is_not_overruled_by_a_question_but_by_a_verdict(tmp_path: Path) -> None:
    published(tmp_path, 1)
    name = waiting(tmp_path, 2).name
    judge(tmp_path, "films", name, Mark("refuse", ("no",), "Ada"))
    assert judge(tmp_path, "films", name, Mark("ask")).by == "Ada"
    assert judge(tmp_path, "films", name, Mark("promote")).said == "promote"


def test_a_late_publisher_makes_no_version_and_promotes_none(tmp_path: Path) -> None:
    config = shelf_config(tmp_path)
    early = take_token(config)
    held = waiting(tmp_path, 1, token=early)
    newer = published(tmp_path, 2)
    with pytest.raises(PublishError, match="began too early"):
        promote(tmp_path, "films", held.name, token=early, force=True)
    with pytest.raises(PublishError, match="began too early"):
        published(tmp_path, 3, token=early, promote=False)
    assert current_version(tmp_path, "films") == newer.name
    assert promote(tmp_path, "films", held.name).followed  # a person begins now


def test_the_companion_goes_first_and_comes_back_where_readers_cannot_follow(
    tmp_path: Path,
) -> None:
    first, second = published(tmp_path, 1), waiting(tmp_path, 2)
    seen = []

    @contextmanager
    def companion(version: str) -> Iterator[None]:
        seen.append((version, current_version(tmp_path, "films")))
        try:
            yield
        except BaseException:
            seen.append(("back", current_version(tmp_path, "films")))
            raise

    log = folder(tmp_path) / history.FILE
    kept = log.rename(tmp_path / "kept")
    log.mkdir()
    with pytest.raises(ArtifactError, match="nothing is switched without a line"):
        promote(tmp_path, "films", second.name, companion=companion)
    assert seen == [(second.name, first.name), ("back", first.name)]
    log.rmdir()
    kept.rename(log)
    assert promote(tmp_path, "films", second.name, companion=companion).followed
    assert seen[2:] == [(second.name, first.name)]


def test_an_object_store_sees_a_version_when_it_is_promoted(tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'there'}"
    first = published(tmp_path / "var", 1, to=url)
    second = waiting(tmp_path / "var", 2, to=url)
    assert load_published(url, "films").version == first.name
    assert not (tmp_path / "there" / "films" / second.name).exists()
    assert promote(tmp_path / "var", "films", second.name).to == f"{url}/films/{second.name}"
    assert load_published(url, "films").version == second.name


def test_pruning_keeps_what_waits_and_what_one_may_roll_back_to(tmp_path: Path) -> None:
    followed = [published(tmp_path, seed, keep=2) for seed in (1, 2)]
    held = waiting(tmp_path, 3, keep=2)
    refused = [waiting(tmp_path, seed, "refuse", keep=2) for seed in (4, 5, 6)]
    undecided = published(tmp_path, 7, keep=2, promote=False)
    kept = [*followed, held, refused[-1], undecided]
    assert list(verdicts(tmp_path)) == [each.name for each in kept]


def test_nothing_goes_back_to_or_is_compared_with_what_was_never_followed(tmp_path: Path) -> None:
    first = published(tmp_path, 1)
    waiting(tmp_path, 2, "refuse")
    third = published(tmp_path, 3)
    embeddings = third.path
    digest = _embeddings_of(embeddings)
    assert champion(tmp_path, "films", digest) == first.path
    assert rollback(tmp_path, "films") == first.name


def test_a_first_version_that_is_refused_is_listed_and_nobody_follows_it(tmp_path: Path) -> None:
    only = waiting(tmp_path, 1, "refuse")
    assert verdicts(tmp_path) == {only.name: "refuse"}
    with pytest.raises(ArtifactError, match="nothing is published"):
        load_published(tmp_path, "films")
    assert promote(tmp_path, "films", only.name, force=True).followed
    assert load_published(tmp_path, "films").version == only.name


def test_readers_of_a_damaged_version_go_on_with_the_same_inputs(tmp_path: Path) -> None:
    first = published(tmp_path, 1)
    vectors = first.path / "vectors.npy"
    vectors.write_bytes(b"x" + vectors.read_bytes()[1:])
    mended = published(tmp_path, 1, promote=False)
    assert (mended.followed, mended.name != first.name) == (True, True)
    assert current_version(tmp_path, "films") == mended.name


def test_marks_are_forgotten_with_their_versions_and_broken_ones_are_named(tmp_path: Path) -> None:
    published(tmp_path, 1, keep=2)
    for seed in range(2, 6):
        waiting(tmp_path, seed, "refuse", keep=2)
    assert len(read_marks(folder(tmp_path))) <= 2
    (folder(tmp_path) / FILE).write_text("[]")
    with pytest.raises(ArtifactError, match="delete it"):
        list_versions(tmp_path, "films")


def _embeddings_of(version: Path) -> str:
    from pinsage.store import read_manifest

    return read_manifest(version).inputs["embeddings"]
