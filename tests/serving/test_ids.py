"""Ids are anybody's text, or integers: they reach the catalog as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pandas as pd
import pytest

from pinsage.config import Config
from pinsage.retrieval.index import write_index
from pinsage.retrieval.publish import publish
from pinsage.store import Facts, Store, Workspace
from tests.serving.conftest import Server

HOSTILE = [
    "..", ".", "../../etc/passwd", "a/b", "a//b/", "/", "%2F", "%", "a b", "a+b", "?k=1", "#",
    "🙂👩\u200d👩\u200d👧", "أهلا", "é", "e\u0301", "<script>", "'; DROP TABLE", "x" * 500, "0",
    "007", "null", "\t", "a\nb", "health",
]  # fmt: skip
NUMBERS = [0, 7, -3, 2**53 + 1, 2**63 - 1]


def publish_ids(root: Path, run: SimpleNamespace, ids: list[Any]) -> None:
    """A version of these items, of whose vectors the first is nearest to itself, and so on."""
    config = Config.model_validate({**run.config.model_dump(), "name": "ids", "root": root})
    store, size = Store(root), len(ids)

    def ingest(work: Workspace) -> Facts:
        table = pd.DataFrame({"item_id": ids, "title": [f"t{row}" for row in range(size)]})
        table.to_parquet(work.path / "items.parquet")
        return {"num_interactions": 1, "last_time": ""}

    def embed(work: Workspace) -> Facts:
        np.save(work.path / "embeddings.npy", np.eye(size, dtype=np.float32) + 0.1)
        return {"num_items": size, "dimension": size}

    def model(work: Workspace) -> Facts:
        (work.path / "model").mkdir()
        (work.path / "model" / "config.json").write_text('{"model": {}}')
        return {}

    def made(stage: str, build: Callable[[Workspace], Facts]) -> Any:
        return store.stage(stage, build, settings={}, inputs={}, code=("pinsage.errors",))

    embedded = made("embed", embed)
    indexed = made(
        "index",
        lambda work: write_index(embedded.path / "embeddings.npy", config.index, 0, work.path),
    )
    publish(
        config, ingested=made("ingest", ingest), built=run.full_graph, trained=made("train", model),
        evaluated=run.evaluate, embedded=embedded, indexed=indexed, reported=run.report,
    )  # fmt: skip


@pytest.fixture(scope="module")
def text_ids(
    tiny_run: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("text")
    publish_ids(root, tiny_run, HOSTILE)
    server = Server(root)
    yield server
    assert server.end() == 0


@pytest.fixture(scope="module")
def numbers(
    tiny_run: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("numbers")
    publish_ids(root, tiny_run, NUMBERS)
    server = Server(root)
    yield server
    assert server.end() == 0


@pytest.mark.parametrize("item_id", HOSTILE)
def test_a_hostile_id_is_found_in_each_way(text_ids: Server, item_id: str) -> None:
    escaped = quote(item_id, safe="").replace(".", "%2E")  # or the client takes `..` for a step up
    answers = [
        text_ids.get(f"/related/{escaped}", k=1000),
        text_ids.get("/related", item_id=item_id, k=1000),
        text_ids.post("/related", {"queries": [{"item_id": item_id}], "k": 800}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        [result] = answer.json()["results"]
        assert result["item_id"] == item_id
        assert {each["item_id"] for each in result["items"]} == set(HOSTILE) - {item_id}
    body = {"users": [{"items": [item_id, "unknown"]}], "k": 800}
    [result] = text_ids.post("/recommend", body).json()["results"]
    assert result["unknown"] == ["unknown"]
    assert {each["item_id"] for each in result["items"]} == set(HOSTILE) - {item_id}


@pytest.mark.parametrize("item_id", ["...", "a/b/", "7", "no\x00pe", "", "é "])
def test_an_id_that_is_nearly_another_is_none(text_ids: Server, item_id: str) -> None:
    answer = text_ids.get("/related", item_id=item_id)
    assert answer.status_code == 404
    assert "no such item among the 25" in answer.json()["error"]["what"]


def test_a_number_is_no_text(text_ids: Server) -> None:
    assert text_ids.post("/related", {"queries": [{"item_id": 0}]}).status_code == 404


@pytest.mark.parametrize("item_id", NUMBERS)
def test_integers_keep_their_type_and_all_their_digits(numbers: Server, item_id: int) -> None:
    for answer in (
        numbers.get(f"/related/{item_id}"),
        numbers.post("/related", {"queries": [{"item_id": item_id}]}),
        numbers.post("/related", {"queries": [{"item_id": str(item_id)}]}),
    ):
        [result] = answer.json()["results"]
        assert result["item_id"] == item_id
        assert {each["item_id"] for each in result["items"]} == set(NUMBERS) - {item_id}


@pytest.mark.parametrize("item_id", ["07", "+7", "7.0", "٧", "1e3", "9" * 30, "-", "x", "7 "])
def test_text_that_is_no_integer_of_the_catalog_is_none(numbers: Server, item_id: str) -> None:
    answer = numbers.get("/related", item_id=item_id)
    assert answer.status_code == 404
    assert "ids are integers like 0" in answer.json()["error"]["what"]


def test_a_path_that_is_not_escaped_is_read_as_the_client_sends_it(text_ids: Server) -> None:
    answer = httpx.get(text_ids.url + "/related/a/b", timeout=30)
    assert answer.json()["results"][0]["item_id"] == "a/b"
