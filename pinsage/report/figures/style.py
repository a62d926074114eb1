"""One look for all figures: colours by method, size, axes, and how a figure is written.

PinSage is strong, the baselines are muted: a hue a family, a dash a member, so that they are told
apart with every kind of colour vision. Text stays text. In the page colours are CSS variables,
which follow the light or dark scheme; in an image they are the light ones.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pinsage.errors import MissingExtraError
from pinsage.report.evidence import MODEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH = 4.5  # inches; on a phone it is about 330 pixels, and a point of text one pixel
_DPI = 180
SOLID, DASHED, DOTTED, DASH_DOT = "-", (0, (4, 1.6)), (0, (1, 1.6)), (0, (5, 1.4, 1, 1.4))

# Each colour has one name, which is its CSS variable; style.css gives it in both schemes.
INK, SOFT, GRID, PAPER = "#1c2127", "#5d6672", "#e4e6ea", "#ffffff"
ACCENT, NEUTRAL = "#1f4fd8", "#4a5563"
NAMES = {
    INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "card", ACCENT: "model", NEUTRAL: "neutral",
    "#868d97": "reference-1", "#a9afb8": "reference-2",
    "#b45f1d": "count-1", "#d99a4e": "count-2", "#7d4a1a": "count-3",
    "#1f8a8a": "factor-1", "#74bcbc": "factor-2", "#0f5757": "factor-3",
    "#9556a8": "sequence-1", "#a8982a": "content-1",
}  # fmt: skip


class Stroke(NamedTuple):
    """How a method's line looks."""

    colour: str
    dash: Any
    width: float


STROKES = {
    MODEL: Stroke(ACCENT, SOLID, 2.8),
    "random": Stroke("#a9afb8", DOTTED, 1.6),
    "popularity": Stroke("#868d97", DASHED, 1.3),
    "item-kNN": Stroke("#d99a4e", DASHED, 1.5),
    "transitions": Stroke("#7d4a1a", DASH_DOT, 1.3),
    "Pixie": Stroke("#b45f1d", SOLID, 1.5),
    "EASE": Stroke("#1f8a8a", SOLID, 1.5),
    "ALS": Stroke("#74bcbc", DASHED, 1.5),
    "BPR": Stroke("#0f5757", DASH_DOT, 1.3),
    "item2vec": Stroke("#9556a8", DASHED, 1.4),
    "content-kNN": Stroke("#a8982a", DASH_DOT, 1.4),
}
_UNKNOWN = Stroke(NEUTRAL, DASHED, 1.3)


def stroke(method: str) -> Stroke:
    """How a method is drawn; one that is not known is dashed grey."""
    return STROKES.get(method, _UNKNOWN)


def new_figure(height: float) -> Figure:
    """An empty figure of the width of the page's column; `height` in inches.

    Raises MissingExtraError without matplotlib.
    """
    # The object interface with its Agg canvas: no pyplot, no global state, no display.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            "the figures need matplotlib, which is not installed; pip install matplotlib"
        ) from None
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=PAPER)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.04)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, *, grid: str = "both") -> None:
    """Quiet axes: no box, thin grid behind the data, small soft labels."""
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(visible=True, axis=grid, which="major", color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=9.3, colors=SOFT)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9.8, color=SOFT)


def heading(part: Figure | Axes, text: str) -> None:
    """A small title at the left of a figure or a panel, in place of a turned label."""
    if hasattr(part, "suptitle"):
        part.suptitle(text, x=0.012, ha="left", fontsize=9.8, color=SOFT)
    else:
        part.set_title(text, loc="left", fontsize=9.8, color=SOFT, pad=7)


def legend_below(figure: Figure, lines: Sequence[Line2D], labels: Sequence[str]) -> None:
    """All methods below the axes, in three columns."""
    legend = figure.legend(
        lines, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9,
        handlelength=1.9, handletextpad=0.5, columnspacing=1.0, labelspacing=0.5, labelcolor=INK,
    )  # fmt: skip
    for text in legend.get_texts():
        if text.get_text().startswith(MODEL):
            text.set(fontweight="bold")


def as_percent(axis: Any) -> None:
    """Ticks of a share as whole percents."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def limit_of(highest: float) -> float:
    """The end of an axis from 0 to 1: one of a few round numbers, so that nightly runs agree."""
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
    return next((step for step in steps if 1.04 * highest <= step), 1.0)


def png(figure: Figure, path: Path) -> None:
    """Write an image, the same bytes for the same figure."""
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    figure.set_layout_engine("none")  # laid out by now; the SVG need not do it again


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element for a page; `name` begins every id in it.

    Decorative to a screen reader: the caption beside it says what is seen.
    """
    import matplotlib as mpl

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    return _for_a_page(stream.getvalue(), name)


def _for_a_page(text: str, name: str) -> str:
    text = text[text.index("<svg") :]
    head = r'<svg \1 role="img" aria-hidden="true" focusable="false">'
    text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]+\")[^>]*>", head, text, count=1)
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text)
    text = re.sub(r" font-family: [^;\"]+;?", "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"(\bid=\"|href=\"#|url\(#)", rf"\g<1>{name}-", text)
    for colour, variable in NAMES.items():
        text = text.replace(colour, f"var(--{variable})")
    # Black is matplotlib's own default, where no colour was asked for.
    text = text.replace("#000000", "var(--ink)")
    return re.sub(r"\s*\n\s*", "\n", text).strip()
