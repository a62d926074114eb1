"""Figures of an evaluation and of a training run, for MLflow and the report.

Colours belong to methods and axes to the catalog, so that the images of two runs can be laid
side by side. matplotlib is imported inside the functions, without a display.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinsage.errors import MissingExtraError
from pinsage.evaluation.metrics import headline_k
from pinsage.evaluation.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL = "PinSage"
_MODEL_COLOUR = "#c0172b"
# Okabe & Ito's palette, told apart with every kind of colour vision.
_COLOURS = {
    MODEL: _MODEL_COLOUR,
    "random": "#999999",
    "popularity": "#e69f00",
    "item-kNN": "#0072b2",
    "transitions": "#009e73",
    "Pixie": "#8a5fbf",
}
_OTHER = "#444444"
_DPI = 144


def hit_rate_figure(periods: Mapping[str, Results]) -> Figure:
    """Hit-rate@K over all K, one panel a period, with bands; K on a logarithmic axis."""
    figure = _figure(width=5.6 * len(periods), height=4.6)
    panels: Sequence[Axes] = figure.subplots(1, len(periods), sharey=True, squeeze=False)[0]
    for axes, (period, results) in zip(panels, periods.items(), strict=True):
        for method in reversed(results.methods):
            _draw_curve(axes, results, method)
        _mark_headline(axes, headline_k(results.ks))
        axes.set(xscale="log", xlim=(1, results.num_items - 1), ylim=(0, 1))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set(xlabel="K", title=f"{period}: {results.num_pairs:,} pairs")
        _tidy(axes)
    panels[0].set_ylabel("hit-rate@K")
    panels[0].legend(loc="upper left", frameon=False)
    return figure


def mrr_figure(periods: Mapping[str, Results]) -> Figure:
    """Scaled MRR of every method as a point with its interval, one panel a period."""
    figure = _figure(width=5.6 * len(periods), height=3.2)
    panels: Sequence[Axes] = figure.subplots(1, len(periods), sharey=True, squeeze=False)[0]
    highest = max(
        results.get(method, "mrr_scaled").high
        for results in periods.values()
        for method in results.methods
    )
    for axes, (period, results) in zip(panels, periods.items(), strict=True):
        for height, method in enumerate(results.methods):
            _draw_interval(axes, results, method, height)
        axes.set_yticks(range(len(results.methods)), results.methods)
        axes.set(xlim=(0, _round_limit(highest)), title=f"{period}: {results.num_pairs:,} pairs")
        axes.set_xlabel(f"MRR in blocks of {results.mrr_block} ranks")
        _tidy(axes)
    return figure


def training_figure(history: Sequence[Mapping[str, Any]], *, metric: str = "mrr") -> Figure:
    """Loss and a validation metric by epoch; the best epoch is marked.

    `history` is the train artifact's: reports with `epoch`, `loss` and `metrics`.
    """
    figure = _figure(width=6.4, height=5.0)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [int(report["epoch"]) for report in history]
    scores = [float(report["metrics"][metric]) for report in history]
    best = int(np.argmax(scores))
    above.plot(epochs, [float(r["loss"]) for r in history], marker="o", color=_OTHER, clip_on=False)
    above.set(ylabel="training loss", ylim=(0, None))
    below.plot(epochs, scores, marker="o", color=_MODEL_COLOUR, clip_on=False)
    below.set(xlabel="epoch", ylabel=f"validation {metric.upper()}", ylim=(0, None))
    below.axvline(epochs[best], color="#bbbbbb", linestyle=":", zorder=0)
    late = epochs[best] - epochs[0] > (epochs[-1] - epochs[0]) / 2
    below.annotate(
        f"best: epoch {epochs[best]}, {scores[best]:.4f}", (epochs[best], 0.0),
        xytext=(-6 if late else 6, 8), textcoords="offset points", ha="right" if late else "left",
    )  # fmt: skip
    below.xaxis.get_major_locator().set_params(integer=True)
    for axes in (above, below):
        _tidy(axes)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, the same bytes for the same figure."""
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _figure(width: float, height: float) -> Figure:
    # The object interface with its Agg canvas: no pyplot, no global state, no display.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            "the figures need matplotlib, which is not installed; pip install matplotlib"
        ) from None

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _draw_curve(axes: Axes, results: Results, method: str) -> None:
    points = [results.get(method, f"hit_rate_{k}") for k in results.curve_ks]
    colour, strong = _colour(method), method == MODEL
    axes.plot(
        results.curve_ks, [p.value for p in points], color=colour, label=method,
        linewidth=2.4 if strong else 1.4, linestyle=":" if method == "random" else "-",
    )  # fmt: skip
    axes.fill_between(
        results.curve_ks, [p.low for p in points], [p.high for p in points], color=colour,
        alpha=0.22 if strong else 0.10, linewidth=0,
    )  # fmt: skip


def _draw_interval(axes: Axes, results: Results, method: str, height: int) -> None:
    interval = results.get(method, "mrr_scaled")
    colour = _colour(method)
    axes.plot([interval.low, interval.high], [height, height], color=colour, linewidth=2.4)
    axes.plot(interval.value, height, "o", color=colour, markersize=7)
    axes.annotate(
        f"{interval.value:.3f}", (interval.high, height), xytext=(6, 0),
        textcoords="offset points", va="center", color=colour,
    )  # fmt: skip


def _round_limit(highest: float) -> float:
    # Steps of a twentieth, so that runs that differ a little get the same axis.
    return min(1.0, math.ceil((highest * 1.15 + 1e-9) * 20) / 20)


def _mark_headline(axes: Axes, k: int) -> None:
    axes.axvline(k, color="#bbbbbb", linestyle=":", zorder=0)
    axes.annotate(
        f"K = {k}", (k, 1.0), xytext=(-4, -12), textcoords="offset points", ha="right",
        color="#777777", fontsize=8,
    )  # fmt: skip


def _colour(method: str) -> str:
    return _COLOURS.get(method, _OTHER)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
