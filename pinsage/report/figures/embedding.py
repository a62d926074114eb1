"""The embedding itself: cosines of random pairs, and a map of the items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pinsage.report.catalog import Groups
from pinsage.report.cosines import BINS, Cosines
from pinsage.report.figures.style import ACCENT, SOFT, heading, new_figure, tidy
from pinsage.report.projection import Projection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Eight colours told apart with every kind of colour vision (after Okabe and Ito), two greys.
GROUP_COLOURS = (
    "#0072b2", "#e08a00", "#009e73", "#c4568f", "#3fa7e0", "#c9480a", "#7d6b00", "#6a51a3",
    "#aab1bb", "#d0d4da",
)  # fmt: skip


def cosine_figure(cosines: Cosines) -> Figure:
    """The distribution of the cosines of random pairs, from −1 to 1."""
    figure = new_figure(3.3)
    axes = figure.subplots()
    edges = np.linspace(-1.0, 1.0, BINS + 1)
    shares = cosines.counts / max(cosines.num_pairs, 1)
    axes.stairs(shares, edges, fill=True, color=ACCENT, alpha=0.75)
    axes.axvline(cosines.mean, color=SOFT, linewidth=1, linestyle=":")
    axes.annotate(
        f"mean {cosines.mean:.2f}".replace("-", "−"), (cosines.mean, 1.0), xytext=(5, -9),
        xycoords=("data", "axes fraction"), textcoords="offset points", color=SOFT, fontsize=9,
    )  # fmt: skip
    axes.set(xlim=(-1, 1), ylim=(0, 1.12 * float(shares.max(initial=0.01))),
             xlabel="cosine of two random items")  # fmt: skip
    axes.set_yticks([])
    axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    heading(figure, f"{cosines.num_pairs:,} random pairs")
    tidy(axes, grid="x")
    return figure


def map_figure(projection: Projection, groups: Groups) -> Figure:
    """Items on the two directions of most variance, coloured by group."""
    figure = new_figure(5.2)
    axes = figure.subplots()
    of = np.asarray(groups.of)[projection.rows]
    for group, label in reversed(list(enumerate(groups.labels))):
        x, y = projection.points[of == group].T
        colour = GROUP_COLOURS[group if len(groups.labels) > 1 else 0]
        axes.scatter(x, y, s=7, color=colour, alpha=0.75, linewidths=0,
                     label=label.replace("$", r"\$"))  # fmt: skip
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.margins(0.03)
    first, second = (f"{100 * share:.0f} %" for share in projection.explained)
    axes.set(xlabel=f"first direction, {first} of the variance",
             ylabel=f"second direction, {second}")  # fmt: skip
    tidy(axes)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3, frameon=False,
                  fontsize=9, markerscale=2)  # fmt: skip
    return figure
