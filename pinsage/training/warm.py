"""A warm start: last night's weights for tonight's catalog.

What belongs to an item follows the item's id, what belongs to a value of a feature follows the
value, wherever their rows are now. New ones keep the fresh vectors they have, gone ones are
dropped, and statistics of numbers and times are those of tonight's catalog.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
import torch_frame
from torch import Tensor

from pinsage.model.features import FeatureSpec
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.retrieval.shelf import EMBEDDINGS
from pinsage.store import open_artifact

_IDS = "encoder.ids.weight"
_COLUMNS = "encoder.columns.encoder_dict."
_SHAPES_NO_WEIGHT = {"id_dropout"}
_log = logging.getLogger(__name__)


def start_warm(model: PinSage, item_ids: Sequence[Any], champion: Path) -> int | None:
    """Give `model` the weights of a published version; `item_ids` are those of its rows.

    Returns how many items have kept their id vector, 0 for a model without; None where the
    architectures differ, which the log tells: `model` is then as it was. Raises ArtifactError
    where the version is damaged.
    """
    open_artifact(champion)
    old = load_model(champion / "model")
    differences = _differences(old, model)
    if differences:
        _log.warning(
            "cold start: version %s has another architecture (%s)",
            champion.name, "; ".join(differences),
        )  # fmt: skip
        return None
    known = pq.read_table(champion / EMBEDDINGS, columns=["item_id"])["item_id"]
    # Rows of the model are the first of the version: training knew no later items.
    new_at, old_at = _followed(known.to_pylist()[: old.num_items], item_ids)
    was_trained = old.encoder.known[old_at] if len(old.encoder.known) else old_at < 0
    new_at, old_at = new_at[was_trained], old_at[was_trained]
    _take_over(model, old, new_at, old_at)
    kept = len(new_at)
    _log.info(
        "warm start from version %s: %s of %s items have kept their id vectors",
        champion.name, f"{kept:,}", f"{len(item_ids):,}",
    )  # fmt: skip
    return kept


@torch.no_grad()
def _take_over(model: PinSage, old: PinSage, new_at: Tensor, old_at: Tensor) -> None:
    weights = dict(old.named_parameters())
    rows = dict(_rows_by_value(old.spec, model.spec))
    for name, weight in model.named_parameters():
        if name == _IDS:
            weight[new_at] = weights[name][old_at]
        elif name in rows:
            to, of = rows[name]
            weight[to] = weights[name][of]
        else:
            weight.copy_(weights[name])


def _rows_by_value(old: FeatureSpec, new: FeatureSpec) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """Rows of each feature's vectors, now and then, by the parameter's name.

    As pytorch-frame has them: row 0 is for what is missing; categorical columns share one table,
    one after the other, multicategorical ones have a table each. Hashed texts have no vocabulary:
    their rows are buckets, and stay.
    """
    names = new.col_names_dict
    first, blocks = [1, 1], [(torch.zeros(1, dtype=torch.int64),) * 2]
    for column in names.get(torch_frame.categorical, []):
        new_at, old_at = _followed(*(_vocabulary(spec, column) for spec in (old, new)))
        blocks.append((new_at + first[0], old_at + first[1]))
        first = [
            at + len(_vocabulary(spec, column)) for at, spec in zip(first, (new, old), strict=True)
        ]
    yield f"{_COLUMNS}categorical.emb.weight", tuple(map(torch.cat, zip(*blocks, strict=True)))
    for place, column in enumerate(names.get(torch_frame.multicategorical, [])):
        if new.columns[column] == "multicategorical":
            at = _followed(*(["", *_vocabulary(spec, column)] for spec in (old, new)))
            yield f"{_COLUMNS}multicategorical.embs.{place}.weight", at


def _vocabulary(spec: FeatureSpec, column: str) -> list[str]:
    vocabulary: list[str] = spec.stats[column]["vocabulary"]
    return vocabulary


def _followed(old: Sequence[Any], new: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Places in `new` of what is in `old` as well, and its places there; int64."""
    old_at = torch.from_numpy(pd.Index(old).get_indexer(pd.Index(new))).to(torch.int64)
    new_at = torch.nonzero(old_at >= 0).flatten()
    return new_at, old_at[new_at]


def _differences(old: PinSage, new: PinSage) -> list[str]:
    """In sizes, layers, columns and their encoders: whatever weights are shaped by."""
    sides = [_architecture(each) for each in (old, new)]
    return [
        f"{name}: {sides[0].get(name, 'nothing')} there, {sides[1].get(name, 'nothing')} now"
        for name in sorted({*sides[0], *sides[1]})
        if sides[0].get(name) != sides[1].get(name)
    ]


def _architecture(model: PinSage) -> dict[str, Any]:
    spec = model.spec
    sizes = model.config.model_dump(exclude=_SHAPES_NO_WEIGHT)
    return {
        **{f"model.{name}": value for name, value in sizes.items()},
        **{f"feature {name!r}": _encoded_as(spec, name) for name in spec.columns},
    }


def _encoded_as(spec: FeatureSpec, column: str) -> str:
    kind, stats = spec.columns[column], spec.stats[column]
    if kind == "text":
        return f"text, {spec.text_encoder(column)}"
    return f"embedding of {stats['dim']} numbers" if kind == "embedding" else kind
