"""EASE, a linear model of items out of items, with a closed form that is solved in place.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.

Shapes: N items of the catalog, I known ones, B queries, W width of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.errors import ConfigError, TrainingError
from pinsage.evaluation.ranking import Rows, Scores
from pinsage.graph.bipartite import BipartiteGraph

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 512  # wide enough for matrix products to run near their peak
_DOUBLE_ITEMS = 4096  # up to here float64 costs seconds
_SINGLE_ERROR = 1e-3  # of the weights, relative, that float32 may cause


@dataclass(frozen=True)
class EASEScorer:
    """EASE: the weights B that rebuild contexts X best, from other items alone.

    B minimises ‖X − XB‖² + λ‖B‖² with a diagonal of zeros; with P = (XᵀX + λI)⁻¹ it is
    B = I − P · diag(P)⁻¹ (Steck 2019, equation 8). A context scores x·B, so a single query item
    scores its row of B. X holds the known items alone: the most popular, ties by the smaller row.

    Attributes:
        weights: float32 [I, I], B
        items: int32 [I], catalog rows of the known items, ascending
        num_items: N
        regularization: λ, in contexts: how many an item is worth that it does not have
    """

    weights: npt.NDArray[np.float32]
    items: Rows
    num_items: int
    regularization: float
    name: str = "EASE"

    @classmethod
    def of(cls, graph: BipartiteGraph, regularization: float, max_items: int) -> EASEScorer:
        """Solve for the `max_items` most popular items that have a context.

        Takes I³ floating-point operations and, at the peak, 4 I² + 8 I W bytes (W = 512): the Gram
        matrix becomes B where it stands. In float64, which is taken up to 4,096 items and wherever
        float32 might move weights by a thousandth, 12 I² + 16 I W. How the BLAS shares a sum among
        threads is its own affair, so B is the same for any of their number to 1e-5, not in bits.
        Raises ConfigError for a λ that is not above 0 or for fewer than 2 items, TrainingError
        where the matrix cannot be inverted.
        """
        _check(regularization, max_items)
        items = _most_popular(graph, max_items)
        gram = _gram(graph, items, regularization, _precision(graph, items, regularization))
        return cls(_solve(gram), items, graph.num_items, regularization)

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen on validation pairs, beside the number of items known."""
        return {"regularization": self.regularization, "items": len(self.items)}

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]; 0 for and of items it does not know."""
        scores = np.zeros((len(query_rows), self.num_items), dtype=np.float32)
        position = self.position[query_rows]
        known = np.flatnonzero(position >= 0)
        scores[np.ix_(known, self.items)] = self.weights[position[known]]
        return scores

    @property
    def position(self) -> Rows:
        """Place of every catalog row among the known items, int32 [N]; -1 where it is none."""
        return _positions(self.items, self.num_items)


def _check(regularization: float, max_items: int) -> None:
    if not 0 < regularization < np.inf:
        raise ConfigError(
            f"regularization: expected a number of contexts above 0 (got {regularization}); "
            f"values from 1 to 1,000 are usual"
        )
    if max_items < 2:
        raise ConfigError(
            f"evaluation.ease_items: expected at least 2 (got {max_items}); an item is rebuilt "
            f"from others"
        )


def _most_popular(graph: BipartiteGraph, max_items: int) -> Rows:
    degree = graph.item_degree
    best = np.argsort(-degree, kind="stable")[:max_items]
    return np.sort(best[degree[best] > 0]).astype(np.int32)


def _positions(items: Rows, num_items: int) -> Rows:
    position = np.full(num_items, -1, dtype=np.int32)
    position[items] = np.arange(len(items), dtype=np.int32)
    return position


def _precision(graph: BipartiteGraph, items: Rows, regularization: float) -> type[np.floating[Any]]:
    """Float32 where its rounding cannot matter, float64 elsewhere.

    The relative error of an inverse is about the unit roundoff times the condition number, which
    is at most 1 + (largest row sum of XᵀX) / λ: eigenvalues lie between λ and that sum + λ.
    """
    is_known = _positions(items, graph.num_items) >= 0
    known_before = np.concatenate([[0], np.cumsum(is_known[graph.context_indices])])
    context_size = np.diff(known_before[graph.context_indptr])
    before = np.concatenate([[0], np.cumsum(context_size[graph.item_indices])])
    row_sum = np.diff(before[graph.item_indptr])[items]
    condition = 1 + row_sum.max(initial=0) / regularization
    is_fine = len(items) > _DOUBLE_ITEMS and condition * 2.0**-24 < _SINGLE_ERROR
    return np.float32 if is_fine else np.float64


def _gram(
    graph: BipartiteGraph, items: Rows, regularization: float, dtype: type[np.floating[Any]]
) -> npt.NDArray[np.floating[Any]]:
    """XᵀX + λI over the known items, [I, I]; counts are exact in either precision."""
    gram = np.zeros((len(items), len(items)), dtype=dtype)
    _count_shared(
        items, _positions(items, graph.num_items), graph.item_indptr, graph.item_indices,
        graph.context_indptr, graph.context_indices, gram,
    )  # fmt: skip
    gram[np.diag_indices(len(items))] += regularization
    return gram


def _solve(gram: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """B out of the Gram matrix, which is overwritten; float32 [I, I]."""
    import torch  # its matrix products add to a part of a matrix in place

    matrix = torch.from_numpy(gram)
    _negate_inverse(matrix)
    diagonal = -matrix.diagonal()
    if not bool(((diagonal > 0) & diagonal.isfinite()).all()):
        raise TrainingError(
            "EASE: the Gram matrix cannot be inverted (a diagonal entry of its inverse is "
            f"{diagonal.min().item():.3g}); raise the regularization"
        )
    _divide_columns(matrix, diagonal.clone())
    weights: npt.NDArray[np.float32] = matrix.float().numpy()
    return weights


def _negate_inverse(matrix: Tensor) -> None:
    """Overwrite the lower triangle of a positive definite matrix with minus its inverse's.

    A sweep (Goodnight, "A tutorial on the SWEEP operator", The American Statistician 1979), a
    block of columns at a time: it takes the I³ operations of Cholesky and inversion and no second
    matrix, and runs in large matrix products alone, twice as fast as LAPACK's potrf and potri.
    """
    size = len(matrix)
    panel_IW = matrix.new_empty(size, min(_BLOCK, size))
    for first in range(0, size, _BLOCK):
        pivot = slice(first, min(first + _BLOCK, size))
        column_IW = panel_IW[:, : pivot.stop - pivot.start]
        column_IW[: pivot.start] = matrix[pivot, : pivot.start].T
        column_IW[pivot] = 0  # so that the products below leave the pivot's own parts alone
        column_IW[pivot.stop :] = matrix[pivot.stop :, pivot]
        inverse_WW = matrix[pivot, pivot].double().inverse().to(matrix.dtype)
        scaled_IW = column_IW @ inverse_WW
        for rows in _blocks(size):
            matrix[rows, : rows.stop].addmm_(scaled_IW[rows], column_IW[: rows.stop].T, alpha=-1)
        matrix[pivot, : pivot.start] = scaled_IW[: pivot.start].T
        matrix[pivot.stop :, pivot] = scaled_IW[pivot.stop :]
        matrix[pivot, pivot] = -inverse_WW


def _divide_columns(matrix: Tensor, diagonal: Tensor) -> None:
    """-P, a lower triangle, becomes -P · diag(P)⁻¹ with a diagonal of zeros, in full."""
    for rows in _blocks(len(matrix)):
        for columns in _blocks(rows.stop):
            lower = matrix[rows, columns].clone()
            matrix[columns, rows] = lower.T / diagonal[rows]
            matrix[rows, columns] = lower / diagonal[columns]
    matrix.fill_diagonal_(0)


def _blocks(size: int) -> list[slice]:
    return [slice(first, min(first + _BLOCK, size)) for first in range(0, size, _BLOCK)]


@numba.njit(parallel=True, cache=True)
def _count_shared(
    items: Any,
    position: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
    gram: Any,
) -> None:
    for place in numba.prange(len(items)):
        item = items[place]
        row = gram[place]
        for edge in range(item_indptr[item], item_indptr[item + 1]):
            context = item_indices[edge]
            for other in range(context_indptr[context], context_indptr[context + 1]):
                column = position[context_indices[other]]
                if column >= 0:
                    row[column] += 1
