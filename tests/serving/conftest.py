"""Real versions, and a real server process on a free port of the loopback address."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from pinsage.config import Config, parse_config
from pinsage.retrieval.index import write_index
from pinsage.retrieval.publish import Version, publish
from pinsage.store import Facts, Store, Workspace

START = "import sys; sys.argv[0] = 'pinsage'\nfrom pinsage.cli import main\nmain()"
PublishNumber = Callable[[int], Version]


class Server:
    """`pinsage serve` in a process of its own; `log` holds what it said so far."""

    def __init__(self, root: Path, *options: str) -> None:
        command = [sys.executable, "-c", START, "serve", "--root", str(root), "--port", "0"]
        self.root = root
        self.process = subprocess.Popen(
            [*command, "--poll", "0.05", "--drain", "0.3", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._lines: list[str] = []
        self._told = threading.Event()
        self.url = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._told.wait(60), "no answer within a minute"
        if not self.url:
            self.end()
        assert self.url, self.log

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            if found := re.search(r"answers on (http://\S+)", line):
                self.url = found[1]
                self._told.set()
        self._told.set()

    def get(self, path: str, **params: Any) -> httpx.Response:
        return httpx.get(self.url + path, params=params or None, timeout=30)

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60)

    def metric(self, name: str) -> float:
        [line] = [ln for ln in self.get("/metrics").text.splitlines() if ln.startswith(f"{name} ")]
        return float(line.split()[-1])

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, unless it has ended; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture(scope="session")
def tiny_url(tiny_run: SimpleNamespace) -> Iterator[Server]:
    """A server of the tiny run's version, for tests that change nothing."""
    server = Server(tiny_run.config.root)
    yield server
    assert server.end() == 0, server.log


@pytest.fixture
def own_config(tiny_run: SimpleNamespace, tmp_path: Path) -> Config:
    """The tiny configuration with a root of its own, where nothing is published yet."""
    tree = tiny_run.config.model_dump(mode="json")
    tree["root"] = str(tmp_path / "var")
    tree["publish"]["keep"] = 100
    return parse_config(tree)


@pytest.fixture
def publish_number(tiny_run: SimpleNamespace, own_config: Config) -> PublishNumber:
    """`publish_number(7)` publishes the tiny catalog with embeddings of that number's own."""
    config, store = own_config, Store(own_config.root)

    def make(number: int) -> Version:
        drawn = np.random.default_rng(number).standard_normal((40, 8)).astype(np.float32)

        def embed(work: Workspace) -> Facts:
            np.save(work.path / "embeddings.npy", drawn)
            return {"num_items": 40, "dimension": 8}

        def index(work: Workspace) -> Facts:
            return write_index(embedded.file("embeddings.npy"), config.index, 0, work.path)

        salt = {"number": number}
        embedded = store.stage("embed", embed, settings=salt, inputs={}, code=("pinsage.errors",))
        indexed = store.stage("index", index, settings=salt, inputs={}, code=("pinsage.errors",))
        return publish(
            config, ingested=tiny_run.ingest, built=tiny_run.full_graph, trained=tiny_run.train,
            evaluated=tiny_run.evaluate, embedded=embedded, indexed=indexed,
            reported=tiny_run.report,
        )  # fmt: skip

    return make


@pytest.fixture
def start(own_config: Config) -> Iterator[Callable[..., Server]]:
    """`start("--version", …)` starts a server below the root of `own_config`."""
    servers: list[Server] = []

    def begin(*options: str) -> Server:
        servers.append(Server(own_config.root, *options))
        return servers[-1]

    yield begin
    for server in servers:
        server.end()
