"""The Data Docs and the message: complete, without network, and inert."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest

from data_contracts.findings import text
from data_contracts.gate import enforce
from pinsage.errors import ContractError
from pinsage.store import Artifact

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
LONG = "x" * 10_000
CONTROL = "a\x00b\x1b[31mc\u202ed"


@pytest.fixture(scope="module")
def hostile(gate: Callable[..., Artifact]) -> Artifact:
    def spoil(interactions: dict[str, Any], items: dict[str, Any]) -> None:
        ids = interactions["item_id"].to_pylist()
        ids[:4] = [SCRIPT, IMAGE, LONG, CONTROL]
        interactions["item_id"] = pa.array(ids)
        titles = [SCRIPT, IMAGE, LONG, CONTROL, "$title {{7*7}} &lt;b&gt;", *["x"] * 7]
        items["title"] = pa.array(titles)
        items["price"] = pa.array([float("inf")] * 12)

    return gate(spoil)


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def pages(artifact: Artifact) -> dict[str, str]:
    return {file.name: file.read_text() for file in (artifact.path / "data_docs").iterdir()}


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


def test_values_from_the_data_are_never_markup(hostile: Artifact) -> None:
    for page in pages(hostile).values():
        tags = parsed(page)
        assert not {"script", "img", "iframe", "object", "link"} & set(tags.tags)
        assert not [name for name, _ in tags.attributes if name.startswith("on")]
        assert "<script" not in page
    everything = "".join(pages(hostile).values())
    assert "‹script›alert(1)‹/script›" in everything  # shown, as text
    assert all("default-src 'none'" in page for page in pages(hostile).values())


def test_pages_load_nothing_from_elsewhere(hostile: Artifact) -> None:
    for page in pages(hostile).values():
        links = [value for name, value in parsed(page).attributes if name in {"href", "src"}]
        assert all(re.fullmatch(r"#section-\d+|[a-z-]+\.html", link) for link in links), links
        assert "url(" not in page
        assert "://" not in page


def test_every_link_leads_to_a_page_or_section(hostile: Artifact) -> None:
    site = pages(hostile)
    for page in site.values():
        tags = parsed(page)
        ids = {value for name, value in tags.attributes if name == "id"}
        for link in [value for name, value in tags.attributes if name == "href"]:
            assert link in site or link.removeprefix("#") in ids


def test_the_overview_names_each_breach_and_each_suite(hostile: Artifact) -> None:
    overview = pages(hostile)["index.html"]
    for breach in hostile.facts["breaches"]:
        assert f"{breach['table']}.{breach['column']}" in overview
    for suite in ("interactions: columns", "interactions", "items: columns", "items"):
        assert f">{suite}</a>" in overview
    assert "broken" in overview


def test_pages_show_the_offending_rows_and_stay_small(hostile: Artifact) -> None:
    site = pages(hostile)
    assert "4 of 4 rows against" in site["interactions.html"]
    assert "12 of 12 rows against" in site["items.html"]
    assert max(len(page) for page in site.values()) < 200_000
    assert LONG[:200] not in "".join(site.values())


def test_great_expectations_renders_without_complaint(
    gate: Callable[..., Artifact], caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(interactions: dict[str, Any], items: dict[str, Any]) -> None:
        del items["genre"]
        items["price"] = pa.array([None] * 11 + [float("-inf")], pa.float64())

    with caplog.at_level(logging.WARNING):
        gate(spoil)
    assert caplog.records == []


def test_the_report_lists_every_expectation(hostile: Artifact) -> None:
    report = json.loads((hostile.path / "report.json").read_text())
    assert len(report) == hostile.facts["num_expectations"]
    broken = [each for each in report if not each["success"] and each["critical"]]
    assert len(broken) == len(hostile.facts["breaches"])
    assert {each["suite"] for each in report} == {
        "interactions: columns",
        "interactions",
        "items: columns",
        "items",
    }


def test_the_message_is_lines_of_printable_text(hostile: Artifact) -> None:
    with pytest.raises(ContractError) as caught:
        enforce(hostile)
    message = str(caught.value)
    assert all(line.isprintable() for line in message.split("\n"))
    assert max(map(len, message.split("\n"))) < 600
    assert "validate: the data breaks its contract" in message
    assert "interactions.item_id: expect_column_values_to_be_in_set" in message
    assert "contract.max_orphan_share" in message
    assert f"item_id={SCRIPT}" in message
    assert r"a\x00b\x1b[31mc\u202ed" in message


def test_text_is_one_printable_line_of_bounded_length() -> None:
    assert text(None) == text(float("nan")) == "missing"
    assert text(3.0) == "3"
    assert text(0.5) == "0.5"
    assert text(LONG) == "x" * 119 + "…"
    assert text("naïve 日本 🎬") == "naïve 日本 🎬"
    assert text("\ud800") == r"\ud800"
