"""Requests a second and their slowest, while versions are switched under the load.

    python benchmarks/serving.py [ITEMS] [SECONDS] [CONNECTIONS]     default: 1682 20 8

`pinsage serve` in a process of its own, on loopback, over generated versions of ITEMS × 128: the
size of MovieLens-100K, unless another is given. Up to 200,000 items the index is exact. Two
versions are published, and every two seconds the pointer moves to the other one, so that the server
opens, verifies and warms it beside the requests. The client shares the machine with the server.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _timing import print_table

from pinsage.config import Config
from pinsage.files import write_atomic
from pinsage.retrieval.index import write_index
from pinsage.retrieval.publish import Version, publish
from pinsage.store import Artifact, Facts, Store, Workspace

_WIDTH, _K, _EVERY = 128, 10, 2.0
_START = "import sys; sys.argv[0] = 'pinsage'\nfrom pinsage.cli import main\nmain()"
_HERE = Path(__file__).parent


def main(items: int = 1682, seconds: float = 20.0, connections: int = 8) -> None:
    """A row without switching, and one with."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        versions = [_publish(root, items, seed) for seed in (0, 1)]
        for label, every in (("one version", 0.0), (f"a switch every {_EVERY:.0f} s", _EVERY)):
            with _server(root) as (process, port), _switching(versions, every):
                _load(port, connections, 2.0, items)  # caches and threads
                before = _memory(process, "VmRSS")
                seen = _load(port, connections, seconds, items)
                peak = _memory(process, "VmHWM")
            if seen["failed"]:
                print("first failure:", seen["first_failure"])
            ms = (1000 * seen[name] for name in ("p50", "p99", "p99.9", "worst"))
            rows.append((label, seen["requests"] / seconds, *ms, seen["failed"],
                         seen["versions"], before, peak))  # fmt: skip
    print_table(
        f"{items:,} × {_WIDTH}, k = {_K}, {connections} connections, {os.cpu_count()} cores",
        ("served", "req/s", "p50 ms", "p99 ms", "p99.9 ms", "worst ms", "failed", "versions",
         "MiB", "peak MiB"),
        rows,
    )  # fmt: skip


def _publish(root: Path, items: int, seed: int) -> Version:
    config = Config.model_validate(
        {"name": "bench", "root": root, "data": {"interactions": {"path": "none.csv"}}}
    )

    def made(stage: str, build: Callable[[Workspace], Facts]) -> Artifact:
        salt = {"seed": seed, "items": items}
        return Store(root).stage(stage, build, settings=salt, inputs={}, code=("pinsage.errors",))

    def ingest(work: Workspace) -> Facts:
        ids = [f"item-{row}" for row in range(items)]
        table = pa.table({"item_id": ids, "title": [f"Title of {each}" for each in ids]})
        pq.write_table(table, work.path / "items.parquet")
        return {"num_interactions": 0, "last_time": ""}

    def train(work: Workspace) -> Facts:
        (work.path / "model").mkdir()
        (work.path / "model" / "config.json").write_text('{"model": {}}')
        return {}

    def embed(work: Workspace) -> Facts:
        drawn = np.random.default_rng(seed).standard_normal((items, _WIDTH), dtype=np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        np.save(work.path / "embeddings.npy", drawn)
        return {"num_items": items, "dimension": _WIDTH}

    def report(work: Workspace) -> Facts:
        (work.path / "report.html").write_text("<!doctype html>")
        return {}

    embedded = made("embed", embed)
    vectors = embedded.file("embeddings.npy")
    return publish(
        config,
        ingested=made("ingest", ingest),
        built=made("graph", lambda _: {}),
        trained=made("train", train),
        evaluated=made("evaluate", lambda _: {}),
        embedded=embedded,
        indexed=made("index", lambda work: write_index(vectors, config.index, 0, work.path)),
        reported=made("report", report),
    )


@contextmanager
def _server(root: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-c", _START, "serve", "--root", str(root), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--poll", "0.2", "--drain", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        said = cast(IO[str], process.stderr)
        for line in said:
            if found := re.search(r"answers on http://\S+:(\d+)", line):
                break
            if " INFO " not in line:
                print(line, end="")
        else:
            raise SystemExit("serving.py: the server did not start; nothing measured")
        threading.Thread(target=_drain, args=(said,), daemon=True).start()
        yield process, int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _drain(stream: IO[str]) -> None:
    for line in stream:
        if " INFO " not in line:
            print(line, end="")


@contextmanager
def _switching(versions: list[Version], every: float) -> Iterator[None]:
    stop = threading.Event()

    def turn() -> None:
        place = 0
        while every and not stop.wait(every):
            place = 1 - place
            write_atomic(versions[0].path.parent / "CURRENT", versions[place].name + "\n")

    thread = threading.Thread(target=turn)
    thread.start()
    yield
    stop.set()
    thread.join()


def _load(port: int, connections: int, seconds: float, items: int) -> dict[str, float]:
    ids = [f"item-{row}" for row in np.random.default_rng(2).integers(0, items, 500)]
    command = [sys.executable, str(_HERE / "_serving_load.py"), str(port), str(connections),
               str(seconds), str(_K), *ids]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    seen: dict[str, float] = json.loads(ended.stdout)
    return seen


def _memory(process: subprocess.Popen[str], name: str) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 1682,
        float(given[1]) if len(given) > 1 else 20.0,
        int(given[2]) if len(given) > 2 else 8,
    )
