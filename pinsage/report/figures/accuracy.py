"""Hit-rate@K over all K, and the scaled MRR of every method (PinSage §4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinsage.report.evidence import HIT_RATE, MODEL, MRR_SCALED, Period
from pinsage.report.figures.style import (
    INK,
    PAPER,
    SOFT,
    as_percent,
    heading,
    legend_below,
    limit_of,
    new_figure,
    stroke,
    tidy,
)
from pinsage.report.text import decimal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def hit_rate_figure(period: Period) -> Figure:
    """Hit-rate@K with its band for every method; K from 1 to N − 1 on a logarithmic axis."""
    figure = new_figure(4.3)
    axes = figure.subplots()
    lines = {method: _curve(axes, period, method) for method in reversed(period.methods)}
    axes.set(xscale="log", xlim=(1, period.num_items - 1), ylim=(0, 1), xlabel="K, nearest items")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    as_percent(axes.yaxis)
    axes.axvline(period.k, color=SOFT, linewidth=0.8, linestyle=":", zorder=0)
    axes.annotate(
        f"K = {period.k}", (period.k, 1.0), xytext=(-4, -9), textcoords="offset points",
        ha="right", color=SOFT, fontsize=9,
    )  # fmt: skip
    heading(figure, "Share of pairs whose next item is among the K nearest")
    tidy(axes)
    labels = [_labelled(period, method) for method in period.methods]
    legend_below(figure, [lines[method] for method in period.methods], labels)
    return figure


def mrr_figure(period: Period) -> Figure:
    """A bar a method with its interval; PinSage above the baselines, in a fixed order."""
    figure = new_figure(0.9 + 0.3 * len(period.methods))
    axes = figure.subplots()
    numbers = [period.get(method, MRR_SCALED) for method in period.methods]
    for place, (method, number) in enumerate(zip(period.methods, numbers, strict=True)):
        colour, strong = stroke(method).colour, method == MODEL
        axes.barh(place, number.value, height=0.62, color=PAPER)  # the grid does not shine through
        axes.barh(place, number.value, height=0.62, color=colour, alpha=1.0 if strong else 0.6)
        axes.plot([number.low, number.high], [place, place], color=INK, linewidth=1.3)
        axes.annotate(
            decimal(number.value), (max(number.high, number.value), place), xytext=(5, 0),
            textcoords="offset points", va="center", fontsize=9.5, color=INK,
            fontweight="bold" if strong else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(period.methods)), period.methods)
    axes.set_ylim(len(period.methods) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    # Room at the right for the number behind the longest bar.
    axes.set_xlim(0, limit_of(1.12 * max([n.high for n in numbers if n.high == n.high] or [0.5])))
    block = "" if period.mrr_block == 1 else f", in blocks of {period.mrr_block} ranks"
    heading(figure, f"Mean of 1 / rank of the next item{block}")
    tidy(axes, grid="x")
    for label in axes.get_yticklabels():
        strong = label.get_text() == MODEL
        label.set(color=INK, fontweight="bold" if strong else "normal")
    return figure


def _curve(axes: Axes, period: Period, method: str) -> Line2D:
    points = [period.get(method, HIT_RATE, k) for k in period.curve_ks]
    look, strong = stroke(method), method == MODEL
    axes.fill_between(
        period.curve_ks, [p.low for p in points], [p.high for p in points], color=look.colour,
        alpha=0.20 if strong else 0.08, linewidth=0,
    )  # fmt: skip
    (line,) = axes.plot(
        period.curve_ks, [p.value for p in points], color=look.colour, linestyle=look.dash,
        linewidth=look.width,
    )  # fmt: skip
    return line


def _labelled(period: Period, method: str) -> str:
    return f"{method} {100 * period.headline(method).value:.0f} %"
