"""Fetching from a real HTTP server that cuts, refuses, lies and ignores ranges."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pinsage.config import DataConfig
from pinsage.data import fetch as fetching
from pinsage.data.download import ResumingDownloader
from pinsage.data.fetch import DATASETS, Dataset, fetch
from pinsage.data.snapshot import write_snapshot
from pinsage.errors import ConfigError, SourceError

pytest.importorskip("pooch")
NAME = "movielens-latest-small"
CSV_FILES = {
    "ml/ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n",
    "ml/movies.csv": b"movieId,title,genres\n1,Toy Story (1995),Comedy\n",
    "ml/noise.bin": hashlib.shake_128(b"noise").digest(300_000),
}


def zipped(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return memory.getvalue()


class Mirror(ThreadingHTTPServer):
    """Serves `files`; closes the connection after `cuts` bytes, one number a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        self.honours_ranges = True
        self.status: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/sets"

    def publish(self, archive: str, content: bytes, *, md5: str | None = None) -> None:
        digest = md5 or hashlib.md5(content, usedforsecurity=False).hexdigest()
        self.files[f"/sets/{archive}"] = content
        self.files[f"/sets/{archive}.md5"] = f"MD5 ({archive}) = {digest}\n".encode()


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        if content is None or self.server.status:
            self.send_error(self.server.status or 404)
            return
        asked = self.headers.get("Range")
        start = 0
        if self.path.endswith(".zip"):
            self.server.ranges.append(asked)
            if asked and self.server.honours_ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.path.endswith(".zip") and self.server.cuts
        end = start + self.server.cuts.pop(0) if cut else len(content)
        self.wfile.write(content[start:end])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay silent."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A local server, and a downloader that does not wait between attempts."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def impatient(part: Path, progress: bool) -> ResumingDownloader:
        return ResumingDownloader(part, progress, pause=0.0, timeout=5.0)

    monkeypatch.setattr(fetching, "ResumingDownloader", impatient)
    server = Mirror()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def get(mirror: Mirror, folder: Path, name: str = NAME) -> Path:
    return fetch(name, folder, base_url=mirror.url, progress=False)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_set_arrives_unpacked_and_alone(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES))
    target = get(mirror, tmp_path)
    assert target == tmp_path / NAME
    assert {f"ml/{name}": (target / name).read_bytes() for name in names(target)} == CSV_FILES
    assert names(tmp_path) == [NAME]


def test_a_second_call_asks_for_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES))
    get(mirror, tmp_path)
    mirror.files.clear()
    assert get(mirror, tmp_path) == tmp_path / NAME
    assert len(mirror.ranges) == 1


def test_a_connection_cut_in_the_middle_goes_on_from_there(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES))
    mirror.cuts = [100_000, 50_000]
    get(mirror, tmp_path)
    assert mirror.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_what_a_dead_process_left_is_not_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    content = zipped(CSV_FILES)
    mirror.publish("ml-latest-small.zip", content)
    (tmp_path / "ml-latest-small.zip.part").write_bytes(content[:200_000])
    get(mirror, tmp_path)
    assert mirror.ranges == ["bytes=200000-"]


def test_a_complete_part_is_only_checked(mirror: Mirror, tmp_path: Path) -> None:
    content = zipped(CSV_FILES)
    mirror.publish("ml-latest-small.zip", content)
    (tmp_path / "ml-latest-small.zip.part").write_bytes(content)
    assert get(mirror, tmp_path).is_dir()


def test_a_part_longer_than_the_archive_is_thrown_away(mirror: Mirror, tmp_path: Path) -> None:
    content = zipped(CSV_FILES)
    mirror.publish("ml-latest-small.zip", content)
    (tmp_path / "ml-latest-small.zip.part").write_bytes(content + b"more")
    assert get(mirror, tmp_path).is_dir()
    assert mirror.ranges[-1] is None


def test_a_server_without_ranges_starts_over(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES))
    mirror.honours_ranges = False
    mirror.cuts = [100_000]
    assert get(mirror, tmp_path).is_dir()
    assert mirror.ranges == [None, "bytes=100000-"]


def test_a_server_that_keeps_cutting_is_given_up_and_the_part_kept(
    mirror: Mirror, tmp_path: Path
) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES))
    mirror.cuts = [100_000, 0, 0, 0, 0]
    with pytest.raises(SourceError, match=r"100,000 bytes are kept in .*\.part, run"):
        get(mirror, tmp_path)
    assert names(tmp_path) == ["ml-latest-small.zip.part"]
    mirror.cuts = []
    assert get(mirror, tmp_path).is_dir()


def test_a_wrong_checksum_keeps_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES), md5="0" * 32)
    with pytest.raises(SourceError, match="another checksum than expected"):
        get(mirror, tmp_path)
    assert names(tmp_path) == []


def test_a_fixed_checksum_is_not_taken_from_the_server(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-25m.zip", zipped(CSV_FILES))
    with pytest.raises(SourceError, match="another checksum"):
        get(mirror, tmp_path, "movielens-25m")


def test_a_hostile_archive_writes_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-latest-small.zip", zipped({**CSV_FILES, "../../escaped": b"!"}))
    folder = tmp_path / "data"
    with pytest.raises(SourceError, match=r"escaped.*outside the folder"):
        get(mirror, folder)
    assert names(tmp_path) == ["data"]
    assert names(folder) == ["ml-latest-small.zip"]


def test_an_archive_without_the_expected_files_does_not_appear(
    mirror: Mirror, tmp_path: Path
) -> None:
    mirror.publish("ml-latest-small.zip", zipped({"ml/ratings.csv": b""}))
    with pytest.raises(SourceError, match=r"lacks movies\.csv"):
        get(mirror, tmp_path)
    assert not (tmp_path / NAME).exists()


def test_a_folder_that_is_not_the_set_is_left_alone(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "mine.txt").touch()
    with pytest.raises(SourceError, match="move it away"):
        get(mirror, tmp_path)
    assert names(tmp_path / NAME) == ["mine.txt"]


def test_the_older_format_becomes_readable_csv(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "ml-1m/ratings.dat": b"1::1193::5::978300760\n",
        "ml-1m/movies.dat": "1193::Misérables, Les (1995)::Drama|Musical\n".encode("latin-1"),
    }
    content = zipped(files)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    small = Dataset("ml-1m.zip", md5, dat_files=True)
    monkeypatch.setattr(fetching, "DATASETS", {**DATASETS, "movielens-1m": small})
    mirror.publish("ml-1m.zip", content)
    target = get(mirror, tmp_path, "movielens-1m")
    ids = {"item_column": "movieId"}
    log = {"path": str(target / "ratings.csv"), "user_column": "userId", **ids}
    catalog = {"path": str(target / "movies.csv"), "title_column": "title", **ids}
    facts = write_snapshot(
        DataConfig.model_validate({"interactions": log, "items": catalog}), target
    )
    assert (facts["num_interactions"], facts["num_items"]) == (1, 1)
    assert '1193,"Misérables, Les (1995)",Drama|Musical' in (target / "movies.csv").read_text()


def test_a_missing_archive_and_a_broken_server_are_told_apart(
    mirror: Mirror, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r"answers 404 .*by hand"):
        get(mirror, tmp_path)
    mirror.status = 503
    with pytest.raises(SourceError, match=r"503.*run the same command again"):
        get(mirror, tmp_path)


def test_an_unreachable_server_is_told(mirror: Mirror, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(SourceError, match="run the same command again"):
        fetch(NAME, tmp_path, base_url=base, progress=False)


def test_a_page_instead_of_a_checksum_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES))
    mirror.files["/sets/ml-latest-small.zip.md5"] = b"<html>log in</html>"
    with pytest.raises(SourceError, match="holds no MD5 checksum"):
        get(mirror, tmp_path)


def test_an_unknown_name_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'movielens-25m'.*movielens-1m"):
        fetch("movielens25m", tmp_path)
    with pytest.raises(ConfigError, match="http"):
        fetch(NAME, tmp_path, base_url="file:///etc")


def test_the_bar_is_drawn_and_in_nobodys_way(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.publish("ml-latest-small.zip", zipped(CSV_FILES))
    fetch(NAME, tmp_path, base_url=mirror.url, progress=True)
    assert "ml-latest-small" in capsys.readouterr().out
