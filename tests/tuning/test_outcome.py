"""What a tuning draws."""

from __future__ import annotations

import numpy as np
import pytest

from pinsage.evaluation.metrics import CHOICE_NAMES
from pinsage.evaluation.tuning import Trial
from pinsage.tuning.outcome import history_figure
from pinsage.tuning.study import Tried
from tests.report.cut_off import cut_off

TRIED = [
    Tried(1, "complete", 0.41, {}, 3, 1.0, ""),
    Tried(2, "pruned", 0.22, {}, 1, 1.0, ""),
    Tried(3, "failed", None, {}, 0, 1.0, "no memory"),
    Tried(4, "complete", 0.43, {}, 3, 1.0, ""),
]
BASELINE = Trial("content-kNN", {}, 0.4, 0.1, 0.39, 1.0, chosen=True)


@pytest.mark.parametrize("measure", CHOICE_NAMES.values())
@pytest.mark.parametrize("num_trials", [0, 1, 4])
def test_the_history_says_what_it_measures_and_nothing_of_it_is_cut_off(
    measure: str, num_trials: int
) -> None:
    figure = history_figure(TRIED[:num_trials], [BASELINE], measure)
    (axes,) = figure.axes
    assert measure in axes.get_title(loc="left")
    assert cut_off(figure) == []


def test_the_line_is_the_best_so_far_and_a_trial_given_up_is_hollow() -> None:
    (axes,) = history_figure(TRIED, [BASELINE], "MRR").axes
    *dots, line, rival = axes.lines
    assert np.asarray(line.get_ydata()).tolist() == [0.41, 0.41, 0.41, 0.43]
    assert np.asarray(rival.get_ydata()).tolist() == [0.39, 0.39]
    assert [dot.get_markerfacecolor() == dot.get_color() for dot in dots] == [True, False, True]
