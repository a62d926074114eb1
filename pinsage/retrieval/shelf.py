"""Where versions lie and which one readers follow: what every module that reads one needs.

Small on purpose: a warm start reads it, so that whatever changes here trains every model anew.
"""

from __future__ import annotations

from pathlib import Path

from pinsage.errors import ArtifactError

EMBEDDINGS = "embeddings"  # folder of a version: shards of item_id, title, version and vector
CURRENT = "CURRENT"


def shelf(root: Path, name: str) -> Path:
    """Folder of a data set's versions."""
    return root / "published" / name


def names(root: Path) -> list[str]:
    """Data sets with something published."""
    return sorted(p.parent.name for p in (root / "published").glob(f"*/{CURRENT}"))


def only_name(root: Path) -> str:
    """The one published data set. Raises ArtifactError where there is none, or several."""
    found = names(root)
    if len(found) != 1:
        listed = f"found {', '.join(found)}; choose one with --name" if found else (
            "nothing is published there; run `pinsage demo`, or `pinsage run --config FILE`"
        )  # fmt: skip
        raise ArtifactError(f"{root / 'published'}: {listed}")
    return found[0]


def current_version(root: Path, name: str) -> str:
    """The version readers follow. Raises ArtifactError where nothing is published."""
    pointer = shelf(root, name) / CURRENT
    try:
        return pointer.read_text().strip()
    except FileNotFoundError:
        raise ArtifactError(
            f"{pointer}: no such file, so nothing is published for {name}; run "
            f"`pinsage run --config FILE` first"
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{pointer}: cannot be read ({error}); publish again") from None
