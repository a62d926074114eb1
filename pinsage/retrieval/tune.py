"""Tuning the search of an index to a recall, with queries whose exact answers are known.

What is cheapest is found by counting what a search reads, not by a clock, so that one seed and any
number of threads give one setting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.config import IndexConfig
from pinsage.retrieval.load_faiss import in_blocks, load_faiss
from pinsage.retrieval.recall import BLOCK, Trial

Rows = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

_HNSW_WIDEST = 4096
_CANDIDATES = np.array([2, 3, 4, 6, 8, 12, 16, 32, 64])  # scored in full, for each of those wanted
_READ_TO_SCORED = 1 / 40  # what reading a code costs, measured in vectors scored in full
_FLAT = 0.004  # recall that doubling what is read must add
_MARGIN = 0.003  # beyond the recall asked for: other queries are not those it was tuned with
_ORDERED = 1 << 23  # lists put in order at once


def tune(index: Any, kind: str, settings: IndexConfig, trial: Trial, threads: int = 1) -> None:
    """Set how much a search of a FAISS index of this kind reads: the least that finds enough."""
    goal = min(1.0, settings.recall + _MARGIN)
    if kind == "hnsw":
        index.hnsw.efSearch = settings.hnsw_search or _hnsw_width(index, trial, goal, threads)
    elif kind == "binary":
        index.k_factor = _hashes(index, trial, goal, threads)
    elif kind == "ivfpq":
        lists = load_faiss().extract_index_ivf(index.base_index)
        lists.nprobe, index.k_factor = _Lists(index, trial, lists, threads).cheapest(goal)


def _hnsw_width(index: Any, trial: Trial, goal: float, threads: int) -> int:
    def reach(width: int) -> float:
        index.hnsw.efSearch = width
        return _recall(index, trial, threads)

    return _least(reach, 16, _HNSW_WIDEST, goal)


def _hashes(index: Any, trial: Trial, goal: float, threads: int) -> int:
    def reach(factor: int) -> float:
        index.k_factor = factor
        return _recall(index, trial, threads)

    return _least(reach, 1, max(1, int(index.ntotal) // trial.expected.shape[1]), goal)


@dataclass(frozen=True)
class _Lists:
    """How many lists to read and candidates to score, in an index that reads codes of lists.

    An expected item is missed because its list is not read, which is known of any number of lists
    by one look at their order, or because its code ranks behind the candidates, which one search
    says for all numbers of candidates. Reading more lists brings more codes that may rank before
    it, so the second loss only grows: what it was with fewer lists bounds from below how many must
    be read. The setting with the lowest bound is tried until one holds, which is then the cheapest,
    to a 64th of the lists.
    """

    index: Any
    trial: Trial
    lists: Any
    threads: int

    def cheapest(self, goal: float) -> tuple[int, float]:
        """Lists to read and candidates for each item wanted; all there are where none suffice."""
        most, k = int(self.lists.nlist), self.trial.expected.shape[1]
        a_list = self.index.ntotal / most * _READ_TO_SCORED
        covered = self._covered()
        least = np.full(len(_CANDIDATES), _first(covered, goal))
        while True:
            costs = np.where(least > most, np.inf, least * a_list + k * _CANDIDATES)
            choice = int(np.argmin(costs))
            if np.isinf(costs[choice]):
                return most, float(_CANDIDATES[-1])
            probes = int(least[choice])
            found = self._found(probes)
            if found[choice] >= goal:
                return probes, float(_CANDIDATES[choice])
            lost = covered[probes - 1] - found
            bounds = np.array([_first(covered, goal + each) for each in lost])
            # With fewer lists less may be lost than here, so that this says nothing of them.
            least = np.where(least >= probes, np.maximum(least, bounds), least)
            # At least a little more, so that it ends soon where what is lost grows as it goes.
            least[choice] = max(least[choice], probes + max(1, probes // 64))

    def _covered(self) -> Shares:
        """Share of the expected items that lie in the first list, the first two and so on."""
        faiss, most = load_faiss(), int(self.lists.nlist)
        list_of = np.empty(self.index.ntotal, dtype=np.int64)
        for number in range(most):
            if size := self.lists.invlists.list_size(number):
                ids = self.lists.invlists.get_ids(number)
                list_of[faiss.rev_swig_ptr(ids, size)] = number
                self.lists.invlists.release_ids(number, ids)
        base = faiss.downcast_index(self.index.base_index)
        turning = faiss.downcast_VectorTransform(base.chain.at(0))

        def count(some: slice) -> Rows:
            _, order = self.lists.quantizer.search(turning.apply(self.trial.queries[some]), most)
            places = np.empty_like(order)
            np.put_along_axis(places, order, np.arange(most)[None], axis=1)
            homes = list_of[self.trial.expected[some]]
            return np.bincount(np.take_along_axis(places, homes, axis=1).ravel(), minlength=most)

        step = max(1, min(BLOCK, _ORDERED // most))
        counts = in_blocks(count, len(self.trial.queries), step, self.threads)
        shares: Shares = np.cumsum(np.sum([*counts], axis=0)) / self.trial.expected.size
        return shares

    def _found(self, probes: int) -> Shares:
        """Share of the expected items among the candidates, for each number of candidates."""
        k = self.trial.expected.shape[1]
        self.lists.nprobe = probes
        widest = int(min(k * _CANDIDATES[-1], self.index.ntotal))

        def count(some: slice) -> Rows:
            _, found = self.index.base_index.search(self.trial.queries[some], widest)
            hits = np.zeros(widest, dtype=np.int64)
            is_expected = np.zeros(self.index.ntotal + 1, dtype=bool)  # the last is −1, no item
            for rows, expected in zip(found, self.trial.expected[some], strict=True):
                is_expected[expected] = True
                hits += is_expected[rows]
                is_expected[expected] = False
            return hits

        counts = in_blocks(count, len(self.trial.queries), BLOCK, self.threads)
        among = np.cumsum(np.sum([*counts], axis=0))[np.minimum(k * _CANDIDATES, widest) - 1]
        shares: Shares = among / self.trial.expected.size
        return shares


def _first(covered: Shares, share: float) -> int:
    """The fewest lists that cover a share; more than there are where none do."""
    return int(np.searchsorted(covered, share)) + 1


def _recall(index: Any, trial: Trial, threads: int) -> float:
    return trial.recall_of(
        lambda queries: index.search(queries, trial.expected.shape[1])[1], threads
    )


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
