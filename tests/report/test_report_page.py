"""The page as a whole: its order, its policy, its size, and what it does without an input."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.errors import ArtifactError, MissingExtraError
from pinsage.report.figures.style import new_figure
from pinsage.report.findings import Findings
from pinsage.report.inputs import Contract, ReportInputs
from pinsage.report.page import embedded_json, render
from pinsage.report.shown import shown
from pinsage.report.stage import PAGE, write_report
from pinsage.store import Facts

if TYPE_CHECKING:
    from tests.report.conftest import MakeInputs, WriteVersion

FIGURES = (
    "column", "cosine", "hit_rate", "mrr", "popularity", "support", "time", "training",
)  # fmt: skip
_VOID = {"meta", "link", "input", "br", "img", "hr"}


class Outline(HTMLParser):
    """Headings and ids in order, tags that load something, and whether all tags are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[tuple[str, str]] = []
        self.sections: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.stack: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given_attributes = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.addresses += [v for n, v in attrs if n in ("src", "href", "action", "srcset") and v]
        if tag == "section":
            self.sections.append(str(given_attributes["id"]))
        if re.fullmatch(r"h\d", tag):
            self.headings.append((tag, ""))
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and re.fullmatch(r"h\d", self.stack[-1]):
            tag, text = self.headings[-1]
            self.headings[-1] = (tag, text + data)


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs) -> ReportInputs:
    return make_inputs()


def written(inputs: ReportInputs, out: Path) -> tuple[str, Facts]:
    facts = write_report(inputs, out)
    return (out / PAGE).read_text(encoding="utf-8"), facts


def text_of(inputs: ReportInputs) -> str:
    """The page with nothing drawn in its figures, which takes most of the time."""
    found = Findings.of(inputs)
    return render(shown(inputs, found, dict.fromkeys(FIGURES, new_figure(1.0))))


@pytest.fixture(scope="module")
def page(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(inputs, tmp_path_factory.mktemp("page"))[0]


def test_sections_come_in_this_order_with_the_verdict_first(page: str) -> None:
    assert "is for the gate to say, which judges after this page is drawn" in page
    outline = Outline(page)
    assert outline.sections == [
        "verdict", "accuracy", "spread", "where", "training", "map", "neighbours", "data", "model",
    ]  # fmt: skip
    assert outline.headings[0] == ("h1", "synthetic")
    assert outline.headings[1][0] == "h2"
    levels = [int(tag[1]) for tag, _ in outline.headings]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_tag_is_closed_every_id_is_one_of_a_kind_and_links_lead_somewhere(page: str) -> None:
    outline = Outline(page)
    assert outline.stack == []
    assert len(set(outline.ids)) == len(outline.ids)
    inside = {address.removeprefix("#") for address in outline.addresses if address[0] == "#"}
    assert inside <= set(outline.ids)
    assert {address for address in outline.addresses if address[0] != "#"} == {"data:,"}


def test_the_policy_allows_no_request_and_only_the_pages_own_script(page: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(sha256(scripts[0].encode()).digest()).decode()
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"\son\w+=", page)
    assert not re.search(r"@import|url\((?!data:|#)", page)


def test_the_sentences_and_numbers_of_the_verdict_are_there(page: str) -> None:
    assert "Better than every baseline at hit-rate@100" in page
    assert re.search(r"PinSage finds the next item among its 100 nearest for \d\d\.\d\u202f%", page)
    assert "Contract kept, with warnings: 1 of 2 expectations did not hold (items.spread)." in page
    assert "no champion yet" in page


def test_the_map_holds_a_place_a_group_and_a_title_for_each_item(page: str) -> None:
    (text,) = re.findall(r'<script type="application/json" id="map-data">(.*?)</script>', page)
    points = json.loads(text)
    assert {len(points[name]) for name in ("x", "y", "group", "title")} == {100}
    assert points["labels"] == ["Comedy", "Drama", "Thriller", "Western", "not given"]
    assert max(points["group"]) == 4


def test_the_same_inputs_give_the_same_bytes_and_flat_facts(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    facts = [write_report(inputs, tmp_path / name) for name in ("one", "two")]
    assert facts[0] == facts[1]
    assert facts[0]["num_queries"] == 20
    assert facts[0]["bytes"] == (tmp_path / "one" / PAGE).stat().st_size
    assert all(isinstance(value, int | float) for value in facts[0].values())
    files = {str(file.relative_to(tmp_path / "one")) for file in (tmp_path / "one").rglob("*.*")}
    assert files == {PAGE, *(f"figures/{name}.png" for name in (*FIGURES, "map"))}
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_with_a_champion_lists_stand_side_by_side(
    make_inputs: MakeInputs, tmp_path: Path, write_version: WriteVersion
) -> None:
    inputs = make_inputs()
    ids = [f"i{n}" for n in range(300)]
    champion = write_version(tmp_path / "20260130t020000z-1", ids, ids, np.load(inputs.vectors))
    page, facts = written(replace(inputs, champion=champion), tmp_path)
    assert facts["shared_neighbours"] == 1.0  # the same vectors
    assert 'champion <span class="mono">20260130t020000z-1</span>' in page
    assert re.findall(r"<h3>(.*?)</h3>\s*<ol>", page)[:3] == ["Champion", "Challenger", "item-kNN"]
    assert "5 shared" in page


def test_a_lost_comparison_is_told_as_one(make_inputs: MakeInputs) -> None:
    page = text_of(make_inputs(skill={"PinSage": 1.2}))
    assert 'class="verdict worse"' in page
    assert "points less than the best baseline" in page


def test_configured_queries_are_shown_and_unknown_ones_named(make_inputs: MakeInputs) -> None:
    page = text_of(make_inputs(report={"queries": ["i7", "<gone>"]}))
    assert page.count('<details class="query"') == 1
    assert "Configured, but not in the catalog: <bdi>&lt;gone&gt;</bdi>" in page


def test_a_run_without_a_catalog_contracts_and_slices_has_a_page(
    make_inputs: MakeInputs,
) -> None:
    inputs = make_inputs()
    data = inputs.config.data.model_copy(update={"items": None})
    config = inputs.config.model_copy(update={"data": data})
    pd.DataFrame({"item_id": range(300), "title": map(str, range(300))}).to_parquet(
        inputs.ingested / "items.parquet"
    )
    results = pd.read_parquet(inputs.evaluated / "results.parquet")
    results[results["dimension"] == "all"].to_parquet(inputs.evaluated / "results.parquet")
    page = text_of(replace(inputs, config=config, contracts=()))
    assert Outline(page).stack == []
    assert "By popularity" not in page
    assert "Without a catalog’s features" in page


def test_numbers_that_were_not_measured_are_dashes(make_inputs: MakeInputs) -> None:
    inputs = make_inputs()
    results = pd.read_parquet(inputs.evaluated / "results.parquet")
    results.loc[results["slice"] == "cold", ["value", "low", "high"]] = None
    results[["low", "high"]] = None
    results.to_parquet(inputs.evaluated / "results.parquet")
    metrics = json.loads((inputs.evaluated / "metrics.json").read_text())
    facts = {name: None if "lift" in name else each for name, each in metrics["facts"].items()}
    (inputs.evaluated / "metrics.json").write_text(json.dumps({**metrics, "facts": facts}))
    page = text_of(inputs)
    assert 'class="verdict unknown"' in page
    assert "nan" not in re.sub(r"<style>.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL)


def test_a_secret_in_an_address_is_not_in_the_page(inputs: ReportInputs) -> None:
    source = inputs.config.data.interactions.model_copy(
        update={"path": None, "url": "postgresql://me:CANARY@db.example.org/x", "query": "SELECT 1"}
    )
    data = inputs.config.data.model_copy(update={"interactions": source})
    config = inputs.config.model_copy(update={"data": data})
    page = text_of(replace(inputs, config=config))
    assert "CANARY" not in page
    assert "postgresql database at db.example.org" in page


def test_vectors_of_another_catalog_are_refused(inputs: ReportInputs, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((299, 8), dtype=np.float32))
    with pytest.raises(ArtifactError, match=r"other\.npy.*different runs"):
        write_report(replace(inputs, vectors=tmp_path / "other.npy"), tmp_path)


@pytest.mark.parametrize("name", ["metrics.json", "results.parquet"])
def test_a_missing_input_is_named(make_inputs: MakeInputs, tmp_path: Path, name: str) -> None:
    inputs = make_inputs()
    (inputs.evaluated / name).unlink()
    with pytest.raises(ArtifactError, match=re.escape(name)):
        write_report(inputs, tmp_path)


def test_a_contract_is_read_from_the_gates_report(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('[{"success": true}]')
    contract = Contract.read("Items", tmp_path / "report.json", passed=True)
    assert contract == Contract("Items", True, ({"success": True},))
    (tmp_path / "report.json").write_text("[")
    with pytest.raises(ArtifactError, match=r"report\.json: cannot be read"):
        Contract.read("Items", tmp_path / "report.json", passed=True)


@pytest.mark.parametrize(
    ("package", "advice"),
    [("matplotlib.figure", "pip install matplotlib"), ("jinja2", "pip install jinja2")],
)
def test_a_missing_package_is_named_with_what_installs_it(
    inputs: ReportInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, advice: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("pinsage.report.stage.draw", lambda _: {"hit_rate": new_figure(1.0)})
    with pytest.raises(MissingExtraError, match=advice):
        write_report(inputs, tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_embedded_json_reads_back_and_cannot_end_its_element(value: Any) -> None:
    text = embedded_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_a_template_that_lacks_a_value_fails_instead_of_leaving_a_hole() -> None:
    nothing: Mapping[str, Any] = {}
    with pytest.raises(Exception, match="undefined"):
        render(nothing)


@pytest.mark.slow
def test_a_catalog_of_a_hundred_thousand_items_stays_below_three_megabytes(
    make_inputs: MakeInputs, tmp_path: Path
) -> None:
    from pinsage.graph.bipartite import BipartiteGraph

    inputs = make_inputs(report={"map_points": 3000, "neighbours": 10})
    num, rng = 100_000, np.random.default_rng(1)
    pd.DataFrame(
        {
            "item_id": range(num),
            "title": [f"Item {n} of a catalog with long and wordy titles" for n in range(num)],
            "genre": rng.choice(["Drama", "Comedy", "Western"], num),
        }
    ).to_parquet(inputs.ingested / "items.parquet")
    np.save(inputs.vectors, rng.standard_normal((num, 32)).astype(np.float32))
    edges = rng.integers(0, num, 300_000).astype(np.int32)
    users = rng.integers(0, 1000, 300_000).astype(np.int32)
    graph = BipartiteGraph.from_edges(edges, users, num_items=num, num_contexts=1000)
    graph.save(inputs.graph)
    _, facts = written(inputs, tmp_path)
    assert facts["bytes"] < 3_000_000
