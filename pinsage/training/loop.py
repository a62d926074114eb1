"""The training loop: steps, validation each epoch, early stopping, exact resume.

Everything random in a step is a pure function of (seed, epoch, step), so a checkpoint needs no
generator's state, and a resumed run takes the same steps as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from math import isfinite
from time import monotonic
from typing import cast

import torch
from torch import Tensor
from tqdm import tqdm

from pinsage.config import CHANGES_NO_WEIGHT, TrainingConfig
from pinsage.errors import TrainingError
from pinsage.model.pinsage import PinSage
from pinsage.store import digest_of
from pinsage.training.average import average_of
from pinsage.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    pack_optimizer,
    unpack_optimizer,
)
from pinsage.training.loader import MiniBatch, PairLoader
from pinsage.training.objective import autocast, loss_of
from pinsage.training.origin import Origin
from pinsage.training.queries import QueryBatch, QueryLoader
from pinsage.training.schedule import learning_rate, peak_rate
from pinsage.training.team import Team

Metrics = dict[str, float]
_ALONE = Team()
_MODEL, _AVERAGE = "model.", "average."


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to; `step` counts all steps so far, `loss` is the epoch's mean.

    Epoch 0 is the start of a warm start, before any step: it has no loss.
    """

    epoch: int
    step: int
    loss: float | None
    metrics: Metrics
    learning_rate: float
    seconds: float


@dataclass
class Progress:
    """Where training stands; together with the weights, all that a resume needs.

    `best_epoch` is a place in `history`, -1 before the first validation.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_epoch: int = -1
    best_score: float = -1.0
    seconds: float = 0.0
    history: list[EpochReport] = field(default_factory=list)

    @classmethod
    def from_dict(cls, state: dict[str, object]) -> Progress:
        """Inverse of `dataclasses.asdict`."""
        progress = cls(**state)  # type: ignore[arg-type]
        progress.history = [EpochReport(**report) for report in progress.history]  # type: ignore[arg-type]
        return progress

    @property
    def best(self) -> EpochReport | None:
        """The best epoch's report; its `step` is that of the checkpoint with its weights."""
        return self.history[self.best_epoch] if self.best_epoch >= 0 else None


class Trainer:
    """Trains a model; afterwards the leader's model holds the best epoch's weights.

    Args:
        model: on the device to train on
        loader: minibatches of pairs, or of queries
        validate: metrics of the current weights
        score: the metric that chooses the epoch
        config: see `TrainingConfig`
        seed: of the dropout
        checkpoints: where to save, and to resume from
        origin: what the checkpoints are made with; by default what the other arguments tell of it
        is_warm: whether the model has learnt already: it is then measured before the first epoch,
            and what it scores is to be bettered
        team: whom it trains with; all but its leader measure, write and report nothing
    """

    def __init__(
        self,
        model: PinSage,
        loader: PairLoader | QueryLoader,
        validate: Callable[[PinSage], Metrics],
        *,
        score: str,
        config: TrainingConfig,
        seed: int,
        checkpoints: Checkpoints,
        origin: Origin | None = None,
        is_warm: bool = False,
        team: Team = _ALONE,
    ) -> None:
        self.model = model
        self._is_warm = is_warm
        self._team = team
        self._replica = team.replicate(model)
        self._average = average_of(model, config.average) if team.leads else None
        self.progress = Progress()
        self._loader = loader
        self._validate = validate
        self._score = score
        self._config = config
        self._seed = seed
        self._checkpoints = checkpoints
        self._device = next(model.parameters()).device
        self._epoch_steps = len(loader)
        self._origin = origin or origin_of(model, loader, config, seed)
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,  # one pass over the parameters instead of a dozen
        )

    def fit(self, on_epoch: Callable[[EpochReport], None] | None = None) -> list[EpochReport]:
        """Train from the last checkpoint, or from the start; returns a report an epoch.

        Epochs finished before a resume are reported to `on_epoch` again, so that a curve drawn
        from the reports is whole. Raises TrainingError where the loss, its gradient or the
        validation score is not finite, and where the checkpoints are of another training.
        """
        self._resume()
        self._team.require_same(self._steps_done(), self._device)
        if self._is_warm and not self.progress.history:
            self._measure_start()
        report = on_epoch or (lambda _: None)
        for done in self.progress.history:
            report(done)
        while not self._is_finished():
            self._run_epoch()
            report(self.progress.history[-1])
        if self._team.leads:
            self._take_best()
        return self.progress.history

    def _is_finished(self) -> bool:
        progress = self.progress
        stale = len(progress.history) - 1 - progress.best_epoch
        return progress.epoch >= self._config.epochs or (
            progress.best_epoch >= 0 and stale >= self._config.patience
        )

    def _run_epoch(self) -> None:
        progress, started, steps = self.progress, monotonic(), self._epoch_steps
        before = progress.seconds
        self._loader.begin(progress.epoch, step=progress.step)
        self.model.train()
        with self._loader.batches(self._device) as batches:
            bar = tqdm(
                batches, desc=f"epoch {progress.epoch + 1}", total=steps,
                initial=progress.step, unit="step", leave=False,
                disable=None if self._team.leads else True,
            )  # fmt: skip
            for batch in bar:
                progress.loss_sum += self._step(batch)
                progress.step += 1
                bar.set_postfix(loss=f"{progress.loss_sum / progress.step:.4f}", refresh=False)
                progress.seconds = before + monotonic() - started
                # The last step's checkpoint is the epoch's, which knows the validation as well.
                if progress.step % self._config.checkpoint_steps == 0 and progress.step < steps:
                    self._save()
        self._finish_epoch()

    def _step(self, batch: MiniBatch | QueryBatch) -> float:
        number = self._steps_done()
        rate = self._rate(number)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with autocast(self._device, self._config.precision):
            z = self._replica(batch.nodes, self._seed * 1_000_003 + number)
        part = loss_of(z, batch, self._config, self.model.query)
        loss = self._team.total(part.detach()).item()
        self._check("loss", loss)
        self._optimizer.zero_grad(set_to_none=True)
        (part * self._team.size).backward()  # replicas' gradients are averaged, and parts add up
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.clip)
        self._check("gradient's norm", norm.item())
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self.model)
        return loss

    def _check(self, name: str, value: float) -> None:
        if not isfinite(value):
            raise TrainingError(
                f"the {name} became {value} in epoch {self.progress.epoch + 1}, step "
                f"{self.progress.step + 1}; lower training.learning_rate (now "
                f"{self._config.learning_rate}), or look for extreme feature values"
            )

    def _finish_epoch(self) -> None:
        progress = self.progress
        metrics = self._measure()
        total = (progress.epoch + 1) * self._epoch_steps
        self._note(
            EpochReport(
                epoch=progress.epoch + 1,
                step=total,
                loss=progress.loss_sum / max(progress.step, 1),
                metrics=metrics,
                learning_rate=self._rate(total - 1),
                seconds=round(progress.seconds, 3),
            )
        )
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.loss_sum, progress.seconds = 0.0, 0.0
        self._save()

    def _measure_start(self) -> None:
        metrics = self._measure()
        self._note(EpochReport(0, 0, None, metrics, learning_rate=0.0, seconds=0.0))
        self._save()

    def _note(self, report: EpochReport) -> None:
        progress, score = self.progress, report.metrics[self._score]
        if score > progress.best_score:
            progress.best_score, progress.best_epoch = score, len(progress.history)
        progress.history.append(report)

    def _measure(self) -> Metrics:
        """The leader's metrics; the others know the score alone, which is all they go by."""
        self.model.eval()
        metrics = {self._score: 0.0}
        if self._team.leads:
            metrics = self._validate(self._measured())
        score = self._team.led(metrics[self._score], self._device)
        self._check(f"validation {self._score}", score)
        return {**metrics, self._score: score}

    def _measured(self) -> PinSage:
        if self._average is not None:
            return cast("PinSage", self._average.module.eval())
        # A replica's parameters must stay where they are, and validation moves the model.
        return self.model if self._team.size == 1 else deepcopy(self.model)

    def _rate(self, step: int) -> float:
        config = self._config
        return learning_rate(
            step, peak=peak_rate(config), epoch_steps=self._epoch_steps, decay=config.decay
        )

    def _save(self) -> None:
        if not self._team.leads:
            return
        progress, best = self.progress, self.progress.best
        tensors = {f"{_MODEL}{k}": v for k, v in self.model.state_dict().items()}
        tensors |= pack_optimizer(self._optimizer)
        if self._average is not None:
            tensors |= {f"{_AVERAGE}{k}": v for k, v in self._average.state_dict().items()}
        kept = best.step if best else None
        made = Checkpoint(tensors, asdict(progress), kept, self._origin.tree)
        self._checkpoints.save(self._steps_done(), made)

    def _steps_done(self) -> int:
        return self.progress.epoch * self._epoch_steps + self.progress.step

    def _resume(self) -> None:
        checkpoint = self._checkpoints.latest()
        if checkpoint is None:
            return
        self._origin.require(checkpoint.origin, self._checkpoints.folder)
        self.progress = Progress.from_dict(checkpoint.state)
        self.model.load_state_dict(_under(_MODEL, checkpoint))
        if self._average is not None:
            self._average.load_state_dict(_under(_AVERAGE, checkpoint))
        unpack_optimizer(self._optimizer, checkpoint.tensors)

    def _take_best(self) -> None:
        best = self.progress.history[self.progress.best_epoch]
        checkpoint = self._checkpoints.of_step(best.step)
        prefix = _MODEL if self._average is None else f"{_AVERAGE}module."
        self.model.load_state_dict(_under(prefix, checkpoint))


def origin_of(
    model: PinSage, loader: PairLoader | QueryLoader, config: TrainingConfig, seed: int
) -> Origin:
    """What can be told of a training by its parts: sizes, settings, and the data's digests."""
    settings = {
        "training": config.model_dump(exclude=set(CHANGES_NO_WEIGHT)),
        "model": model.config.model_dump(),
        "seed": seed,
    }
    return Origin(settings, {**loader.digests(), "columns": digest_of(model.spec.to_dict())})


def _under(prefix: str, checkpoint: Checkpoint) -> dict[str, Tensor]:
    tensors = checkpoint.tensors
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
