"""Queries a second at recall@100 ≥ .95, each kind of index beside FAISS's own and exact search.

    python benchmarks/retrieval.py [--items N] [--queries Q] [--kinds KIND ...] [--threads 1 2]

The vectors are made to be hard: 5,000 communities with sizes that fall as the root of their rank,
centres and spread (.8 of it) normal with a spectrum that falls as i^−0.6, scaled to unit length.
Lists of 2,048 must read 128 of them for a recall of .96. Queries are of the same, and not indexed.

The floor is the float32 product of all queries with all items alone, in tiles that stay in the
cache, in the same run; the same in bfloat16 beside it. Times are CPU seconds of one thread where
`threads` is 1, which is what a core does also where others use it, and wall seconds beyond.
A build is tuned to the recall, which is measured and written too, on the most threads: CPU seconds
of all together, and those by the clock. FAISS directly: `IndexFlatIP`, and each approximate index
of ours as FAISS itself searches it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _timing import print_table

from pinsage.config import IndexConfig
from pinsage.retrieval.alone import without_teams
from pinsage.retrieval.exact import ExactSearch, bfloat16_is_faster
from pinsage.retrieval.index import FILE, open_index, write_index
from pinsage.retrieval.load_faiss import load_faiss, with_threads
from pinsage.retrieval.recall import Trial

Matrix = npt.NDArray[np.float32]
_WIDTH = 128
_K = 100


def make_vectors(num_rows: int, seed: int) -> Matrix:
    """Unit vectors float32 [N, 128]."""
    rng = np.random.Generator(np.random.Philox(0))
    scale = np.arange(1, _WIDTH + 1, dtype=np.float32) ** -0.6
    scale /= np.sqrt((scale**2).mean())
    centres = rng.standard_normal((5000, _WIDTH), dtype=np.float32) * scale
    share = np.arange(1, 5001) ** -0.5
    rng = np.random.Generator(np.random.Philox(seed))
    out = np.empty((num_rows, _WIDTH), dtype=np.float32)
    for first in range(0, num_rows, 100_000):
        block = out[first : first + 100_000]
        block[:] = centres[rng.choice(5000, size=len(block), p=share / share.sum())]
        block += 0.8 * scale * rng.standard_normal(block.shape, dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--kinds", nargs="*", default=["exact", "ivfpq", "binary"])
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    chosen = parser.parse_args()
    vectors, queries = make_vectors(chosen.items, 1), make_vectors(chosen.queries, 2)
    rows: list[tuple[object, ...]] = []
    with without_teams():
        floor = _rate(lambda: _product(vectors, queries[:256]), 256, 1)
    rows.append(("the product alone, float32", 1, "", round(floor), 1.0, "", ""))
    exact = ExactSearch(vectors)
    trial = Trial(queries, exact.search(queries, _K, threads=2)[1])
    for threads in chosen.threads:
        for name, narrow in (("float32", False), ("bfloat16", True)):
            if narrow and not bfloat16_is_faster():
                continue
            search = ExactSearch(vectors, bfloat16=narrow)
            rate = _rate(lambda s=search, t=threads: s.search(queries, _K, threads=t), len(queries), threads)  # type: ignore[misc]  # noqa: E501  # fmt: skip
            rows.append((f"exact, {name}", threads, 1.0, round(rate), rate / floor, "", ""))
    faiss = load_faiss()
    flat = faiss.IndexFlatIP(_WIDTH)
    flat.add(vectors)
    with with_threads(1):
        rate = _rate(lambda: flat.search(queries[:256], _K), 256, 1)
    rows.append(("FAISS IndexFlatIP", 1, 1.0, round(rate), rate / floor, "", ""))
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "embeddings.npy", vectors)
        for kind in chosen.kinds:
            rows += _measure(kind, Path(folder), trial, chosen.threads, floor)
    columns = ("", "threads", "recall@100", "q/s", "× product", "build CPU / s", "MiB")
    print_table(f"{chosen.items:,} × {_WIDTH}, top {_K}", columns, rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MiB, of which vectors {vectors.nbytes / 2**20:,.0f}")


def _measure(
    kind: str, folder: Path, trial: Trial, threads: list[int], floor: float
) -> list[tuple[object, ...]]:
    start, clock = time.process_time(), time.perf_counter()
    settings = IndexConfig(kind=kind)
    facts = write_index(folder / "embeddings.npy", settings, 0, folder, threads=max(threads))
    build, waited = time.process_time() - start, time.perf_counter() - clock
    print(kind, facts, flush=True)
    size = (folder / FILE).stat().st_size / 2**20
    rows: list[tuple[object, ...]] = []
    for number in threads:
        index = open_index(folder, number)
        _, found = index.search(trial.queries, _K)
        rate = _rate(lambda i=index: i.search(trial.queries, _K), len(trial.queries), number)  # type: ignore[misc]  # fmt: skip
        rows.append((kind, number, trial.recall(found), round(rate), rate / floor,
                     f"{build:.1f} / {waited:.1f}", round(size)))  # fmt: skip
    direct = load_faiss().read_index(str(folder / FILE))
    with with_threads(1):
        _, found = direct.search(trial.queries[:512], _K)
        rate = _rate(lambda: direct.search(trial.queries[:512], _K), 512, 1)
    recall = Trial(trial.queries[:512], trial.expected[:512]).recall(found)
    rows.append((f"{kind}, by FAISS itself", 1, recall, round(rate), rate / floor, "", ""))
    return rows


def _product(vectors: Matrix, queries: Matrix) -> None:
    tile = np.empty((len(queries), 1024), dtype=np.float32)
    for first in range(0, len(vectors), 1024):
        part = vectors[first : first + 1024]
        np.matmul(queries, part.T, out=tile[:, : len(part)])


def _rate(work: Callable[[], object], num_queries: int, threads: int) -> float:
    clock = time.process_time if threads == 1 else time.perf_counter
    times = []
    for _ in range(2):
        start = clock()
        work()
        times.append(clock() - start)
    return num_queries / min(times)


if __name__ == "__main__":
    main()
