"""The registered model behind MLflow's own server, asked over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from flows.settings import mlflow_database
from pinsage.config import Config
from pinsage.model.io import load_model
from pinsage.newcomers import embed_rows
from pinsage.retrieval.published import Published, open_version
from tests.flows.test_registration import register

pytestmark = [pytest.mark.slow, pytest.mark.distributed]


@pytest.fixture(scope="module")
def published(tiny_run: SimpleNamespace) -> Published:
    return open_version(tiny_run.version.path)


@pytest.fixture
def ask(tiny_config: Config, tiny_run: SimpleNamespace) -> Iterator[Any]:
    """`ask({...})` posts to /invocations of `mlflow models serve`; the status and the answer."""
    uri = register(tiny_config, tiny_run).uri
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--workers", "1"]
    binary = str(Path(sys.executable).parent)
    server = subprocess.Popen(
        [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=tiny_config.root,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": mlflow_database(tiny_config.root),
            "PATH": f"{binary}{os.pathsep}{os.environ['PATH']}",  # where it looks for uvicorn
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, server)

        def post(body: dict[str, Any]) -> tuple[int, Any]:
            answer = httpx.post(f"{url}/invocations", json=body, timeout=60)
            return answer.status_code, answer.json()

        yield post
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # it starts a shell, and that the workers
        server.wait(60)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while True:
        assert server.poll() is None, "mlflow models serve ended"
        assert time.monotonic() < end, "no answer in two minutes"
        try:
            if httpx.get(f"{url}/ping", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)


def test_it_answers_neighbours_by_id_and_embeddings_by_features(
    ask: Any, published: Published
) -> None:
    asked = {"columns": ["item_id"], "data": [["i3"], ["i30"]]}
    status, answer = ask({"dataframe_split": asked, "params": {"k": 4}})
    assert status == 200
    expected = [
        (item, each.rank, each.item_id, each.title, pytest.approx(each.score))
        for item in ("i3", "i30")
        for each in published.related(published.row_of(item), 4)
    ]
    names = ("item_id", "rank", "neighbour_id", "title", "score")
    assert [tuple(row[name] for name in names) for row in answer["predictions"]] == expected

    new = [
        {"title": "Harbour tale 7", "group": "harbour", "year": 1987, "tags": ["t2", "harbour"]},
        {"title": "Mountain tale 33", "group": None, "year": 2013, "tags": ["t3"]},
    ]
    status, answer = ask({"dataframe_records": new, "params": {"output": "embeddings"}})
    assert status == 200
    found = np.array([row["embedding"] for row in answer["predictions"]])
    vectors = embed_rows(load_model(published.path / "model"), pd.DataFrame(new))
    np.testing.assert_allclose(found, vectors, rtol=1e-5, atol=1e-6)

    status, answer = ask({"dataframe_records": [{"item_id": "i40"}]})
    assert status >= 400
    assert "i40" in str(answer)
