"""Hit-rate at the headline K by popularity, support, time, and a column of the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pinsage.evaluation.slices import OTHER
from pinsage.report.evidence import MODEL, POPULARITY, SUPPORT, TIME, Number, Period
from pinsage.report.figures.style import (
    INK,
    SOFT,
    as_percent,
    heading,
    legend_below,
    limit_of,
    new_figure,
    stroke,
    tidy,
)
from pinsage.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MOST_ROWS = 11  # values of a column that are drawn: those with the most pairs
_SUPPORT_NAMES = {"warm": "warm (10+)", "rare": "rare (1–9)", "cold": "cold (0)"}


def popularity_figure(period: Period) -> Figure:
    """By tenths of the training interactions: the few items taken most, to those taken least."""
    figure = _lines(period, POPULARITY, "Tenth of the training interactions, 1: most popular")
    heading(figure, f"Hit-rate@{period.k} by popularity of the next item")
    return figure


def time_figure(period: Period) -> Figure:
    """By fifths of the period, from just after training to the end."""
    figure = _lines(
        period, TIME, f"Fifth of the {period.title.lower()} period, 1: right after training"
    )
    heading(figure, f"Hit-rate@{period.k} by time since training")
    return figure


def support_figure(period: Period) -> Figure:
    """By training interactions of the next item: warm, rare, cold; one panel each."""
    parts = period.parts(SUPPORT)
    figure = new_figure(1.05 + 0.27 * len(period.methods))
    panels: Sequence[Axes] = figure.subplots(1, max(len(parts), 1), sharey=True, squeeze=False)[0]
    numbers = [
        period.headline(method, SUPPORT, part) for part in parts for method in period.methods
    ]
    for axes, part in zip(panels, parts, strict=False):
        for place, method in enumerate(period.methods):
            _dot(axes, place, method, period.headline(method, SUPPORT, part))
        axes.set(xlim=(0, _end(numbers)), ylim=(len(period.methods) - 0.4, -0.6))
        axes.locator_params(axis="x", nbins=3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        heading(
            axes, f"{_SUPPORT_NAMES.get(part, part)}\n{period.num_pairs_in(SUPPORT, part):,} pairs"
        )
        tidy(axes)
    panels[0].set_yticks(range(len(period.methods)), period.methods)
    figure.supxlabel(f"hit-rate@{period.k} in percent", fontsize=9.8, color=SOFT)
    for label in panels[0].get_yticklabels():
        strong = label.get_text() == MODEL
        label.set(color=INK, fontweight="bold" if strong else "normal")
    return figure


def column_figure(period: Period) -> Figure:
    """By the values of a catalog column with the most pairs: PinSage beside the best baseline."""
    column = period.column or ""
    sizes = {part: period.num_pairs_in(column, part) for part in period.parts(column)}
    parts = sorted(sizes, key=lambda part: (part == OTHER, -sizes[part]))
    rows = parts[:MOST_ROWS]
    rival = period.best_baseline("hit_rate", period.k)
    methods = [method for method in (rival, MODEL) if method is not None]
    numbers = [period.headline(method, column, part) for part in rows for method in methods]
    figure = new_figure(1.15 + 0.32 * max(len(rows), 1))
    axes = figure.subplots()
    dots = [
        [
            # One above the other, so that none hides where they agree.
            _dot(axes, n + shift, method, period.headline(method, column, part))
            for n, part in enumerate(rows)
        ]
        for method, shift in zip(methods, (0.17, -0.13), strict=False)
    ]
    names = [f"{one_line(part, 22)}  {sizes[part]:,}" for part in rows]
    axes.set_yticks(range(len(rows)), [name.replace("$", r"\$") for name in names])
    axes.set(xlim=(0, _end(numbers)), ylim=(len(rows) - 0.4, -0.6))
    as_percent(axes.xaxis)
    heading(figure, f"Hit-rate@{period.k}; beside each value its pairs")
    tidy(axes)
    legend_below(figure, [each[0] for each in reversed(dots) if each], list(reversed(methods)))
    return figure


def _lines(period: Period, dimension: str, label: str) -> Figure:
    figure = new_figure(4.1)
    axes = figure.subplots()
    parts = period.parts(dimension)
    lines: dict[str, Line2D] = {}
    numbers: list[Number] = []
    for method in reversed(period.methods):
        points = [period.headline(method, dimension, part) for part in parts]
        lines[method] = _line(axes, method, points)
        numbers += points
    axes.set(ylim=(0, _end(numbers)), xlabel=label)
    axes.set_xticks(range(len(parts)), parts)
    axes.margins(x=0.03)
    as_percent(axes.yaxis)
    tidy(axes, grid="y")
    legend_below(figure, [lines[method] for method in period.methods], period.methods)
    return figure


def _line(axes: Axes, method: str, points: Sequence[Number]) -> Line2D:
    look, strong = stroke(method), method == MODEL
    places = range(len(points))
    if strong:
        low, high = [p.low for p in points], [p.high for p in points]
        axes.fill_between(places, low, high, color=look.colour, alpha=0.18, linewidth=0)
    (line,) = axes.plot(
        places, [p.value for p in points], color=look.colour, linestyle=look.dash,
        linewidth=look.width, marker="o" if strong else None, markersize=5,
    )  # fmt: skip
    return line


def _dot(axes: Axes, place: float, method: str, number: Number) -> Line2D:
    look, strong = stroke(method), method == MODEL
    axes.plot(
        [number.low, number.high], [place, place], color=look.colour, clip_on=False,
        linewidth=2.2 if strong else 1.4, alpha=1.0 if strong else 0.7,
    )  # fmt: skip
    (dot,) = axes.plot(
        number.value, place, "o", color=look.colour, markersize=6.5 if strong else 5, clip_on=False
    )
    return dot


def _end(numbers: Sequence[Number]) -> float:
    return limit_of(max((n.high for n in numbers if n.high == n.high), default=1.0))
