"""Items that the model never saw, embedded by the model as it is: no training, no new table.

A newcomer is only ever a target: the items of the catalog keep the neighbourhoods and the degrees
that they were published with, so that their representations are what they were, and only those
within K hops of a newcomer are computed. What is approximate is this and nothing else: a catalog
embedded anew would also walk from its old items to the new ones.

Shapes: M newcomers, N items of the catalog, R items of it that are reached, T neighbours, D widths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from pinsage.graph.neighbourhoods import Degree, Neighbourhoods
from pinsage.inference.layers import (
    alone_block,
    encode_block,
    head_block,
    map_block,
    reduce_block,
)
from pinsage.model.conv import PinSageConv
from pinsage.model.pinsage import PinSage

_BLOCK = 4096

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Catalog:
    """The items that newcomers come to, as they were embedded.

    Attributes:
        items: feature columns, N rows
        degree: [N], as their features show it
        table: their neighbourhoods, N rows
    """

    items: pd.DataFrame
    degree: Degree
    table: Neighbourhoods


def embed_by_content(
    model: PinSage, newcomers: pd.DataFrame, degree: Degree | None = None
) -> Matrix:
    """Embeddings of items without a neighbour, float32 [M, output]; the model is all it takes.

    They are those of a catalog that held the items without any interaction, and had no stand-ins.
    `degree`, [M], is 0 unless given. Raises TrainingError where a feature column is not there.
    """
    counts = np.zeros(len(newcomers), dtype=np.int64) if degree is None else degree
    out = np.empty((len(newcomers), model.config.output), dtype=np.float32)
    for rows in _blocks(len(newcomers)):
        features = model.spec.transform(newcomers.iloc[rows], counts[rows])
        out[rows] = alone_block(model, features, _nameless(model, len(features))).numpy()
    return out


def embed_among(
    model: PinSage,
    newcomers: pd.DataFrame,
    degree: Degree,
    near: Neighbourhoods,
    catalog: Catalog,
) -> Matrix:
    """Embeddings of items with neighbours in a catalog, float32 [M, output].

    `degree`, [M], counts their interactions, or is what their stand-ins lend them; `near`, M rows,
    holds their neighbourhoods.
    Memory holds two layers of the R items reached, R ≤ N. Raises TrainingError where a feature
    column is not there.
    """
    reached = reached_rows(catalog.table, near, len(model.layers))
    if not len(reached[0]):
        return embed_by_content(model, newcomers, degree)
    h_MD = _encode_newcomers(model, newcomers, degree)
    h_RD = _encode_reached(model, catalog, reached[0])
    for number, conv in enumerate(model.layers):
        known = reached[number]
        projected_RH = torch.cat([map_block(conv, h_RD[rows]) for rows in _blocks(len(h_RD))])
        h_MD = reduce_block(conv, h_MD, projected_RH, *_positions(near, known))
        if number + 1 < len(model.layers):
            h_RD = _advance(conv, h_RD, projected_RH, catalog.table, known, reached[number + 1])
    vectors: Matrix = head_block(model, h_MD).numpy()
    return vectors


def reached_rows(table: Neighbourhoods, near: Neighbourhoods, layers: int) -> list[Rows]:
    """Rows of the catalog that layer 1, …, K pools or computes from, each ascending.

    The last are the neighbours themselves; the ones before add the neighbours' neighbours.
    """
    reached = [np.unique(near.neighbors[near.neighbors >= 0]).astype(np.int64)]
    for _ in range(layers - 1):
        around = table.neighbors[reached[0]]
        reached.insert(0, np.union1d(reached[0], around[around >= 0]).astype(np.int64))
    return reached


def _encode_newcomers(model: PinSage, newcomers: pd.DataFrame, degree: Degree) -> Tensor:
    features = model.spec.transform(newcomers, degree)
    return encode_block(model, features, _nameless(model, len(newcomers)))


def _encode_reached(model: PinSage, catalog: Catalog, rows_R: Rows) -> Tensor:
    blocks = [rows_R[rows] for rows in _blocks(len(rows_R))]
    return torch.cat(
        [
            encode_block(
                model,
                model.spec.transform(catalog.items.iloc[rows], catalog.degree[rows]),
                torch.from_numpy(rows),
            )
            for rows in blocks
        ]
    )


def _advance(
    conv: PinSageConv,
    h_RD: Tensor,
    projected_RH: Tensor,
    table: Neighbourhoods,
    known_R: Rows,
    wanted: Rows,
) -> Tensor:
    """The next layer of the `wanted` rows, which are among the `known_R` of this one."""
    following = []
    for block in _blocks(len(wanted)):
        rows = wanted[block]
        own = Neighbourhoods(table.neighbors[rows], table.weights[rows])
        h_BD = h_RD[torch.from_numpy(np.searchsorted(known_R, rows))]
        following.append(reduce_block(conv, h_BD, projected_RH, *_positions(own, known_R)))
    return torch.cat(following)


def _nameless(model: PinSage, count: int) -> Tensor:
    """Rows beyond the last id vector, for which the encoder has none."""
    return torch.full((count,), model.num_items)


def _positions(table: Neighbourhoods, rows_R: Rows) -> tuple[Tensor, Tensor]:
    """Neighbours as places in `rows_R`, which holds them all, -1 where there is none; weights."""
    places = np.searchsorted(rows_R, table.neighbors).astype(np.int64)
    places[table.neighbors < 0] = -1
    # A copy: the table may be mapped read-only, which torch warns about.
    return torch.from_numpy(places), torch.from_numpy(np.array(table.weights))


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, min(count, start + _BLOCK))
