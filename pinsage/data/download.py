"""Download a file so that an interrupted one goes on where it stopped (HTTP Range).

The bytes gather in a `.part` file that survives a lost connection and a killed process. pooch
checks the whole afterwards, so a part of an archive that changed meanwhile cannot pass.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinsage.errors import SourceError

_CHUNK = 1 << 18
Report = Callable[[int, int | None], None]


@dataclass(frozen=True)
class ResumingDownloader:
    """A downloader for pooch: `attempts` tries in a row without progress before it gives up."""

    part: Path
    progress: bool = True
    attempts: int = 4
    pause: float = 1.0
    timeout: float = 30.0

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch `url` to `output_file`. Raises SourceError; `.part` stays for the next call."""
        with _bar(self.part.stem, self.progress) as report:
            failures = 0
            while True:
                before = self._size()
                try:
                    if self._receive(url, report):
                        break
                    problem = "the connection was closed early"
                except urllib.error.HTTPError as error:
                    if error.code < 500:
                        raise SourceError(_refused(url, error)) from None
                    problem = str(error)
                except (OSError, http.client.HTTPException) as error:
                    problem = str(error)
                failures = 1 if self._size() > before else failures + 1
                if failures >= self.attempts:
                    raise SourceError(
                        f"{url}: {problem}; {self._size():,} bytes are kept in {self.part}, run "
                        f"the same command again to go on from there"
                    )
                time.sleep(self.pause * failures)
        os.replace(self.part, output_file)

    def _receive(self, url: str, report: Report) -> bool:
        """Append what comes; whether the file is complete now."""
        request = urllib.request.Request(url)  # noqa: S310 - only http(s), see fetch()
        if offset := self._size():
            request.add_header("Range", f"bytes={offset}-")
        try:
            reply = urllib.request.urlopen(request, timeout=self.timeout)  # noqa: S310
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            # Nothing follows: either the part is the whole, or it is of another file.
            if _total(error.headers.get("Content-Range")) == offset:
                return True
            self.part.unlink()
            return False
        with reply:
            return self._append(reply, offset, report)

    def _append(self, reply: Any, offset: int, report: Report) -> bool:
        resumed = reply.status == http.client.PARTIAL_CONTENT
        if resumed:
            total = _total(reply.headers.get("Content-Range"))
        else:
            length = reply.headers.get("Content-Length")
            total = int(length) if length else None
            offset = 0  # the server ignores ranges and starts from the beginning
        with self.part.open("ab" if resumed else "wb") as file:
            while block := reply.read(_CHUNK):
                file.write(block)
                offset += len(block)
                report(offset, total)
        return total is None or offset == total

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def _total(content_range: str | None) -> int | None:
    found = re.search(r"/(\d+)$", content_range or "")
    return int(found[1]) if found else None


def _refused(url: str, error: urllib.error.HTTPError) -> str:
    return (
        f"{url}: the server answers {error.code} {error.reason}; the address may have changed: "
        f"download the archive by hand, unpack it, and name its folder in the configuration"
    )


def _ignore(_done: int, _total: int | None) -> None:
    """Report to nobody."""


@contextmanager
def _bar(label: str, shown: bool) -> Iterator[Report]:
    if not shown:
        yield _ignore
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    with Progress(
        "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn()
    ) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
