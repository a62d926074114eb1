"""What the server answers: the published version's own neighbours, and clear refusals."""

from __future__ import annotations

import json
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from pinsage.config import ContextsConfig
from pinsage.model.io import load_model
from pinsage.newcomers import embed_rows
from pinsage.retrieval.published import Published, load_published
from tests.serving.conftest import Server


@pytest.fixture(scope="module")
def published(tiny_run: SimpleNamespace) -> Published:
    return load_published(tiny_run.config.root, "tiny")


def expect(
    result: dict[str, Any],
    published: Published,
    vectors: npt.NDArray[np.float32],
    *,
    k: int,
    without: Collection[str] = (),
    only: Collection[str] | None = None,
) -> None:
    """The result is the best `k` by the highest score with one of the vectors, the slow way."""
    queries = published.query(np.atleast_2d(vectors).astype(np.float32))
    best = (published.vectors.astype(float) @ queries.T.astype(float)).max(axis=1)
    scores = {
        str(item_id): score
        for item_id, score in zip(published.items["item_id"], best, strict=True)
        if item_id not in without and (only is None or item_id in only)
    }
    found = {each["item_id"]: each["score"] for each in result["items"]}
    assert len(found) == len(result["items"]) == min(k, len(scores))
    assert [each["rank"] for each in result["items"]] == list(range(1, len(found) + 1))
    # Of scores that differ by their rounding alone either may be first.
    assert list(found.values()) == pytest.approx(sorted(scores.values())[::-1][:k], rel=1e-5)
    assert found == pytest.approx({item_id: scores[item_id] for item_id in found}, rel=1e-5)


def vector_of(published: Published, item_id: str) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = published.vectors[published.row_of(item_id)]
    return found


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"what", "where", "remedy"}
    assert all(error.values())
    return error


class TestRelated:
    def test_equals_the_published_version(self, tiny_url: Server, published: Published) -> None:
        answer = tiny_url.get("/related/i3", k=7).json()
        assert (answer["name"], answer["version"]) == ("tiny", published.version)
        expected = published.related(published.row_of("i3"), 7)
        assert [
            (each["rank"], each["item_id"], each["title"]) for each in answer["results"][0]["items"]
        ] == [(each.rank, each.item_id, each.title) for each in expected]
        found = [each["score"] for each in answer["results"][0]["items"]]
        np.testing.assert_allclose(found, [each.score for each in expected], rtol=1e-6)

    def test_a_batch_answers_each_in_its_place(
        self, tiny_url: Server, published: Published
    ) -> None:
        asked = ["i3", "i30", "i3", "i0"]
        answer = tiny_url.post("/related", {"queries": [{"item_id": i} for i in asked], "k": 5})
        results = answer.json()["results"]
        assert [each["item_id"] for each in results] == asked
        for item_id, result in zip(asked, results, strict=True):
            expect(result, published, vector_of(published, item_id), k=5, without=[item_id])

    def test_excluded_items_make_room_for_others(
        self, tiny_url: Server, published: Published
    ) -> None:
        nearest = [each.item_id for each in published.related(published.row_of("i3"), 4)]
        body = {"queries": [{"item_id": "i3"}], "k": 6, "exclude": [*nearest, "nothing"]}
        [result] = tiny_url.post("/related", body).json()["results"]
        hidden = ["i3", *nearest]
        expect(result, published, vector_of(published, "i3"), k=6, without=hidden)

    def test_only_allowed_items_are_answered(self, tiny_url: Server, published: Published) -> None:
        allowed = ["i39", "i3", "i1", "i25", "nothing"]
        body = {"queries": [{"item_id": "i3"}], "allowed": allowed, "exclude": ["i25"]}
        [result] = tiny_url.post("/related", body).json()["results"]
        expect(result, published, vector_of(published, "i3"), k=10, only=["i39", "i1"])
        assert (
            tiny_url.post("/related", {**body, "allowed": []}).json()["results"][0]["items"] == []
        )

    def test_a_new_item_is_embedded_by_its_features(
        self, tiny_url: Server, published: Published
    ) -> None:
        new = {"title": "Harbour tale 99", "group": "harbour", "year": 1987, "tags": ["t3"]}
        part = {"year": 2013}
        queries = [{"features": new}, {"item_id": "i3"}, {"features": part}]
        results = tiny_url.post("/related", {"queries": queries, "k": 5}).json()["results"]
        model = load_model(published.path / "model")
        vectors = embed_rows(model, pd.DataFrame([new, part]))
        expect(results[0], published, vectors[0], k=5)
        expect(results[1], published, vector_of(published, "i3"), k=5, without=["i3"])
        expect(results[2], published, vectors[1], k=5)
        assert [each["item_id"] for each in results] == [None, "i3", None]
        assert results[0]["notes"] == []
        assert results[2]["notes"] == ["treated as missing: title, group, tags"]

    def test_an_unknown_item_says_what_ids_look_like(self, tiny_url: Server) -> None:
        error = refused(tiny_url.get("/related/i40"), 404)
        assert "'i40': no such item among the 40" in error["what"]
        assert "ids are text like 'i" in error["what"]
        body = {"queries": [{"item_id": "i1"}, {"item_id": "i40"}]}
        assert refused(tiny_url.post("/related", body), 404)["where"] == "queries[1].item_id"

    def test_an_unknown_feature_says_which_there_are(self, tiny_url: Server) -> None:
        body = {"queries": [{"item_id": "i3"}, {"features": {"colour": "red"}}]}
        error = refused(tiny_url.post("/related", body), 422)
        assert error["where"] == "queries[1].features"
        assert "'colour' is no feature" in error["what"]
        assert "year (numerical)" in error["remedy"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("year", "lately"), ("year", [1987]), ("year", True), ("title", 7),
            ("title", ["Harbour"]), ("group", ["harbour"]), ("group", 1.5), ("tags", 3),
            ("tags", [["t1"]]),
        ],
    )  # fmt: skip
    def test_a_feature_of_another_kind_is_refused(
        self, tiny_url: Server, name: str, value: Any
    ) -> None:
        queries = [{"item_id": "i3"}, {"features": {"year": 1987, name: value}}]
        error = refused(tiny_url.post("/related", {"queries": queries}), 422)
        assert "queries[1].features" in error["where"]
        assert name in error["where"] + error["what"]

    def test_features_may_be_null_and_numbers_text(
        self, tiny_url: Server, published: Published
    ) -> None:
        forms: list[dict[str, Any]] = [
            {"year": "1987", "tags": "harbour|t2"},
            {"year": 1987.0, "tags": ["harbour", "t2"]},
        ]
        queries = [{"features": {**each, "title": None, "group": None}} for each in forms]
        one, other = tiny_url.post("/related", {"queries": queries}).json()["results"]
        assert one["items"] == other["items"]
        model = load_model(published.path / "model")
        vector = embed_rows(model, pd.DataFrame([{"year": 1987, "tags": "harbour|t2"}]))
        expect(one, published, vector, k=10)


class TestRecommend:
    def test_is_the_mean_of_the_newest_without_what_was_given(
        self, tiny_url: Server, published: Published
    ) -> None:
        given = [f"i{number}" for number in range(14)]
        answer = tiny_url.post("/recommend", {"users": [{"items": given}], "k": 8}).json()
        newest = given[-ContextsConfig().newest :]
        assert len(newest) < len(given)
        mean = np.mean([vector_of(published, each) for each in newest], axis=0)
        expect(answer["results"][0], published, mean, k=8, without=given)

    def test_weights_and_times_count(self, tiny_url: Server, published: Published) -> None:
        items = [
            {"item_id": "i30", "weight": 1, "time": "2024-01-08T00:00:00Z"},
            {"item_id": "i2", "weight": 3, "time": "2024-01-01T00:00:00"},
        ]
        body = {"users": [{"items": items}], "half_life_days": 7, "include_given": True, "k": 40}
        [result] = tiny_url.post("/recommend", body).json()["results"]
        mean = (1.5 * vector_of(published, "i2") + vector_of(published, "i30")) / 2.5
        expect(result, published, mean, k=40)

    def test_medoids_search_one_by_one_and_the_best_score_counts(
        self, tiny_url: Server, published: Published
    ) -> None:
        given = ["i2", "i30"]
        body = {"users": [{"items": given}], "pool": "medoids", "spread": 0, "k": 38}
        [result] = tiny_url.post("/recommend", body).json()["results"]
        both = np.stack([vector_of(published, each) for each in given])
        expect(result, published, both, k=38, without=given)

    def test_medoids_of_very_many_items_are_refused(self, tiny_url: Server) -> None:
        body = {"users": [{"items": ["i1", "i2"] * 1000}] * 2, "newest": 2000, "k": 5}
        error = refused(tiny_url.post("/recommend", {**body, "pool": "medoids"}), 422)
        assert (error["where"], "8,000,000 pairs" in error["what"]) == ("users", True)
        for smaller in ({"newest": 1400, "pool": "medoids"}, {"pool": "mean"}):
            assert tiny_url.post("/recommend", {**body, **smaller}).status_code == 200

    def test_unknown_items_are_passed_over_and_told(
        self, tiny_url: Server, published: Published
    ) -> None:
        users = [{"items": ["i5"]}, {"items": ["🙂", "i5", "../i6"]}]
        one, other = tiny_url.post("/recommend", {"users": users}).json()["results"]
        assert one["items"] == other["items"]
        assert (one["unknown"], other["unknown"]) == ([], ["🙂", "../i6"])

    def test_a_user_of_unknown_items_alone_is_refused(self, tiny_url: Server) -> None:
        users = [{"items": ["i5"]}, {"items": ["nothing", "more"]}]
        error = refused(tiny_url.post("/recommend", {"users": users}), 404)
        assert error["where"] == "users[1].items"

    def test_a_user_without_weight_is_refused(self, tiny_url: Server) -> None:
        users = [{"items": [{"item_id": "i5", "weight": 0}]}]
        error = refused(tiny_url.post("/recommend", {"users": users}), 422)
        assert "weighs 0" in error["what"]

    def test_times_of_some_items_only_are_refused(self, tiny_url: Server) -> None:
        users = [{"items": ["i5", {"item_id": "i6", "time": 17}]}]
        error = refused(tiny_url.post("/recommend", {"users": users}), 422)
        assert "every item of a user a time" in error["what"]


class TestBounds:
    @pytest.mark.parametrize("k", ["0", "-1", "1001", "many", "1e3"])
    def test_k_out_of_bounds_is_refused(self, tiny_url: Server, k: str) -> None:
        assert refused(tiny_url.get("/related/i3", k=k), 422)["where"] == "query.k"

    def test_k_beyond_the_catalog_answers_all_there_is(self, tiny_url: Server) -> None:
        [result] = tiny_url.get("/related/i3", k=1000).json()["results"]
        assert len(result["items"]) == 39

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            ({}, "body.queries"),
            ({"queries": []}, "body.queries"),
            ({"queries": [{"item_id": "i3"}] * 257}, "body.queries"),
            ({"queries": [{"item_id": "i3"}] * 21, "k": 1000}, "body"),
            ({"queries": [{}]}, "body.queries[0]"),
            ({"queries": [{"item_id": "i3", "features": {"year": 1}}]}, "body.queries[0]"),
            ({"queries": [{"item_id": True}]}, "body.queries[0].item_id.int"),
            ({"queries": [{"item_id": "i3"}], "surplus": 1}, "body.surplus"),
            ({"queries": [{"item_id": "i3"}], "exclude": ["a"] * 1001}, "body.exclude"),
        ],
    )
    def test_a_wrong_body_says_where(self, tiny_url: Server, body: Any, where: str) -> None:
        assert refused(tiny_url.post("/related", body), 422)["where"] == where

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"{", b"null", b"[" * 100_000, b'{"queries": [{"item_id": NaN}]}', b"\xff\xfe",
            b'{"queries": [{"item_id": "\\ud800"}]}', b'{"queries": [{"item_id": ' + b"9" * 5000,
            b'{"queries": [{"features": {"year": Infinity}}]}',
            b'{"queries": [{"features": {"title": "\\udfff"}}]}',
            b'{"queries": [{"features": {"year": 1' + b"0" * 400 + b"}}]}",
        ],
    )  # fmt: skip
    def test_a_hostile_body_is_refused_and_the_server_goes_on(
        self, tiny_url: Server, body: bytes
    ) -> None:
        headers = {"content-type": "application/json"}
        answer = httpx.post(tiny_url.url + "/related", content=body, headers=headers, timeout=30)
        refused(answer, answer.status_code)
        assert 400 <= answer.status_code < 500
        assert tiny_url.get("/health").json() == {"status": "ok"}

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_long_body_is_refused(self, tiny_url: Server, chunked: bool) -> None:
        size = (1 << 20) + 1
        content = iter([b" " * (1 << 16)] * (size >> 16) + [b"  "]) if chunked else b" " * size
        answer = httpx.post(tiny_url.url + "/related", content=content, timeout=30)
        assert "more than 1,048,576 bytes" in refused(answer, 413)["what"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("GET", "/nothing", 404), ("DELETE", "/related/i3", 405), ("GET", "/recommend", 405)],
    )
    def test_unknown_addresses_are_refused_alike(
        self, tiny_url: Server, method: str, path: str, status: int
    ) -> None:
        refused(httpx.request(method, tiny_url.url + path), status)


class TestState:
    def test_health_and_readiness(self, tiny_url: Server, published: Published) -> None:
        assert tiny_url.get("/health").json() == {"status": "ok"}
        answer = tiny_url.get("/ready")
        assert answer.json() == {"status": "ready", "version": published.version}

    def test_version_says_what_is_served(self, tiny_url: Server, published: Published) -> None:
        answer = tiny_url.get("/version").json()
        assert answer == {
            "name": "tiny", "version": published.version, "created": published.manifest.created,
            "num_items": 40, "dimension": 8, "index": "exact", "pinned": False, "switches": 0,
            "failed_loads": 0,
        }  # fmt: skip

    def test_metrics_count_by_route_and_status(
        self, tiny_url: Server, published: Published
    ) -> None:
        name = 'pinsage_requests_total{route="/related/{item_id}",status="404"}'
        refused(tiny_url.get("/related/none"), 404)
        before = tiny_url.metric(name)
        for _ in range(3):
            refused(tiny_url.get("/related/none"), 404)
        assert tiny_url.metric(name) == before + 3
        page = tiny_url.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        version = f'{{index="exact",name="tiny",version="{published.version}"}}'
        assert tiny_url.metric(f"pinsage_version_info{version}") == 1
        assert tiny_url.metric("pinsage_requests_in_flight") == 1, "the one that asks"
        assert "pinsage_request_seconds_bucket" in page.text
        assert "/related/none" not in page.text

    def test_the_api_documents_itself(self, tiny_url: Server) -> None:
        paths = tiny_url.get("/openapi.json").json()["paths"]
        assert set(paths) == {
            "/related", "/related/{item_id}", "/recommend", "/health", "/ready", "/version",
            "/metrics",
        }  # fmt: skip
        assert json.dumps(paths["/related"]["post"]).count("Refused") >= 3
