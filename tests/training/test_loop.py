"""The training loop: it learns, stops early, refuses nonsense, and resumes bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinsage.config import TrainingConfig
from pinsage.errors import TrainingError
from pinsage.inference.local import embed_items
from pinsage.model.pinsage import PinSage
from pinsage.training.checkpoint import Checkpoints
from pinsage.training.loader import PairLoader
from pinsage.training.loop import EpochReport, Metrics, Trainer

MakeTrainer = Callable[..., Trainer]
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "patience": 3,
    "learning_rate": 0.02,
    "checkpoint_steps": 2,
}
# Losses of the first epochs, one torch thread. A change here means that the numbers of every
# trained model change: say so in the changelog, then write down the new ones.
GOLDEN = [0.1032517192, 0.0993328840, 0.0979706806]


@pytest.fixture
def validate(town: SimpleNamespace) -> Callable[[PinSage], Metrics]:
    """MRR of the later pairs among all items."""

    def measure(model: PinSage) -> Metrics:
        z = embed_items(model, town.features, town.table, block=64)
        scores = z[town.valid.query_row] @ z.T
        scores[np.arange(len(scores)), town.valid.query_row] = -np.inf
        of_positive = scores[np.arange(len(scores)), town.valid.positive_row]
        ranks = 1 + (scores > of_positive[:, None]).sum(axis=1)
        return {"mrr": float((1 / ranks).mean())}

    return measure


@pytest.fixture
def make_trainer(
    tmp_path: Path,
    make_model: Callable[..., PinSage],
    make_loader: Callable[..., PairLoader],
    validate: Callable[[PinSage], Metrics],
) -> MakeTrainer:
    """`make_trainer(folder="run", model_seed=0, validate=…, **settings)`."""

    def make(folder: str = "run", model_seed: int = 0, **changes: Any) -> Trainer:
        return Trainer(
            changes.pop("model", None) or make_model(model_seed),
            changes.pop("loader", None) or make_loader(),
            changes.pop("validate", validate),
            score="mrr",
            config=TrainingConfig(**{**SETTINGS, **changes}),
            seed=5,
            checkpoints=Checkpoints(tmp_path / folder),
        )

    return make


def scripted(scores: Iterable[float]) -> Callable[[PinSage], Metrics]:
    script = iter(scores)
    return lambda _: {"mrr": next(script)}


def weights_of(model: PinSage) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_weights(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def without_times(history: list[EpochReport]) -> list[EpochReport]:
    return [replace(report, seconds=0.0) for report in history]


def interrupt(monkeypatch: pytest.MonkeyPatch, loader: PairLoader, after: int) -> PairLoader:
    """The same loader, whose batch after the first `after` ones is Ctrl-C."""
    prepare, given = loader.filter_fn, iter(range(after))

    def counted(out: Any) -> Any:
        if next(given, None) is None:
            raise KeyboardInterrupt
        return prepare(out)

    monkeypatch.setattr(loader, "filter_fn", counted)
    return loader


def test_it_learns_a_planted_community(
    make_trainer: MakeTrainer, validate: Callable[[PinSage], Metrics]
) -> None:
    trainer = make_trainer(epochs=8, patience=8)
    before = validate(trainer.model)["mrr"]
    history = trainer.fit()
    after = validate(trainer.model)["mrr"]
    assert history[0].loss is not None
    assert history[-1].loss is not None
    assert history[-1].loss < 0.6 * history[0].loss
    # By chance, 1/49 · (1 + 1/2 + … + 1/49) = .09; within the right quarter .27 at random.
    assert after == max(report.metrics["mrr"] for report in history)
    assert before < 0.15
    assert after > 0.2


def test_losses_are_those_of_the_golden_curve(make_trainer: MakeTrainer) -> None:
    history = make_trainer().fit()
    assert [report.loss for report in history] == pytest.approx(GOLDEN, rel=1e-5)


def test_reports_count_steps_and_say_the_rate(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(epochs=2, decay=0.5)
    history = trainer.fit()
    steps = history[0].step
    assert [report.epoch for report in history] == [1, 2]
    assert history[1].step == 2 * steps
    assert history[0].learning_rate == pytest.approx(0.02)
    assert history[1].learning_rate == pytest.approx(0.02 * 0.5 ** ((steps - 1) / steps))


def test_two_runs_are_bitwise_the_same(make_trainer: MakeTrainer) -> None:
    first, second = make_trainer("first"), make_trainer("second")
    assert without_times(first.fit()) == without_times(second.fit())
    assert_same_weights(weights_of(first.model), weights_of(second.model))


def test_threads_leave_nothing_to_chance(
    make_trainer: MakeTrainer,
    make_model: Callable[..., PinSage],
    make_loader: Callable[..., PairLoader],
) -> None:
    torch.set_num_threads(2)
    weights = []
    for run in range(4):
        # Wide enough for torch to share out the gradients' sums among its threads.
        trainer = make_trainer(
            f"run {run}",
            epochs=8,
            model=make_model(output=512),
            loader=make_loader(batch_size=1000),
            validate=scripted(n / 10 for n in range(1, 9)),
        )
        trainer.fit()
        weights.append(weights_of(trainer.model))
    for other in weights[1:]:
        assert_same_weights(other, weights[0])


def test_workers_change_no_bit(
    make_trainer: MakeTrainer, make_loader: Callable[..., PairLoader]
) -> None:
    first = make_trainer("first", epochs=2)
    second = make_trainer("second", epochs=2, loader=make_loader(workers=1))
    first.fit()
    second.fit()
    assert_same_weights(weights_of(first.model), weights_of(second.model))


def test_minibatches_made_ahead_change_no_bit(
    make_trainer: MakeTrainer, make_loader: Callable[..., PairLoader]
) -> None:
    first = make_trainer("first", epochs=2)
    second = make_trainer("second", epochs=2, loader=make_loader(prefetch=2))
    first.fit()
    second.fit()
    assert_same_weights(weights_of(first.model), weights_of(second.model))


def test_bfloat16_learns_much_the_same_with_weights_and_embeddings_in_float32(
    make_trainer: MakeTrainer,
) -> None:
    trainers = [make_trainer(name, precision="bfloat16") for name in ("first", "second")]
    losses = [[report.loss for report in trainer.fit()] for trainer in trainers]
    assert losses[0] == losses[1] == pytest.approx(GOLDEN, rel=0.01)
    assert losses[0] != pytest.approx(GOLDEN, rel=1e-5)
    assert {value.dtype for value in trainers[0].model.parameters()} == {torch.float32}


@pytest.mark.parametrize("average", [0.0, 0.8])
@pytest.mark.parametrize("after", [0, 1, 3, 6, 8, 11, 13])
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted(
    make_trainer: MakeTrainer,
    make_loader: Callable[..., PairLoader],
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    average: float,
) -> None:
    whole = make_trainer("whole", average=average)
    assert len(make_loader()) == 6  # so that the interruptions fall on all sorts of steps
    history = whole.fit()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(loader=interrupt(monkeypatch, make_loader(), after), average=average).fit()
    # The checkpoint's weights count.
    resumed = make_trainer(model_seed=99 if after >= 2 else 0, average=average)
    assert without_times(resumed.fit()) == without_times(history)
    assert_same_weights(weights_of(resumed.model), weights_of(whole.model))
    assert resumed.progress.best_epoch == whole.progress.best_epoch


def test_the_average_is_what_is_measured_and_kept(
    make_trainer: MakeTrainer, validate: Callable[[PinSage], Metrics]
) -> None:
    plain, averaged = make_trainer("plain"), make_trainer("averaged", average=0.9)
    history = averaged.fit()
    # Training itself goes its way: the losses are those without an average.
    assert [r.loss for r in history] == [r.loss for r in plain.fit()]
    best = history[averaged.progress.best_epoch]
    assert validate(averaged.model) == best.metrics
    assert any(
        not torch.equal(value, plain.model.state_dict()[name])
        for name, value in averaged.model.state_dict().items()
    )


def test_a_finished_run_resumes_to_its_result_and_reports_again(make_trainer: MakeTrainer) -> None:
    first = make_trainer()
    history = first.fit()
    again, reports = make_trainer(model_seed=99), list[EpochReport]()
    assert again.fit(reports.append) == history == reports
    assert_same_weights(weights_of(again.model), weights_of(first.model))


def test_it_stops_after_its_patience_and_keeps_the_best_epochs_weights(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer(epochs=9, patience=2, validate=scripted([0.1, 0.3, 0.3, 0.2, 0.9, 0.9]))
    weights: list[dict[str, Tensor]] = []
    history = trainer.fit(lambda _: weights.append(weights_of(trainer.model)))
    assert len(history) == 4
    assert trainer.progress.best_epoch == 1
    assert_same_weights(weights_of(trainer.model), weights[1])


def test_patience_is_kept_over_a_resume(make_trainer: MakeTrainer) -> None:
    settings = {"epochs": 9, "patience": 2}

    def stop(report: EpochReport) -> None:
        if report.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(validate=scripted([0.1, 0.3, 0.2]), **settings).fit(stop)
    assert len(make_trainer(validate=scripted([0.2, 0.9]), **settings).fit()) == 4


@pytest.fixture
def poisoned(make_trainer: MakeTrainer) -> tuple[Trainer, Callable[[EpochReport], None]]:
    """A trainer, and an `on_epoch` that spoils a weight after the first epoch."""
    trainer = make_trainer()

    def poison(report: EpochReport) -> None:
        with torch.no_grad():
            trainer.model.head_output.weight[0, 0] = float("nan")

    return trainer, poison


def test_a_nan_loss_stops_training_and_writes_no_checkpoint(
    poisoned: tuple[Trainer, Callable[[EpochReport], None]], tmp_path: Path
) -> None:
    trainer, poison = poisoned
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 2, step 1; lower training"):
        trainer.fit(poison)
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == [
        "step-0000000004",
        "step-0000000006",
    ]
    latest = Checkpoints(tmp_path / "run").latest()
    assert latest is not None
    assert all(tensor.isfinite().all() for tensor in latest.tensors.values())


def test_a_gradient_that_is_not_finite_stops_training_before_it_is_applied(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer()
    trainer.model.head_output.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weights_of(trainer.model)
    with pytest.raises(TrainingError, match=r"gradient's norm became (inf|nan) in epoch 1, step 1"):
        trainer.fit()
    assert_same_weights(weights_of(trainer.model), before)


def test_a_validation_score_that_is_not_finite_stops_training(make_trainer: MakeTrainer) -> None:
    with pytest.raises(TrainingError, match="validation mrr became nan in epoch 2"):
        make_trainer(validate=scripted([0.1, float("nan")])).fit()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 0.01}, r"training\.learning_rate: 0\.02 in the checkpoint, 0\.01 now"),
        ({"epochs": 4}, r"training\.epochs: 3 in the checkpoint, 4 now"),
    ],
)
def test_a_resume_with_other_settings_is_refused(
    make_trainer: MakeTrainer, changes: dict[str, Any], named: str
) -> None:
    make_trainer().fit()
    with pytest.raises(TrainingError, match=named):
        make_trainer(**changes).fit()
    make_trainer(checkpoint_steps=5, checkpoints_kept=7).fit()


def test_a_resume_with_other_data_is_refused(
    make_trainer: MakeTrainer, make_loader: Callable[..., PairLoader], town: SimpleNamespace
) -> None:
    make_trainer().fit()
    usual = make_loader()
    heavier = replace(town.training, weight=np.full_like(town.training.weight, 2.0))
    loader = PairLoader(
        heavier, [town.table], town.features, usual.link_sampler, batch_size=32, seed=1
    )
    assert loader.digests()["features"] == usual.digests()["features"]
    with pytest.raises(TrainingError, match=r"another training: input pairs: \w{12} in the ch"):
        make_trainer(loader=loader).fit()
