"""New items through a published version: its model embeds what its catalog has not.

Content needs nothing but the version's own folder. Interactions need what the version was made of
as well: the graph that their users are in, the catalog and the table of neighbours. So does an item
without any, where the version gave such items neighbours by content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import FeatureKind
from pinsage.content.stand_ins import newcomers_with_stand_ins
from pinsage.data.arrow import pc
from pinsage.data.newcomers import (
    ITEM_ID,
    TITLE,
    USER_IDS,
    NewItems,
    land_new_items,
    read_new_items,
)
from pinsage.errors import ArtifactError, ConfigError, SourceError
from pinsage.explain.evidence import Evidence, load_evidence
from pinsage.files import replacing
from pinsage.graph.neighbourhoods import newcomers_neighbourhoods
from pinsage.inference.newcomers import Catalog, embed_among, embed_by_content
from pinsage.model.features import FeatureSpec
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.retrieval.published import Published, one_line
from pinsage.retrieval.shards import vector_column

_PARQUET = ".parquet"


@dataclass(frozen=True)
class Embedded:
    """New items with their embeddings.

    Attributes:
        items: item_id and title, M rows
        vectors: float32 [M, d], comparable with the version's own
        num_users: of each item, those that the graph knows
        notes: what was passed over or is missing, a sentence each
    """

    items: pd.DataFrame
    vectors: npt.NDArray[np.float32]
    num_users: tuple[int, ...]
    notes: tuple[str, ...]


def embed_file(root: Path, version: Published, file: Path) -> Embedded:
    """Embed the new items of a file.

    Raises SourceError where the file cannot be read, holds an item of the catalog, or says nothing
    that the model could go by; ArtifactError where it names users and what the version was made of
    is gone.
    """
    model = load_model(version.path / "model")
    kinds = model.spec.content
    new = read_new_items(file, kinds, separator=model.spec.separator)
    _refuse_known(file, version, new)
    notes, lost, has_users = _notes(new, kinds), tuple[str, ...](), any(new.users)
    evidence: Evidence | None
    if has_users:
        evidence = _evidence(root, version)
    else:
        _refuse_nothing(file, version, new, kinds)
        evidence, lost = _for_stand_ins(root, version)
    if evidence is None:
        vectors, num_users = embed_by_content(model, new.items), (0,) * len(new.items)
    else:
        contexts = _contexts(evidence.ingested, new.users)
        num_users = tuple(map(len, contexts))
        notes += _strangers(file, model.spec, new.users, num_users) if has_users else ()
        vectors = _among(evidence, new.items, contexts)
    notes += lost + _blank(new.items, list(kinds), num_users)
    return Embedded(new.items[[ITEM_ID, TITLE]], vectors, num_users, notes)


def embed_rows(model: PinSage, rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Embed rows of features by content alone, float32 [M, d]; needs the model and nothing else.

    Columns that are absent are missing values, others than the features and item_id mean nothing.
    Raises SourceError where a column cannot be read as its kind.
    """
    kinds = model.spec.content
    frame = rows[[name for name in rows if name in {*kinds, TITLE}]].reset_index(drop=True)
    if ITEM_ID in rows:
        frame[ITEM_ID] = [None if pd.isna(each) else str(each) for each in rows[ITEM_ID]]
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, OverflowError) as error:
        raise SourceError(f"rows of new items: {error}; give a column values of one type") from None
    landed = land_new_items(table, kinds, separator=model.spec.separator, where="rows of new items")
    return embed_by_content(model, landed.items)


def check_target(out: Path) -> None:
    """Raise ConfigError unless `out` can become a Parquet file, before anything is computed."""
    if out.suffix != _PARQUET or out.is_dir():
        raise ConfigError(f"--out {out}: expected the name of a file that ends in {_PARQUET}")


def write_vectors(embedded: Embedded, out: Path) -> None:
    """Write item_id, title and vector, as a version's own shards have them; all or nothing."""
    column = vector_column(embedded.vectors)
    table = pa.Table.from_pandas(embedded.items, preserve_index=False)
    try:
        with replacing(out) as temporary:
            pq.write_table(table.append_column("vector", column), temporary)
    except OSError as error:
        raise ArtifactError(f"{out}: cannot be written ({error}); choose another --out") from None


def _refuse_known(file: Path, version: Published, new: NewItems) -> None:
    catalog = set(version.items[ITEM_ID].astype(str))
    known = [item_id for item_id in new.items[ITEM_ID].astype(str) if item_id in catalog]
    if known:
        more = f" (and {len(known) - 1:,} more)" if len(known) > 1 else ""
        raise SourceError(
            f"{file}: column {ITEM_ID!r} holds {one_line(known[0])!r}{more}, an item that version "
            f"{version.version} has embedded already: leave it out here, and ask "
            f"`pinsage recommend` for its neighbours"
        )


def _refuse_nothing(
    file: Path, version: Published, new: NewItems, kinds: dict[str, FeatureKind]
) -> None:
    """Where nothing distinguishes the new items, they would all have one embedding."""
    if not kinds:
        raise SourceError(
            f"{file}: the model of version {version.version} has no features, and no new item has "
            f"a user; add first interactions as a column {USER_IDS!r}"
        )
    if len(new.absent) == len(kinds):
        raise SourceError(
            f"{file}: has none of the model's features ({', '.join(map(repr, kinds))}) and no "
            f"column {USER_IDS!r} with users; name the columns as in data.items.features"
        )


def _evidence(root: Path, version: Published) -> Evidence:
    try:
        return load_evidence(root, version)
    except ArtifactError as error:
        raise ArtifactError(
            f"{error}; or leave out the column {USER_IDS!r}, and the items are embedded by "
            f"content alone"
        ) from None


def _for_stand_ins(root: Path, version: Published) -> tuple[Evidence | None, tuple[str, ...]]:
    """What stand-ins are found in, where the version has any; a note where it is gone."""
    if not version.manifest.facts.get("by_content"):
        return None, ()
    try:
        return load_evidence(root, version), ()
    except ArtifactError as error:
        return None, (f"no new item has neighbours by content as the catalog's own have: {error}",)


def _contexts(ingested: Path, users: Sequence[Sequence[str]]) -> list[npt.NDArray[np.int32]]:
    """Rows of the users that were ingested, by item."""
    ids = pq.read_table(ingested / "users.parquet")["user_id"].cast(pa.string())
    asked = pa.array([user for each in users for user in each], pa.string())
    found = pc.index_in(asked, value_set=ids.combine_chunks())
    rows = np.asarray(pc.fill_null(found, -1), dtype=np.int32)
    parts = np.split(rows, np.cumsum([len(each) for each in users])[:-1])
    return [np.unique(part[part >= 0]) for part in parts]


def _among(
    evidence: Evidence, items: pd.DataFrame, contexts: list[npt.NDArray[np.int32]]
) -> npt.NDArray[np.float32]:
    graph, walks, spec = evidence.graph, evidence.walks, evidence.model.spec
    near = newcomers_neighbourhoods(graph, contexts, walks, evidence.seed)
    degree = np.array([len(rows) for rows in contexts], dtype=np.int64)
    if walks.by_content and spec.content:
        near = newcomers_with_stand_ins(near, degree, items, graph, evidence.items, spec, walks)
    shown = degree if near.degree is None else near.degree
    catalog = Catalog(evidence.items, evidence.table.shown_degree(graph), evidence.table)
    return embed_among(evidence.model, items, shown, near, catalog)


def _notes(new: NewItems, kinds: dict[str, FeatureKind]) -> tuple[str, ...]:
    absent = ", ".join(map(repr, new.absent))
    ignored = ", ".join(map(repr, map(one_line, new.ignored)))
    expected = ", ".join([ITEM_ID, TITLE, USER_IDS, *(name for name in kinds if name != TITLE)])
    return (
        *([f"no column {absent}: treated as missing in every new item"] if absent else ()),
        *([f"column {ignored} passed over: known are {expected}"] if ignored else ()),
    )


def _strangers(
    file: Path,
    spec: FeatureSpec,
    users: Sequence[Sequence[str]],
    num_users: Sequence[int],
) -> tuple[str, ...]:
    """Their ids are personal data: they are counted, not named."""
    asked = sum(map(len, users))
    unknown = asked - sum(num_users)
    if unknown == asked:
        raise SourceError(
            f"{file}: column {USER_IDS!r}: none of its {asked:,} ids is a user of the data that "
            f"this version was made of; expected the ids of the interactions, as a list or "
            f"separated by {spec.separator!r}"
        )
    missing = f"{unknown:,} of {asked:,} users are not in the data of this version: passed over"
    return (missing,) if unknown else ()


def _blank(items: pd.DataFrame, features: list[str], num_users: Sequence[int]) -> tuple[str, ...]:
    empty = items[features].isna().all(axis=1).to_numpy() & (np.array(num_users) == 0)
    note = (
        f"{int(empty.sum()):,} of {len(items):,} new items have no feature and no known user: "
        f"their embedding says nothing of them"
    )
    return (note,) if empty.any() else ()
