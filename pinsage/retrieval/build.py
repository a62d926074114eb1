"""Building an index of each kind, and tuning its search to a recall.

A build is the same for one seed and any number of threads: samples and rotations are seeded, FAISS
adds in order to lists, and an HNSW graph, whose links depend on how threads interleave, is built by
one. Tuning compares counts of what would be read, not times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.config import IndexConfig
from pinsage.retrieval.load_faiss import load_faiss, with_threads
from pinsage.retrieval.pairing import balancing_turn
from pinsage.retrieval.recall import Trial

Matrix = npt.NDArray[np.float32]

_HNSW_CONSTRUCTION = 200
_HNSW_WIDEST = 4096
_TRAINED_ON = 40  # vectors a list; more make centres hardly better
_ROUNDS = 8  # of k-means
_LEAST_TRAINED = 16  # centres of a code of 4 bits
_CANDIDATES = (
    2.0,
    3.0,
    4.0,
    6.0,
    8.0,
    12.0,
    16.0,
    32.0,
    64.0,
)  # scored in full, for each of those wanted
_READ_TO_SCORED = 1 / 40  # what reading a code costs, measured in vectors scored in full
_FLAT = 0.004  # recall that doubling what is read must add
_MARGIN = 0.003  # beyond the recall asked for: other queries are not those it was tuned with


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
    with with_threads(threads if kind != "hnsw" else 1):
        index = _BUILDERS[kind](faiss, matrix, settings, seed)
        if trial is not None:
            _TUNERS[kind](faiss, index, settings, trial)
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


def _ivfpq(faiss: Any, matrix: Matrix, settings: IndexConfig, seed: int) -> Any:
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
    turn = balancing_turn(sample - groups.centroids[nearest[:, 0]], parts)
    coded = faiss.index_factory(
        matrix.shape[1], f"IVF{lists},PQ{parts}x4fsr", faiss.METRIC_INNER_PRODUCT
    )
    faiss.downcast_index(coded.quantizer).add(groups.centroids @ turn.T)
    coded.pq.cp.seed = seed % 2**31
    coded.pq.cp.min_points_per_centroid = 1  # so that a small catalog gives no warning
    coded.train(sample @ turn.T)
    turning = faiss.LinearTransform(matrix.shape[1], matrix.shape[1], False)
    faiss.copy_array_to_vector(turn.ravel(), turning.A)
    turning.is_trained = turning.is_orthonormal = True
    base = faiss.IndexPreTransform(turning, coded)
    for part in (turning, coded):
        part.this.disown()
    base.own_fields = True
    base.add(matrix)
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


def _tune_hnsw(_faiss: Any, index: Any, settings: IndexConfig, trial: Trial) -> None:
    def reach(width: int) -> float:
        index.hnsw.efSearch = width
        return _recall(index, trial)

    goal = min(1.0, settings.recall + _MARGIN)
    index.hnsw.efSearch = settings.hnsw_search or _least(reach, 16, _HNSW_WIDEST, goal)


def _tune_ivfpq(faiss: Any, index: Any, settings: IndexConfig, trial: Trial) -> None:
    lists = faiss.extract_index_ivf(index.base_index)
    a_list = index.ntotal / lists.nlist * _READ_TO_SCORED
    k = trial.expected.shape[1]

    def reach(probes: int) -> float:
        lists.nprobe = probes
        return _recall(index, trial)

    goal = min(1.0, settings.recall + _MARGIN)
    best = (np.inf, lists.nlist, _CANDIDATES[-1])
    for factor in _CANDIDATES:
        index.k_factor = factor
        # More than this cost more than the best so far, whatever recall they have.
        most = min(lists.nlist, (best[0] - k * factor) / a_list)
        if most < 1:
            break
        probes = _least(reach, 1, int(most), goal)
        if probes < int(most) or reach(probes) >= goal:
            best = (probes * a_list + k * factor, probes, factor)
    _, lists.nprobe, index.k_factor = best


def _tune_binary(_faiss: Any, index: Any, settings: IndexConfig, trial: Trial) -> None:
    def reach(factor: int) -> float:
        index.k_factor = factor
        return _recall(index, trial)

    most = max(1, int(index.ntotal) // trial.expected.shape[1])
    index.k_factor = _least(reach, 1, most, min(1.0, settings.recall + _MARGIN))


def _recall(index: Any, trial: Trial) -> float:
    return trial.recall(index.search(trial.queries, trial.expected.shape[1])[1])


def _least(reach: Callable[[int], float], low: int, high: int, goal: float) -> int:
    """The smallest value that reaches the goal, to a sixteenth of itself; `high` if none does.

    It gives up where twice as much adds next to nothing.
    """
    value, before = low, 0.0
    while value < high and (recall := reach(value)) < goal:
        if 0.5 < recall < before + _FLAT:
            return high
        low, value, before = value, min(2 * value, high), recall
    high = value
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if reach(middle) >= goal else (middle, high)
    return high


_BUILDERS: dict[str, Callable[[Any, Matrix, IndexConfig, int], Any]] = {
    "exact": _exact, "hnsw": _hnsw, "ivfpq": _ivfpq, "binary": _binary,
}  # fmt: skip
_TUNERS: dict[str, Callable[[Any, Any, IndexConfig, Trial], None]] = {
    "hnsw": _tune_hnsw, "ivfpq": _tune_ivfpq, "binary": _tune_binary,
}  # fmt: skip
