"""The report stage: one HTML file that a run is judged by, and its figures as images.

The images have fixed names, sizes and axes, so that those of two runs can be laid side by side.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from pinsage.report.evidence import POPULARITY, SUPPORT, TIME
from pinsage.report.figures.accuracy import hit_rate_figure, mrr_figure
from pinsage.report.figures.embedding import cosine_figure, map_figure
from pinsage.report.figures.slices import (
    column_figure,
    popularity_figure,
    support_figure,
    time_figure,
)
from pinsage.report.figures.style import png
from pinsage.report.figures.training import training_figure
from pinsage.report.findings import Findings
from pinsage.report.inputs import ReportInputs
from pinsage.report.neighbours import CHALLENGER
from pinsage.report.page import render
from pinsage.report.shown import shown
from pinsage.store import Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
FIGURES = "figures"
MAP = "map"  # an image only: in the page the map is drawn by its script


def write_report(inputs: ReportInputs, out: Path) -> Facts:
    """Write report.html and figures/<name>.png into `out`.

    Returns num_queries, excess_kurtosis (where there is one), mean_cosine, map_variance (the share
    that the map shows), bytes (of the page), and with a champion shared_neighbours: the share of
    the challenger's neighbours shown that the champion has as well. Raises ArtifactError where an
    input is broken or does not fit the others, MissingExtraError without matplotlib or Jinja.
    """
    with threadpool_limits(1, "blas"):  # another number of threads sums in another order
        found = Findings.of(inputs)
    figures = draw(found)
    (out / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        png(figure, out / FIGURES / f"{name}.png")
    in_page = {name: figure for name, figure in figures.items() if name != MAP}
    page = render(shown(inputs, found, in_page), found.pictures.styles)
    (out / PAGE).write_text(page, encoding="utf-8")
    facts = {
        "num_queries": len(found.cards),
        "excess_kurtosis": found.cosines.kurtosis,
        "mean_cosine": found.cosines.mean,
        "map_variance": sum(found.projection.explained),
        "bytes": len(page.encode()),
        **_agreement(found),
    }
    return {name: value for name, value in facts.items() if isfinite(value)}


def draw(found: Findings) -> dict[str, Figure]:
    """The figures by name; those of slices that hold no pair are left out."""
    test = found.evidence.test
    figures = {
        "hit_rate": hit_rate_figure(test),
        "mrr": mrr_figure(test),
        "cosine": cosine_figure(found.cosines),
        "training": training_figure(found.history, found.metric),
        MAP: map_figure(found.projection, found.groups),
    }
    drawn = {POPULARITY: popularity_figure, SUPPORT: support_figure, TIME: time_figure}
    figures |= {name: figure(test) for name, figure in drawn.items() if test.parts(name)}
    if test.column is not None and test.parts(test.column):
        figures["column"] = column_figure(test)
    return figures


def _agreement(found: Findings) -> Facts:
    known = [card for card in found.cards if card.shared is not None]
    shown_of = [len(each.entries) for card in known for each in card.lists
                if each.source == CHALLENGER]  # fmt: skip
    agreed = sum(card.shared or 0 for card in known)
    return {"shared_neighbours": agreed / sum(shown_of)} if sum(shown_of) else {}
