"""Versions in an object store: whole, fenced, rolled back with the local ones, fetched once."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from pinsage.config import Config, changed, parse_config
from pinsage.errors import ArtifactError, ConfigError, PublishError
from pinsage.retrieval import remote
from pinsage.retrieval.pointer import pointer_at
from pinsage.retrieval.publish import Version, publish, take_token
from pinsage.retrieval.published import load_published
from pinsage.retrieval.remote import RemoteShelf
from pinsage.retrieval.versions import current_version, rollback
from pinsage.store import FileEntry
from tests.retrieval.conftest import artifacts, shelf_config, unit_rows
from tests.retrieval.stores import s3_server


@pytest.fixture(params=["s3", "file", "memory"])
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("PINSAGE_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        with s3_server(monkeypatch) as bucket:
            yield f"{bucket}/some/prefix"
    elif request.param == "file":
        yield f"file://{tmp_path}/store"
    else:
        yield f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def config(url: str, tmp_path: Path) -> Config:
    return changed(shelf_config(tmp_path / "var", keep=2), {"publish.to": url})


def published(config: Config, seed: int, **settings: Any) -> Version:
    ids = [f"i{row}" for row in range(12)]
    return publish(config, **artifacts(config, ids, ids, unit_rows(12, 4, seed)), **settings)


def elsewhere(config: Config, tmp_path: Path) -> Config:
    """The same publication from another host, which shares the object store alone."""
    return changed(config, {"root": str(tmp_path / "other host")})


def damage(url: str, path: str) -> None:
    fs, base = fsspec.core.url_to_fs(url)
    content = bytearray(fs.cat_file(f"{base}/{path}"))
    content[-1] ^= 1
    fs.pipe_file(f"{base}/{path}", bytes(content))


def test_a_reader_elsewhere_finds_what_was_published(config: Config, url: str) -> None:
    version = published(config, 1)
    assert version.to == f"{url}/films/{version.name}"
    found, here = load_published(url, "films"), load_published(config.root, "films")
    assert found.version == here.version == version.name
    assert found.vectors.tobytes() == here.vectors.tobytes()
    assert not found.vectors.flags.owndata
    assert found.related(3, 5) == here.related(3, 5)
    assert load_published(url).version == version.name  # the only name there


def test_a_version_is_fetched_once(
    config: Config, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published(config, 1)
    load_published(url, "films")
    monkeypatch.setattr(RemoteShelf, "fetch", None)
    assert load_published(url, "films").version == first.name


def test_no_version_is_a_folder_elsewhere(config: Config, url: str) -> None:
    version = published(config, 1)
    (version.path / "vectors.npy").unlink()
    for name in (str(version.path), f"../{version.name}", "..", f"./{version.name}"):
        with pytest.raises(ArtifactError, match="has no version"):
            load_published(url, "films", name)
    assert (version.path / "manifest.json").exists()


def test_a_copy_that_was_damaged_here_is_fetched_again(config: Config, url: str) -> None:
    published(config, 1)
    file = load_published(url, "films").path / "vectors.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert load_published(url, "films").path / "vectors.npy" == file
    assert file.read_bytes() == content


def test_a_version_damaged_in_the_store_is_refused_and_published_anew(
    config: Config, url: str
) -> None:
    version = published(config, 1)
    damage(url, f"films/{version.name}/vectors.npy")
    with pytest.raises(ArtifactError, match=r"vectors\.npy: its content"):
        load_published(url, "films")
    published(config, 1)
    assert load_published(url, "films").version == version.name


def test_a_manifest_damaged_in_the_store_is_published_anew(config: Config, url: str) -> None:
    version = published(config, 1)
    damage(url, f"films/{version.name}/manifest.json")
    with pytest.raises(ArtifactError, match="broken manifest"):
        load_published(url, "films")
    published(config, 1)
    assert load_published(url, "films").version == version.name


def test_only_the_last_are_kept_and_what_a_kill_left_goes(config: Config, url: str) -> None:
    fs, base = fsspec.core.url_to_fs(url)
    left = f"{base}/films/20000101t000000z-00000000"
    fs.makedirs(left, exist_ok=True)
    fs.pipe_file(f"{left}/vectors.npy", b"half of a removal")
    versions = [published(config, seed).name for seed in range(3)]
    assert RemoteShelf(url, "films").versions() == versions[1:]
    fs.invalidate_cache()
    assert not fs.exists(f"{left}/vectors.npy")
    assert load_published(url, "films").version == versions[2]
    with pytest.raises(ArtifactError, match=versions[0]):
        load_published(url, "films", versions[0])


def test_the_same_inputs_on_two_hosts_are_one_version(
    config: Config, url: str, tmp_path: Path
) -> None:
    first = published(config, 1)
    again = published(elsewhere(config, tmp_path), 1)
    assert again.to == first.to
    assert RemoteShelf(url, "films").versions() == [first.name]


def test_a_late_publisher_on_another_host_is_refused(
    config: Config, url: str, tmp_path: Path
) -> None:
    other = elsewhere(config, tmp_path)
    early = take_token(other)
    newer = published(config, 1)
    with pytest.raises(PublishError, match=f"published {newer.name} since"):
        published(other, 2, token=early)
    assert load_published(url, "films").version == newer.name
    with pytest.raises(ArtifactError):
        current_version(other.root, "films")  # its own readers were not switched either
    forced = published(other, 2, token=early, force=True)
    assert load_published(url, "films").version == forced.name


def test_a_rollback_reaches_the_store_and_stays(config: Config, url: str, tmp_path: Path) -> None:
    first, second = published(config, 1), published(config, 2)
    assert rollback(config.root, "films") == first.name
    assert load_published(url, "films").version == first.name
    again = published(config, 2)
    assert (again.name, again.followed) == (second.name, False)
    # Another host does not go back to what was withdrawn here.
    there = published(elsewhere(config, tmp_path), 2)
    assert not there.followed
    assert load_published(url, "films").version == first.name
    rollback(config.root, "films", second.name)
    assert load_published(url, "films").version == second.name


def test_every_event_is_in_the_history(config: Config, url: str) -> None:
    published(config, 1, why="night")
    published(config, 2)
    rollback(config.root, "films", why="complaints")
    fs, base = fsspec.core.url_to_fs(url)
    entries = [
        json.loads(fs.cat_file(path))
        for path in sorted(fs.ls(f"{base}/films/history", detail=False))
    ]
    assert [each["what"] for each in entries] == ["publish", "publish", "rollback"]
    assert [each["why"] for each in entries] == ["night", "", "complaints"]


def test_many_take_different_numbers_at_once(config: Config, url: str) -> None:
    if url.startswith("memory"):
        pytest.skip("a store that cannot compare: the last writer wins within one instant")
    taken: list[int] = []

    def take() -> None:
        taken.extend(RemoteShelf(url, "films").take_token() for _ in range(3))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 13))


def test_a_pointer_is_replaced_only_by_who_has_seen_it(url: str) -> None:
    fs, base = fsspec.core.url_to_fs(url)
    if fs.protocol != "memory" and "file" in fs.protocol:
        fs.makedirs(base, exist_ok=True)
    pointer = pointer_at(fs, f"{base}/CURRENT")
    assert pointer.read() == (None, "")
    assert pointer.replace(b"one", "")
    assert not pointer.replace(b"other", "")
    content, tag = pointer.read()
    assert content == b"one"
    assert pointer.replace(b"two", tag)
    assert not pointer.replace(b"three", tag)
    assert pointer.read()[0] == b"two"


def test_a_manifest_cannot_name_files_outside(config: Config, url: str, tmp_path: Path) -> None:
    version = published(config, 1)
    shelf = RemoteShelf(url, "films")
    with pytest.raises(ArtifactError, match="which is not below it"):
        shelf.fetch(version.name, {"../outside": FileEntry(1, "")}, tmp_path / "inner")
    with pytest.raises(ArtifactError, match="has no version"):
        load_published(url, "films", "../films")


def test_nothing_published_says_what_to_do(url: str) -> None:
    with pytest.raises(ArtifactError, match=r"CURRENT: nothing is published there"):
        load_published(url, "films")
    with pytest.raises(ArtifactError, match="0 data sets"):
        load_published(url)


def test_a_broken_pointer_is_one_error(config: Config, url: str) -> None:
    published(config, 1)
    fs, base = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{base}/films/CURRENT", b"[]")
    with pytest.raises(ArtifactError, match=r"CURRENT: cannot be read"):
        load_published(url, "films")


def test_a_store_that_does_not_answer_moves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(monkeypatch) as bucket:
        config = changed(shelf_config(tmp_path), {"publish.to": bucket})
        first, second = published(config, 1), published(config, 2)
        token = take_token(config)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for attempt in (
        lambda: published(config, 3, token=token),
        lambda: rollback(tmp_path, "films", first.name),
        lambda: load_published(bucket, "films"),
    ):
        with pytest.raises(ArtifactError, match="the store does not do as asked"):
            attempt()
    assert current_version(tmp_path, "films") == second.name


@pytest.mark.parametrize(
    "to", ["bucket/prefix", "s3://user:secret@host/b", "s3://b/p?x=1", "S3://b"]
)
def test_an_address_is_an_address_without_secrets(tmp_path: Path, to: str) -> None:
    tree = shelf_config(tmp_path).model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"publish\.to"):
        parse_config({**tree, "publish": {"to": to}})


def test_an_unknown_kind_of_address_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected e\.g\. s3://bucket/prefix"):
        load_published("nosuch://bucket", "films")


def test_what_is_uploaded_is_read_back(
    config: Config, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published(config, 1)
    put = RemoteShelf._put

    def worse(self: RemoteShelf, source: Path, name: str) -> None:
        put(self, source, name)
        if name.endswith("vectors.npy"):
            damage(url, f"films/{name}")

    monkeypatch.setattr(remote.RemoteShelf, "_put", worse)
    with pytest.raises(ArtifactError, match="is not what came back"):
        published(config, 2)
    assert load_published(url, "films").version == first.name
    assert current_version(config.root, "films") == first.name
    assert np.isfinite(load_published(url, "films").vectors).all()
