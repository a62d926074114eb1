"""The Data Docs: Great Expectations' pages, made to open from disk and to show values as text.

Great Expectations 1.24 puts values from the data into its HTML unescaped and loads scripts, styles
and a logo from six hosts. Here angle brackets are replaced before anything is rendered, and the
pages carry their own style, no script, and a policy that forbids both script and network.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.render.components import (
    RenderedDocumentContent,
    RenderedSectionContent,
    RenderedTableContent,
)
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, DictLoader

from data_contracts.findings import Finding, exception, findings, text
from data_contracts.page import PAGE, STYLE
from data_contracts.runner import Checked

_INERT = str.maketrans({"<": "‹", ">": "›"})
_TABLE = {"body": {"classes": ["table", "table-sm"]}, "classes": ["col-12", "mt-1"]}


class StandalonePageView(DefaultJinjaPageView):
    """Great Expectations' page in a frame of our own."""

    def __init__(self) -> None:
        super().__init__()
        ours = DictLoader({"page.j2": PAGE, "standalone.css": STYLE})
        self.env.loader = ChoiceLoader([ours, *filter(None, [self.env.loader])])


def write_docs(title: str, checks: Sequence[Checked], folder: Path) -> None:
    """Write index.html and one page a suite into the new folder `folder`."""
    folder.mkdir()
    view: Any = StandalonePageView()  # its `render` has no type hints
    pages = {"index.html": _index(title, checks)}
    for checked in checks:
        pages[_file(checked)] = _page(checked)
    for name, document in pages.items():
        html = view.render(document, index=name == "index.html")
        (folder / name).write_text(html, encoding="utf-8")


def _file(checked: Checked) -> str:
    return checked.result.suite_name.replace(": ", "-") + ".html"


def _page(checked: Checked) -> RenderedDocumentContent:
    renderer = ValidationResultsPageRenderer(run_info_at_end=True)
    document: RenderedDocumentContent = renderer.render(_inert(checked.result))
    breaches, tolerated = findings([checked])
    document.page_title = f"{checked.result.suite_name} – {_verdict(breaches)}"
    # The header links to a page of another site, and the last section tells of our data frame.
    overview, *sections, _ = document.sections
    overview.content_blocks = overview.content_blocks[1:]
    rows = [_offending_rows(each) for each in (*breaches, *tolerated) if each["rows"]]
    document.sections = [overview, *sections, *rows]
    return document


def _verdict(breaches: Sequence[Finding]) -> str:
    return f"broken ({len(breaches)})" if breaches else "holds"


def _index(title: str, checks: Sequence[Checked]) -> RenderedDocumentContent:
    breaches, tolerated = findings(checks)
    header = ["Suite", "Expectations", "Broken", "Tolerated"]
    sections = [_section("Suites", header, [_summary(checked) for checked in checks])]
    columns = ["What", "Expected", "Found", "To do"]
    if breaches:
        sections.append(_section("Broken", columns, _rows(breaches)))
    if tolerated:
        shown = [row[:-1] for row in _rows(tolerated)]  # there is nothing that must be done
        sections.append(_section("Tolerated", columns[:-1], shown))
    return RenderedDocumentContent(
        sections=sections,
        renderer_type="SiteIndexPageRenderer",
        page_title=f"{title} – {_verdict(breaches)}",
        utm_medium=None,
    )


def _summary(checked: Checked) -> list[str]:
    breaches, tolerated = findings([checked])
    name = checked.result.suite_name
    link = f'<a href="{_file(checked)}">{name}</a>'  # suite names are ours
    return [link, *map(str, (len(checked.result.results), len(breaches), len(tolerated)))]


def _rows(found: Sequence[Finding]) -> list[list[str]]:
    return [
        [
            _safe(".".join(part for part in (each["table"], each["column"]) if part)),
            *(_safe(part) for part in (each["expected"], each["found"], each["hint"])),
        ]
        for each in found
    ]


def _offending_rows(each: Finding) -> RenderedSectionContent:
    header = [_safe(name) for name in each["rows"][0]]
    rows = [[_safe(cell) for cell in row.values()] for row in each["rows"]]
    title = f"{len(rows)} of {each['count'] or 0:,} rows against: {each['expected']}"
    return _section(f"Rows: {_safe(each['column'])}", header, rows, title=_safe(title))


def _section(
    name: str, header: list[str], rows: list[list[str]], *, title: str = ""
) -> RenderedSectionContent:
    table = RenderedTableContent(
        header=title or name, header_row=header, table=rows, styling=deepcopy(_TABLE)
    )
    return RenderedSectionContent(section_name=name, content_blocks=[table])


def _inert(result: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    """A copy in which no text can be taken for markup."""
    return ExpectationSuiteValidationResult(
        success=bool(result.success),
        results=[_inert_outcome(outcome) for outcome in result.results],
        suite_name=result.suite_name,
        statistics=result.statistics,
        meta={},
    )


def _inert_outcome(outcome: ExpectationValidationResult) -> ExpectationValidationResult:
    copy = ExpectationValidationResult(
        success=outcome.success,
        expectation_config=deepcopy(outcome.expectation_config),
        result=_tree({k: v for k, v in outcome.result.items() if k != "unexpected_rows"}),
        meta={},
        exception_info=_exception_info(outcome),
    )
    config = copy.expectation_config
    if config is not None:
        config.kwargs = _tree(dict(config.kwargs))
        config.description = _safe(config.description or "")
        config.meta = {}
    return copy


def _exception_info(outcome: ExpectationValidationResult) -> dict[str, Any]:
    problem = exception(outcome)
    return {
        "raised_exception": bool(problem),
        "exception_message": _safe(problem),
        "exception_traceback": "",
    }


def _tree(value: Any) -> Any:
    if isinstance(value, dict):
        return {_tree(key): _tree(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_tree(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()  # the renderer takes Python's numbers only
    if value is None or (isinstance(value, int | float) and isfinite(value)):
        return value
    return _safe(value)


def _safe(value: Any) -> str:
    return text(value).translate(_INERT)
