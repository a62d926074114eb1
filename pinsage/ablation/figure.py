"""An ablation as a picture: a line a row, its interval over users, and a small dot a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pinsage.ablation.comparison import Comparison
from pinsage.ablation.table import GROUPS
from pinsage.ablation.variants import Plan, Variant
from pinsage.evaluation.metrics import metric_label
from pinsage.report.figures.style import (
    ACCENT,
    INK,
    NEUTRAL,
    SOFT,
    as_percent,
    heading,
    new_figure,
    tidy,
)
from pinsage.report.text import percent, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ablation_figure(plan: Plan, found: Comparison, title: str) -> Figure:
    """A panel a group on one axis of the headline metric; the reference as a dotted line.

    Raises MissingExtraError without matplotlib.
    """
    groups = [
        (name, [variant for variant in plan.variants if variant.group == key])
        for key, name in GROUPS.items()
    ]
    shown = [(name, rows) for name, rows in groups if rows]
    figure = new_figure(0.9 + sum(0.55 + 0.32 * len(rows) for _, rows in shown))
    panels = figure.subplots(
        len(shown), 1, sharex=True, squeeze=False,
        height_ratios=[0.6 + len(rows) for _, rows in shown],
    )  # fmt: skip
    for axes, (name, rows) in zip(panels[:, 0], shown, strict=True):
        _panel(axes, rows, found)
        heading(axes, name)
    as_percent(panels[-1, 0].xaxis)
    panels[-1, 0].set_xlabel(
        f"{title} {metric_label(found.headline)}, {plural(len(plan.seeds), 'seed')}"
    )
    return figure


def _panel(axes: Axes, rows: Sequence[Variant], found: Comparison) -> None:
    reference = found.get(found.reference, found.headline).value
    axes.axvline(reference, color=SOFT, linewidth=0.8, linestyle=":", zorder=0)
    for place, variant in enumerate(rows):
        strong = variant.name == found.reference
        colour = ACCENT if strong else NEUTRAL
        number = found.get(variant.name, found.headline)
        axes.plot([number.low, number.high], [place, place], color=colour, linewidth=1.6)
        seeds = found.by_seed[variant.name, found.headline]
        axes.plot(seeds, [place] * len(seeds), ".", color=colour, alpha=0.45, markersize=5)
        axes.plot(number.value, place, "o", color=colour, markersize=6.5 if strong else 5.0)
        axes.annotate(
            percent(number.value), (max(number.high, *seeds), place), xytext=(5, 0),
            textcoords="offset points", va="center", fontsize=9, color=INK,
            fontweight="bold" if strong else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [variant.name for variant in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.2)  # room at the right for the number
    tidy(axes, grid="x")
    for tick in axes.get_yticklabels():
        tick.set_color(INK)
