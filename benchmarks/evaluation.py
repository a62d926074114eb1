"""Ranking 1 M items for 100 k queries, and 2,000 bootstrap resamples of 1 M users.

    python benchmarks/evaluation.py [--items 1000000] [--queries 100000] [--device cuda]

The floor of ranking is its float32 product: 2·Q·N·d operations, 25.6 TFLOP at the default size with
d = 128, at the rate of a large GEMM measured in the same run. A dense matrix of scores would take
373 GiB. The peer is what one would write first: `torch.topk` of blocks of the product; it finds the
100 best but not the rank of a positive below them, nor ties. On 2 cores the ranking is meant to
stay within 4 minutes and 2 GiB above the embeddings.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt
import torch
from _timing import print_table

from pinsage.evaluation.bootstrap import Clusters, Ratios
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.ranking import rank_queries
from pinsage.measure import Meter

Vectors = npt.NDArray[np.float32]

_WIDTH = 128
_TOP = 100
_BLOCK = 256  # queries a block of the peer: 1 GiB of scores over 1 M items
_GEMM = 4096


def main() -> None:
    """Rank with a made-up catalog of 1,000 communities, then resample."""
    options = _options()
    vectors, community = _catalog(options.items)
    print_table("Ranking", ("what", "seconds", "queries/s", "of the floor", "peak GiB"),
                _rank(vectors, community, options.queries, options.device))  # fmt: skip
    print_table("Bootstrap", ("users", "numbers", "resamples", "seconds"), [_resample()])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--device", default="cpu", help="cpu, or a torch device such as cuda")
    return parser.parse_args()


def _catalog(num_items: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Unit vectors around the centres of communities, and which community each belongs to."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, _WIDTH), dtype=np.float32)
    vectors = rng.standard_normal((num_items, _WIDTH), dtype=np.float32)
    community = rng.integers(0, len(centres), num_items)
    vectors += centres[community]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, community


def _rank(
    vectors: Vectors, community: npt.NDArray[np.int64], num_queries: int, device: str
) -> list[tuple[object, ...]]:
    num_items = len(vectors)
    rng = np.random.default_rng(1)
    query = rng.permutation(num_items)[:num_queries].astype(np.int32)
    # The positive is the next of the same community: near the top, as after training.
    order = np.argsort(community, kind="stable")
    following = np.empty(num_items, dtype=np.int32)
    following[order] = np.roll(order, -1)
    positive = following[query]
    scorer = EmbeddingScorer("embeddings", vectors, device=device)
    rank_queries(scorer, query[:8], positive[:8], num_items, 8)  # compiles
    floor = num_queries / (2.0 * num_items * _WIDTH * num_queries / _gemm_rate(device))
    with Meter() as ours:
        rank_queries(scorer, query, positive, num_items, 0)
    some = query[: max(_BLOCK, num_queries // 50)]
    with Meter() as peer:
        _plain_top(vectors, some, device)
    return [
        (f"exact ranks and ten best, {num_queries:,} queries", *_row(ours, num_queries, floor)),
        (f"torch.topk({_TOP}), {len(some):,} queries", *_row(peer, len(some), floor)),
        ("the product alone (floor)", num_queries / floor, floor, 1.0, "–"),
    ]


def _row(meter: Meter, num_queries: int, floor: float) -> tuple[object, ...]:
    rate = num_queries / meter.seconds
    return meter.seconds, rate, rate / floor, meter.peak_mib / 1024


def _plain_top(vectors: Vectors, query: npt.NDArray[np.int32], device: str) -> None:
    items = torch.from_numpy(vectors).to(device)
    for first in range(0, len(query), _BLOCK):
        rows = torch.from_numpy(query[first : first + _BLOCK]).long().to(device)
        (items[rows] @ items.T).topk(_TOP, dim=1)
    _wait(device)


def _gemm_rate(device: str) -> float:
    """Operations a second of the largest of three products."""
    a, b = (torch.randn(_GEMM, _GEMM, device=device) for _ in range(2))
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        a @ b
        _wait(device)
        rates.append(2.0 * _GEMM**3 / (time.perf_counter() - start))
    return max(rates)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _resample(num_users: int = 1_000_000, numbers: int = 500) -> tuple[object, ...]:
    user = np.arange(num_users, dtype=np.int32)
    start = time.perf_counter()
    clusters = Clusters.of(user)
    hit = np.random.default_rng(2).random(num_users) < 0.1
    sums = np.repeat(clusters.sums(hit)[:, None], numbers, axis=1)
    counts = clusters.sums(np.ones(num_users))[:, None]
    Ratios(sums, counts, np.zeros(numbers, dtype=np.int64)).bootstrap(2000, seed=3)
    return f"{num_users:,}", numbers, "2,000", time.perf_counter() - start


if __name__ == "__main__":
    main()
