"""The last nights: what was measured, what the gate said, how much data, how stable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinsage.report.figures.style import (
    ACCENT,
    NEUTRAL,
    SOFT,
    as_percent,
    heading,
    limit_of,
    new_figure,
    tidy,
)
from pinsage.report.figures.training import metric_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RUST = "#b45f1d"
# How a night is drawn: promoted, asked about, refused.
_MARKS = {"promote": ("o", ACCENT), "ask": ("D", SOFT), "refuse": ("X", _RUST)}
_SAID = {"promote": "promoted", "ask": "asks", "refuse": "refused"}


@dataclass(frozen=True)
class NightPoint:
    """One night.

    Attributes:
        label: when its data end, as it stands on the axis
        metrics: by name, value and the bounds of its interval
        overlap: share of an item's ten nearest that stayed; None where it was not measured
    """

    label: str
    verdict: str
    metrics: dict[str, tuple[float, float, float]]
    rows: int
    items: int
    overlap: float | None


def trend_figure(nights: Sequence[NightPoint]) -> Figure:
    """Headline metrics with their intervals and verdicts, rows and items, and the overlap."""
    names = list(nights[-1].metrics)
    figure = new_figure(1.75 * (len(names) + 2))
    panels: list[Axes] = list(figure.subplots(len(names) + 2, 1, sharex=True))
    for axes, name in zip(panels, names, strict=False):
        _metric(axes, nights, name)
    _sizes(panels[-2], nights)
    _overlap(panels[-1], nights)
    for axes in panels:
        tidy(axes)
    panels[-1].set_xlim(-0.5, len(nights) - 0.5)
    step = max(1, -(-len(nights) // 6))
    places = range((len(nights) - 1) % step, len(nights), step)
    panels[-1].set_xticks(list(places), [nights[place].label for place in places])
    return figure


def _metric(axes: Axes, nights: Sequence[NightPoint], name: str) -> None:
    known = [(at, n.metrics[name], n.verdict) for at, n in enumerate(nights) if name in n.metrics]
    places = [at for at, _, _ in known]
    values, lows, highs = ([found[part] for _, found, _ in known] for part in range(3))
    axes.fill_between(places, lows, highs, color=ACCENT, alpha=0.13, linewidth=0)
    axes.plot(places, values, color=ACCENT, linewidth=1.6, zorder=2)
    for at, (value, low, high), verdict in known:
        shape, colour = _MARKS[verdict]
        axes.vlines(at, low, high, color=colour, linewidth=0.9, zorder=2)
        axes.plot([at], [value], marker=shape, markersize=6, color=colour, zorder=3, clip_on=False)
    there = [each for each in _MARKS if any(verdict == each for _, _, verdict in known)]
    said = ", ".join(f"{_symbol(each)} {_SAID[each]}" for each in there)
    heading(axes, f"Test {metric_name(name)} with its interval: {said}")
    axes.set_ylim(0, limit_of(max(highs)))
    if name.startswith("hit_rate"):
        as_percent(axes.yaxis)


def _symbol(verdict: str) -> str:
    return {"promote": "●", "ask": "◆", "refuse": "✖"}[verdict]


def _sizes(axes: Axes, nights: Sequence[NightPoint]) -> None:
    """Both relative to the first night, so that they share an axis."""
    for values, colour, said in (
        ([n.rows for n in nights], NEUTRAL, "rows"),
        ([n.items for n in nights], _RUST, "items"),
    ):
        first = values[0] or 1
        axes.plot([value / first for value in values], marker="o", markersize=3.5, color=colour,
                  label=f"{said}: {values[-1]:,}", clip_on=False)  # fmt: skip
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=9, loc="lower left", ncols=2)
    heading(axes, "Rows and items, the first night shown is 1")


def _overlap(axes: Axes, nights: Sequence[NightPoint]) -> None:
    known = [(at, n.overlap) for at, n in enumerate(nights) if n.overlap is not None]
    axes.plot([at for at, _ in known], [value for _, value in known], marker="o", markersize=4,
              color=NEUTRAL, clip_on=False)  # fmt: skip
    axes.set_ylim(0, 1)
    as_percent(axes.yaxis)
    heading(axes, "An item's ten nearest that stay, against what readers followed")
