"""The command `recommend-user`: items for a user of the data, by its vectors.

The vectors are the version's own where it holds them (`contexts.publish`), else those that the
stage `contexts` made of the version's embeddings. Invariant: as with the other commands, nothing
heavy is imported before its body runs.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinsage.console import (
    AsJson,
    ConfigFile,
    Name,
    Overrides,
    Root,
    Version,
    locate_one,
    print_json,
    read_config,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pinsage.retrieval.published import Neighbour, Published

_FOLDER = "contexts"  # of a version, and the stage


def recommend_user(
    user: Annotated[str, typer.Argument(metavar="USER", help="Id of a user of the interactions.")],
    k: Annotated[int, typer.Option("--count", "-k", min=1, help="Items to show.")] = 10,
    new: Annotated[bool, typer.Option("--new", help="Leave out what the user took.")] = False,
    version: Version = None,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Show items for a user, by what it took: the mean of its newest items, or their medoids."""
    folder, chosen = locate_one(read_config(config_file, overrides), root, name)
    from pinsage.retrieval.published import load_published

    opened = load_published(folder, chosen, version)
    found = _best(folder, opened, user, k, new=new)
    if as_json:
        items = [asdict(each) for each in found]
        print_json({"name": chosen, "version": opened.version, "user_id": user, "items": items})
    else:
        from pinsage.display import show_for_user

        show_for_user(chosen, opened.version, user, found)


def _best(root: Path, version: Published, user: str, k: int, *, new: bool) -> list[Neighbour]:
    import numpy as np

    from pinsage.retrieval.published import Neighbour
    from pinsage.retrieval.users import best_rows

    vectors = _vectors(root, version, user)
    taken = _taken(root, version, user) if new else np.empty(0, dtype=np.int64)
    owner = np.zeros(len(vectors), dtype=np.int64)
    [(rows, scores)] = best_rows(version, vectors, owner, k, exclude=[taken])
    items = version.items.iloc[rows]
    columns = (items["item_id"].tolist(), items["title"].tolist(), scores.tolist())
    return [
        Neighbour(rank, item_id, str(title), score)
        for rank, (item_id, title, score) in enumerate(zip(*columns, strict=True), start=1)
    ]


def _vectors(root: Path, version: Published, user: str) -> npt.NDArray[np.float32]:
    """The user's vectors that were made of the version's embeddings, in the version's space."""
    from pinsage.contexts.stage import ContextVectors
    from pinsage.errors import ArtifactError
    from pinsage.retrieval.aligning import as_published
    from pinsage.store import Store, open_artifact

    if any(name.startswith(f"{_FOLDER}/") for name in version.manifest.files):
        return ContextVectors.open(version.path / _FOLDER).of(user)[0]
    wanted = version.manifest.inputs["embeddings"]
    fitting = [
        made
        for made in Store(root).made(_FOLDER)
        if made.manifest.inputs.get("embeddings") == wanted
    ]
    if not fitting:
        raise ArtifactError(
            f"{root / 'stages' / _FOLDER}: has no vectors of users for version {version.version}; "
            f"run `pinsage run` with its configuration, and with contexts.pool other than 'none'"
        )
    newest = open_artifact(max(fitting, key=lambda made: made.manifest.created).path)
    return as_published(ContextVectors.open(newest.path).of(user)[0], version)


def _taken(root: Path, version: Published, user: str) -> npt.NDArray[np.int64]:
    """Rows of all items that the user took, by the interactions that the version was made of."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pinsage.data.arrow import pc
    from pinsage.explain.evidence import find_source

    ingested = find_source(root, version, "items").path
    ids: Any = pq.read_table(ingested / "users.parquet")["user_id"]
    row = pc.index(ids.cast(pa.string()), user).as_py()
    table = pq.read_table(
        ingested / "interactions.parquet", columns=["item_row"], filters=[("user_row", "=", row)]
    )
    return np.unique(table["item_row"].to_numpy().astype(np.int64))
