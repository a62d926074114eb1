"""What a tuning comes to: the profile, the table of all methods, and the history of the trials."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinsage.config_text import profile
from pinsage.evaluation.metrics import CHOICE_NAMES
from pinsage.evaluation.tuning import MOST_PAIRS, Trial
from pinsage.report.evidence import MODEL
from pinsage.report.figures.style import (
    ACCENT,
    INK,
    NEUTRAL,
    PAPER,
    SOFT,
    as_percent,
    heading,
    limit_of,
    new_figure,
    png,
    tidy,
)
from pinsage.report.text import NOTHING, decimal, duration, one_line, plural
from pinsage.store import Facts
from pinsage.tuning.space import Space, value_of
from pinsage.tuning.study import Tried

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, FIGURE, PROFILE, TRIALS = "table.md", "history.png", "best.toml", "trials.json"
_SHOWN = 10


def write_outcome(
    space: Space, tried: Sequence[Tried], best: Tried, baselines: Sequence[Trial], out: Path
) -> Facts:
    """Write best.toml, table.md, trials.json and history.png; returns the best's numbers."""
    budget = len(tried)
    measure = _measure(space)
    (out / PROFILE).write_text(best_profile(best, budget, measure), encoding="utf-8")
    (out / TABLE).write_text(to_markdown(space, tried, best, baselines), encoding="utf-8")
    (out / TRIALS).write_text(json.dumps([asdict(each) for each in tried], indent=2))
    png(history_figure(tried, baselines, measure), out / FIGURE)
    return {"num_trials": budget, "best_trial": best.number, "best_score": best.value}


def _measure(space: Space) -> str:
    return CHOICE_NAMES[space.base.training.choose_by]


def best_profile(best: Tried, budget: int, measure: str) -> str:
    """The best settings, to be laid over the files that were tuned.

    `evaluation.trials` is the budget, so that the baselines of a run with the profile are tuned
    with as many settings as the model was.
    """
    comment = (
        f"Trial {best.number}, the best of {budget} on validation: {measure} "
        f"{best.value:.4f}. Lay this over the files that were tuned: "
        f"pinsage run --config FILE --config THIS. The baselines of such a run have the same "
        f"budget."
    )
    return profile({**best.settings, "evaluation.trials": budget}, comment)


def to_markdown(
    space: Space, tried: Sequence[Tried], best: Tried, baselines: Sequence[Trial]
) -> str:
    """A table of the methods at their best, then the best trials of the model."""
    return "\n".join([*_methods(space, tried, best, baselines), "", *_trials(space, tried)]) + "\n"


def _methods(
    space: Space, tried: Sequence[Tried], best: Tried, baselines: Sequence[Trial]
) -> Iterator[str]:
    states = [each.state for each in tried]
    yield "## Every method at its best on validation\n"
    yield (
        f"The same budget for all: {plural(len(tried), 'setting')}, or the whole grid where it is "
        f"smaller. {MODEL}: {states.count('complete')} trained to the end, "
        f"{states.count('pruned')} given up, {states.count('failed')} failed. The test period was "
        f"not read; measure with `pinsage run` and the profile. {MODEL} is scored on at most "
        f"{space.base.training.validation_pairs:,} validation pairs, a baseline on at most "
        f"{MOST_PAIRS:,}, so that close numbers are no verdict.\n"
    )
    yield f"| method | {_measure(space)} | settings tried | time | best settings |"
    yield "|---|--:|--:|--:|---|"
    seconds = sum(each.seconds for each in tried)
    yield _method_row(f"**{MODEL}**", best.value, len(tried), seconds, best.settings)
    for name in dict.fromkeys(trial.baseline for trial in baselines):
        mine = [trial for trial in baselines if trial.baseline == name]
        [winner] = [trial for trial in mine if trial.chosen]
        took = sum(trial.seconds for trial in mine)
        yield _method_row(name, winner.score, len(mine), took, winner.settings)


def _method_row(
    name: str, rate: float | None, count: int, seconds: float, settings: Mapping[str, Any]
) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"| {name} | {decimal(rate)} | {count} | {duration(seconds)} | {shown} |"


def _trials(space: Space, tried: Sequence[Tried]) -> Iterator[str]:
    keys = [setting.key for setting in space.settings]
    yield f"## The best {min(_SHOWN, len(tried))} trials, and what they were started from\n"
    yield f"| trial | {_measure(space)} | {' | '.join(keys)} | epochs | state |"
    yield f"|---|--:|{'--:|' * len(keys)}--:|---|"
    base = [str(value_of(space.base, key)) for key in keys]
    yield f"| base | | {' | '.join(base)} | | |"
    best_first = sorted(tried, key=lambda each: (each.state != "complete", -(each.value or 0.0)))
    for each in best_first[:_SHOWN]:
        cells = [str(each.settings.get(key, NOTHING)) for key in keys]
        state = f"{each.state}: {one_line(each.error, 80)}" if each.error else each.state
        yield (
            f"| {each.number} | {decimal(each.value)} | {' | '.join(cells)} | {each.epochs} | "
            f"{state} |"
        )


def history_figure(tried: Sequence[Tried], baselines: Sequence[Trial], measure: str) -> Figure:
    """Every trial's score on validation, the best so far, and the best baseline as a line.

    A trial that was given up is hollow, at the best of its epochs. Raises MissingExtraError
    without matplotlib.
    """
    figure = new_figure(3.4)
    axes = figure.subplots()
    rates = []
    for place, each in enumerate(tried, start=1):
        if each.value is not None:
            rates.append(each.value)
            fill = NEUTRAL if each.state == "complete" else PAPER
            axes.plot(place, each.value, "o", markersize=5, color=NEUTRAL, markerfacecolor=fill)
    axes.step(
        range(1, len(tried) + 1), _best_so_far(tried), where="post", color=ACCENT, linewidth=2
    )
    if baselines:
        rival = max(baselines, key=lambda trial: trial.score)
        rates.append(rival.score)
        axes.axhline(rival.score, color=SOFT, linewidth=1.0, linestyle=":")
        axes.annotate(
            f"best baseline, {rival.baseline}", (1, rival.score), xytext=(0, 4),
            textcoords="offset points", fontsize=9, color=INK,
        )  # fmt: skip
    axes.set(xlabel="trial", ylim=(0, limit_of(max(rates, default=0.5))))
    axes.locator_params(axis="x", integer=True)
    if measure == CHOICE_NAMES["hit_rate"]:
        as_percent(axes.yaxis)
    heading(axes, f"{measure} on validation, trial by trial")
    tidy(axes)
    return figure


def _best_so_far(tried: Sequence[Tried]) -> list[float]:
    best, line = float("nan"), []
    for each in tried:
        if each.state == "complete" and each.value is not None and not best >= each.value:
            best = each.value
        line.append(best)
    return line
