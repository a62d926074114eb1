"""The training run: loss and validation metric by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

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
from pinsage.report.text import decimal, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]


def training_figure(history: History, metric: str) -> Figure:
    """Loss and a validation metric by epoch; the best epoch is marked.

    `history` is the train artifact's: reports with `epoch`, `loss` and `metrics`.
    """
    figure = new_figure(4.1)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [int(report["epoch"]) for report in history]
    scores = [float(report["metrics"][metric]) for report in history]
    best = best_epoch(history, metric)
    losses = [np.nan if r["loss"] is None else float(r["loss"]) for r in history]  # none in epoch 0
    above.plot(epochs, losses, marker="o", markersize=4,
               color=NEUTRAL, clip_on=False)  # fmt: skip
    above.set_ylim(0, None)
    heading(above, "Training loss, mean of the epoch")
    below.plot(epochs, scores, marker="o", markersize=4, color=ACCENT, clip_on=False)
    below.set(xlabel="epoch", ylim=(0, limit_of(max(scores))))
    below.axvline(epochs[best], color=SOFT, linewidth=0.8, linestyle=":", zorder=0)
    shares = metric.startswith("hit_rate")
    told = percent(scores[best]) if shares else decimal(scores[best])
    late = epochs[best] - epochs[0] > (epochs[-1] - epochs[0]) / 2
    below.annotate(
        f"best: epoch {epochs[best]}, {told}", (epochs[best], 0.0),
        xytext=(-6 if late else 6, 7), textcoords="offset points", color=SOFT, fontsize=9.5,
        ha="right" if late else "left",
    )  # fmt: skip
    heading(below, f"Validation {metric_name(metric)}")
    if shares:
        as_percent(below.yaxis)
    below.xaxis.get_major_locator().set_params(integer=True)
    for axes in (above, below):
        tidy(axes)
    return figure


def best_epoch(history: History, metric: str) -> int:
    """Place of the report with the highest score, the first of equals."""
    return int(np.argmax([float(report["metrics"][metric]) for report in history]))


def metric_name(metric: str) -> str:
    """`hit_rate_100` as people write it: `hit-rate@100`."""
    named = metric.replace("geometric_mean", "√(hit-rate · MRR)")
    return named.replace("hit_rate_", "hit-rate@").replace("mrr", "MRR")
