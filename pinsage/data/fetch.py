"""Official archives, fetched on request: checksum, resume, safe unpacking, all or nothing.

MovieLens is GroupLens's: not for redistribution nor commercial use without permission, see the
README in each archive (Harper and Konstan, ACM TiiS 5(4), 2015). Needs the extra `fetch`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinsage.data.archives import unpack
from pinsage.data.download import ResumingDownloader
from pinsage.data.tables import did_you_mean
from pinsage.errors import ConfigError, MissingExtraError, SourceError
from pinsage.files import publish_folder, staging_folder

_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_EXPECTED = ("ratings.csv", "movies.csv")


@dataclass(frozen=True)
class Dataset:
    """An archive to be had at `<base>/<archive>`; `md5` None means the published `.md5` beside it.

    GroupLens renews its "latest" sets without notice, so no checksum can be fixed for them.
    """

    archive: str
    md5: str | None
    dat_files: bool = False


DATASETS: Mapping[str, Dataset] = {
    "movielens-25m": Dataset("ml-25m.zip", "6b51fb2759a8657d3bfcbfc42b592ada"),
    "movielens-1m": Dataset("ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906", dat_files=True),
    "movielens-latest-small": Dataset("ml-latest-small.zip", None),
}


def fetch(name: str, folder: Path, *, base_url: str | None = None, progress: bool = True) -> Path:
    """Fetch the data set `name` to `folder/<name>`, and return that folder.

    It appears complete or not at all; one that is there already is left as it is. `base_url` names
    a mirror. Raises ConfigError for an unknown name, SourceError where the download, the checksum
    or the archive fails; what was downloaded is kept and the next call goes on from there.
    """
    dataset = _lookup(name)
    base = (base_url or _GROUPLENS).rstrip("/")
    if not base.startswith(("https://", "http://")):
        raise ConfigError(f"base_url: expected an http(s) address (got {base!r})")
    target = folder / name
    if target.exists():
        _require_complete(target)
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        archive = _download(f"{base}/{dataset.archive}", dataset, folder, progress)
        with staging_folder(target) as staging:
            unpack(archive, staging)
            if dataset.dat_files:
                _write_csv(staging)
            _require_complete(staging)
            publish_folder(staging, target)
        archive.unlink()
    except OSError as error:
        raise SourceError(f"{target}: cannot be written ({error}); free space or rights") from None
    return target


def _lookup(name: str) -> Dataset:
    if name not in DATASETS:
        raise ConfigError(
            f"data set {name!r}: not known{did_you_mean(name, list(DATASETS))}; expected one of "
            f"{', '.join(sorted(DATASETS))}"
        )
    return DATASETS[name]


def _download(url: str, dataset: Dataset, folder: Path, progress: bool) -> Path:
    """The verified archive, beside the future data set."""
    md5 = dataset.md5 or _published_md5(url, folder)
    file = folder / dataset.archive
    part = folder / f"{dataset.archive}.part"
    try:
        _pooch().retrieve(
            url,
            known_hash=f"md5:{md5}",
            fname=file.name,
            path=folder,
            downloader=ResumingDownloader(part, progress),
        )
    except ValueError as error:  # pooch: the hash does not match; the file is gone
        raise SourceError(
            f"{url}: what came has another checksum than expected ({error}); try again, and "
            f"mistrust the source if it happens twice"
        ) from None
    return file


def _published_md5(url: str, folder: Path) -> str:
    """The checksum in the `.md5` beside the archive: `MD5 (x.zip) = …` or `…  x.zip`."""
    file = folder / f".{url.rsplit('/', 1)[-1]}.md5"
    part = file.with_suffix(".md5.part")
    part.unlink(missing_ok=True)
    ResumingDownloader(part, progress=False)(f"{url}.md5", str(file), None)
    text = file.read_text(encoding="utf-8", errors="replace")
    file.unlink()
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if found is None:
        raise SourceError(f"{url}.md5: holds no MD5 checksum (got {text[:80]!r})")
    return found[0].lower()


def _require_complete(folder: Path) -> None:
    missing = [name for name in _EXPECTED if not (folder / name).is_file()]
    if missing:
        raise SourceError(
            f"{folder}: lacks {' and '.join(missing)}; if it is there already, it is not this "
            f"data set: move it away and run again"
        )


def _write_csv(folder: Path) -> None:
    """Give the `::`-separated Latin-1 files of the older sets a header and a readable form."""
    headers = {
        "ratings": ["userId", "movieId", "rating", "timestamp"],
        "movies": ["movieId", "title", "genres"],
    }
    for name, header in headers.items():
        source = folder / f"{name}.dat"
        if not source.is_file():
            raise SourceError(f"{folder.name}: the archive lacks {source.name}")
        with (
            source.open(encoding="latin-1") as lines,
            (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as sink,
        ):
            writer = csv.writer(sink)
            writer.writerow(header)
            writer.writerows(line.rstrip("\n").split("::") for line in lines)


def _pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError:
        raise MissingExtraError(
            "fetching data needs pooch, which is not installed; "
            "pip install 'pinsage-pipeline[fetch]'"
        ) from None
    # pooch announces a download that fetch already shows; its warnings stay.
    pooch.get_logger().setLevel("WARNING")
    return pooch
