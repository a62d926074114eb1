"""Building an index of each kind.

A build is the same for one seed and any number of threads: samples and rotations are seeded, one
thread finds the centres of lists and codes, several write the codes, block by block, in order, and
an HNSW graph, whose links depend on how threads interleave, is built by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.config import IndexConfig
from pinsage.retrieval.alone import without_teams
from pinsage.retrieval.load_faiss import in_blocks, load_faiss, with_threads
from pinsage.retrieval.pairing import balancing_turn
from pinsage.retrieval.recall import Trial
from pinsage.retrieval.tune import tune

Matrix = npt.NDArray[np.float32]

_HNSW_CONSTRUCTION = 200
_TRAINED_ON = 40  # vectors a list; more make centres hardly better
_ROUNDS = 8  # of k-means
_CODED = 1 << 14  # rows written as codes at once
_LEAST_TRAINED = 16  # centres of a code of 4 bits


def choose_kind(settings: IndexConfig, num_items: int) -> str:
    """`exact`, `hnsw`, `ivfpq` or `binary`."""
    if settings.kind == "auto":
        return "exact" if num_items <= settings.exact_up_to else "ivfpq"
    # 4-bit codes have 16 centres to learn.
    too_few = settings.kind == "ivfpq" and num_items < _LEAST_TRAINED
    return "exact" if too_few else settings.kind


def build_index(
    matrix: Matrix,
    kind: str,
    settings: IndexConfig,
    seed: int,
    trial: Trial | None,
    threads: int = 1,
) -> Any:
    """A FAISS index of the rows of float32 [N, d]; `trial` is what its search is tuned with."""
    faiss = load_faiss()
    with with_threads(1):
        index = (
            _ivfpq(faiss, matrix, settings, seed, threads)
            if kind == "ivfpq"
            else (_BUILDERS[kind](faiss, matrix, settings, seed))
        )
        if trial is not None:
            tune(index, kind, settings, trial, threads)
    return index


def _exact(faiss: Any, matrix: Matrix, _settings: IndexConfig, _seed: int) -> Any:
    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(matrix)
    return index


def _hnsw(faiss: Any, matrix: Matrix, settings: IndexConfig, seed: int) -> Any:
    index = faiss.IndexHNSWFlat(matrix.shape[1], settings.hnsw_links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _HNSW_CONSTRUCTION
    index.hnsw.rng = faiss.RandomGenerator(seed % 2**31)
    index.add(matrix)
    return index


def _ivfpq(faiss: Any, matrix: Matrix, settings: IndexConfig, seed: int, threads: int) -> Any:
    lists = min(settings.lists or _lists_for(len(matrix)), max(1, len(matrix) // 4))
    parts = -(-matrix.shape[1] // 2)
    while matrix.shape[1] % parts:
        parts -= 1
    rng = np.random.Generator(np.random.Philox(seed))
    size = min(len(matrix), max(_TRAINED_ON * lists, 256 * _LEAST_TRAINED))
    sample = matrix[np.sort(rng.permutation(len(matrix))[:size])]
    groups = faiss.Kmeans(
        matrix.shape[1], lists, niter=_ROUNDS, spherical=True, seed=seed % 2**31,
        min_points_per_centroid=1, max_points_per_centroid=_TRAINED_ON * 256,
    )  # fmt: skip
    groups.train(sample)
    _, nearest = groups.index.search(sample, 1)
    with without_teams():  # sums in one order, whatever the number of threads
        turn = balancing_turn(sample - groups.centroids[nearest[:, 0]], parts)
        turned_centres, turned = groups.centroids @ turn.T, sample @ turn.T
    plain = faiss.index_factory(
        matrix.shape[1], f"IVF{lists},PQ{parts}x4np", faiss.METRIC_INNER_PRODUCT
    )
    faiss.downcast_index(plain.quantizer).add(turned_centres)
    plain.pq.cp.seed = seed % 2**31
    plain.pq.cp.min_points_per_centroid = 1  # so that a small catalog gives no warning
    plain.train(turned)
    turning = faiss.LinearTransform(matrix.shape[1], matrix.shape[1], False)
    faiss.copy_array_to_vector(turn.ravel(), turning.A)
    turning.is_trained = turning.is_orthonormal = True

    def code(some: slice) -> Any:
        return plain.sa_encode(turning.apply(matrix[some]))

    for codes in in_blocks(code, len(matrix), _CODED, threads):
        plain.add_sa_codes(codes)
    coded = faiss.IndexIVFPQFastScan(plain)
    coded.own_fields, plain.own_fields = True, False  # the centres of the lists
    plain.reset()  # of its codes, which are coded's now
    base = faiss.IndexPreTransform(turning, coded)
    for part in (turning, coded):
        part.this.disown()
    base.own_fields = True
    return _refined(faiss, base, matrix)


def _binary(faiss: Any, matrix: Matrix, settings: IndexConfig, seed: int) -> Any:
    width = matrix.shape[1]
    bits = settings.hash_bits or 8 * -(-4 * width // 8)
    base = faiss.IndexLSH(width, bits, True, False)
    base.rrot.init(seed % 2**31)
    base.metric_type = faiss.METRIC_INNER_PRODUCT
    base.is_trained = True
    base.add(matrix)
    return _refined(faiss, base, matrix)


def _refined(faiss: Any, base: Any, matrix: Matrix) -> Any:
    index = faiss.IndexRefineFlat(base, faiss.swig_ptr(matrix))
    base.this.disown()
    index.own_fields = True
    return index


def _lists_for(num_items: int) -> int:
    return int(2 ** round(np.log2(max(1.0, 2 * np.sqrt(num_items)))))


_BUILDERS: dict[str, Callable[[Any, Matrix, IndexConfig, int], Any]] = {
    "exact": _exact, "hnsw": _hnsw, "binary": _binary,
}  # fmt: skip
