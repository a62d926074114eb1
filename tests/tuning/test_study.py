"""A study's memory: the same settings however often it is killed, and equal budgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinsage.config import Config
from pinsage.errors import AbandonedError, TrainingError
from pinsage.tuning.space import Space, Values
from pinsage.tuning.study import Attempt, Study, open_study


@pytest.fixture
def space(tiny_config: Config) -> Space:
    return Space.of(tiny_config)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tuning" / "films.db"


def score(attempt: Attempt) -> float:
    """Better with a higher learning rate: something to find."""
    return min(1.0, 50 * attempt.config.training.learning_rate)


def finish(study: Study, budget: int) -> list[Values]:
    done = []
    for attempt in study.attempts(budget):
        study.complete(attempt, score(attempt), epochs=2, seconds=1.0)
        done.append(attempt.settings)
    return done


def test_the_first_trial_is_the_base_itself(file: Path, space: Space, tiny_config: Config) -> None:
    with open_study(file, "a", space) as study:
        attempt = next(study.attempts(1))
        assert attempt.config == tiny_config
        assert attempt.name == "trial 1"


def test_the_seed_decides_and_stopping_between_trials_changes_nothing(
    file: Path, space: Space, tmp_path: Path
) -> None:
    with open_study(file, "a", space) as study:
        straight = finish(study, 13)
    stopped = []
    for budget in (1, 4, 11, 13):
        with open_study(tmp_path / "other" / "b.db", "b", space) as study:
            stopped += finish(study, budget)
    assert stopped == straight
    assert len({str(settings) for settings in straight}) == 13


def test_a_finished_budget_asks_for_nothing_more_and_a_larger_one_continues(
    file: Path, space: Space
) -> None:
    with open_study(file, "a", space) as study:
        assert len(finish(study, 3)) == 3
        assert finish(study, 3) == []
        assert len(finish(study, 5)) == 2
        assert [each.number for each in study.tried()] == [1, 2, 3, 4, 5]


def test_a_killed_trial_is_tried_again_first_and_costs_no_budget(
    file: Path, space: Space, caplog: pytest.LogCaptureFixture
) -> None:
    with open_study(file, "a", space) as study:
        finish(study, 2)
        left = next(study.attempts(3)).settings  # and the process is gone
    with open_study(file, "a", space) as study:
        assert [each.number for each in study.tried()] == [1, 2]
        again = finish(study, 3)
        assert again == [left]
        assert [each.number for each in study.tried()] == [1, 2, 4]
    assert "trial 3 was killed; its settings are tried again" in caplog.text


def test_settings_that_cannot_be_trained_with_cost_budget_and_are_not_tried_again(
    file: Path, space: Space
) -> None:
    with open_study(file, "a", space) as study:
        for attempt in study.attempts(2):
            study.fail(attempt, TrainingError("the loss became nan"), seconds=2.0)
        assert [(each.state, each.error) for each in study.tried()] == [
            ("failed", "the loss became nan")
        ] * 2
        with pytest.raises(TrainingError, match=r"none of 2 trials .* \(the last: the loss became"):
            study.best()


def test_a_trial_below_the_median_is_given_up_but_not_before_there_is_a_median(
    file: Path, space: Space
) -> None:
    with open_study(file, "a", space) as study:
        for number, attempt in enumerate(study.attempts(5)):
            for epoch in (1, 2, 3):
                attempt.after_epoch(epoch, 0.3 + 0.01 * number)  # the worst first: none is pruned
            study.complete(attempt, 0.3 + 0.01 * number, epochs=3, seconds=1.0)
        bad = next(study.attempts(6))
        bad.after_epoch(1, 0.1)  # the first epoch is warm-up
        with pytest.raises(AbandonedError, match="trial 6: below the median after epoch 2"):
            bad.after_epoch(2, 0.1)
        study.prune(bad, seconds=1.0)
        last = study.tried()[-1]
        assert (last.state, last.value, last.epochs) == ("pruned", 0.1, 2)
        assert study.best().number == 5


def test_another_study_in_the_same_file_is_its_own(file: Path, space: Space) -> None:
    with open_study(file, "a", space) as study:
        finish(study, 2)
    with open_study(file, "b", space) as study:
        assert study.tried() == []


def test_the_best_is_the_first_of_the_highest(file: Path, space: Space) -> None:
    with open_study(file, "a", space) as study:
        for attempt in study.attempts(3):
            study.complete(attempt, 0.5, epochs=1, seconds=1.0)
        assert study.best().number == 1
