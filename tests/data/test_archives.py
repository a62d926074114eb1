"""Hostile and broken ZIP archives write nothing outside, and say why they are refused."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from pinsage.data.archives import unpack
from pinsage.errors import SourceError


def pack(archive: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is, without zipfile's own cleaning
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, content)
    return archive


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    return target


def test_a_shared_top_folder_is_left_away(tmp_path: Path, folder: Path) -> None:
    unpack(pack(tmp_path / "a.zip", {"set/x.csv": b"1", "set/sub/y.csv": b"2"}), folder)
    assert names(folder) == {"x.csv", "sub/y.csv"}
    assert (folder / "x.csv").read_bytes() == b"1"


def test_several_top_names_are_kept(tmp_path: Path, folder: Path) -> None:
    unpack(pack(tmp_path / "a.zip", {"x.csv": b"1", "sub/y.csv": b"2"}), folder)
    assert names(folder) == {"x.csv", "sub/y.csv"}


@pytest.mark.parametrize(
    "name",
    ["../x", "set/../../x", "/etc/x", "//x", "C:\\x", "..\\x", "c:x", "set/\0x", "a/./../../x"],
)
def test_a_name_that_leads_outside_is_refused_before_anything_is_written(
    tmp_path: Path, folder: Path, name: str
) -> None:
    archive = pack(tmp_path / "a.zip", {"set/good.csv": b"1", name: b"2"})
    before = names(tmp_path)
    with pytest.raises(SourceError, match="outside the folder; nothing was unpacked"):
        unpack(archive, folder)
    assert names(tmp_path) == before


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, folder: Path, kind: int) -> None:
    archive = pack(tmp_path / "a.zip", {"set/link": b"/etc/passwd"}, mode=kind | 0o777)
    with pytest.raises(SourceError, match="is a link or device"):
        unpack(archive, folder)
    assert not names(folder)


def test_more_bytes_than_allowed_are_refused(tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"zeros": bytes(10_000_000)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(SourceError, match="would unpack to 10,000,000 bytes"):
        unpack(archive, folder, most_bytes=1_000_000)
    assert not names(folder)


def test_a_member_that_announces_fewer_bytes_than_it_holds_is_refused(
    tmp_path: Path, folder: Path
) -> None:
    archive = pack(tmp_path / "a.zip", {"zeros": bytes(1_000_000)})
    size = (1_000_000).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(SourceError, match="broken ZIP archive"):
        unpack(archive, folder)
    assert sum((folder / name).stat().st_size for name in names(folder)) <= 10


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"x": b"1", "./x": b"2"})
    with pytest.raises(SourceError, match="holds a name twice"):
        unpack(archive, folder)


def test_a_damaged_or_empty_archive_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"x": bytes(range(256)) * 100})
    content = bytearray(archive.read_bytes())
    content[60:80] = bytes(20)
    archive.write_bytes(content)
    with pytest.raises(SourceError, match="broken ZIP archive"):
        unpack(archive, folder)
    archive.write_bytes(b"not a zip")
    with pytest.raises(SourceError, match="broken ZIP archive"):
        unpack(archive, folder)
    with pytest.raises(SourceError, match="is empty"):
        unpack(pack(tmp_path / "b.zip", {}), folder)
