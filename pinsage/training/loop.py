"""The training loop: steps, validation each epoch, early stopping, exact resume.

Everything random in a step is a pure function of (seed, epoch, step), so a checkpoint needs no
generator's state, and a resumed run takes the same steps as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import isfinite
from time import monotonic

import torch
from torch import Tensor
from tqdm import tqdm

from pinsage.config import TrainingConfig
from pinsage.errors import TrainingError
from pinsage.model.pinsage import PinSage
from pinsage.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    pack_optimizer,
    unpack_optimizer,
)
from pinsage.training.loader import MiniBatch, PairLoader
from pinsage.training.objective import autocast, loss_of
from pinsage.training.schedule import learning_rate

Metrics = dict[str, float]


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to; `step` counts all steps so far, `loss` is the epoch's mean."""

    epoch: int
    step: int
    loss: float
    metrics: Metrics
    learning_rate: float
    seconds: float


@dataclass
class Progress:
    """Where training stands; together with the weights, all that a resume needs."""

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


class Trainer:
    """Trains a model; afterwards the model holds the best epoch's weights.

    Args:
        model: on the device to train on
        loader: minibatches of pairs
        validate: metrics of the current weights
        score: the metric that chooses the epoch
        config: see `TrainingConfig`
        seed: of the dropout
        checkpoints: where to save, and to resume from
    """

    def __init__(
        self,
        model: PinSage,
        loader: PairLoader,
        validate: Callable[[PinSage], Metrics],
        *,
        score: str,
        config: TrainingConfig,
        seed: int,
        checkpoints: Checkpoints,
    ) -> None:
        self.model = model
        self.progress = Progress()
        self._loader = loader
        self._validate = validate
        self._score = score
        self._config = config
        self._seed = seed
        self._checkpoints = checkpoints
        self._device = next(model.parameters()).device
        self._epoch_steps = len(loader)
        self._best: dict[str, Tensor] = {}
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,  # one pass over the parameters instead of a dozen
        )

    def fit(self, on_epoch: Callable[[EpochReport], None] | None = None) -> list[EpochReport]:
        """Train from the last checkpoint, or from the start; returns a report an epoch.

        Epochs finished before a resume are reported to `on_epoch` again, so that a curve drawn
        from the reports is whole. Raises TrainingError where the loss, its gradient
        or the validation score is not finite.
        """
        self._resume()
        report = on_epoch or (lambda _: None)
        for done in self.progress.history:
            report(done)
        while not self._is_finished():
            self._run_epoch()
            report(self.progress.history[-1])
        self.model.load_state_dict(self._best)
        return self.progress.history

    def _is_finished(self) -> bool:
        progress = self.progress
        stale = progress.epoch - 1 - progress.best_epoch
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
                initial=progress.step, unit="step", leave=False, disable=None,
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

    def _step(self, batch: MiniBatch) -> float:
        progress = self.progress
        number = progress.epoch * self._epoch_steps + progress.step
        rate = self._rate(number)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        generator = torch.Generator(self._device).manual_seed(self._seed * 1_000_003 + number)
        with autocast(self._device, self._config.precision):
            z = self.model(batch.nodes, generator)
        loss = loss_of(z, batch, self._config)
        self._check("loss", loss.item())
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.clip)
        self._check("gradient's norm", norm.item())
        self._optimizer.step()
        return loss.item()

    def _check(self, name: str, value: float) -> None:
        if not isfinite(value):
            raise TrainingError(
                f"the {name} became {value} in epoch {self.progress.epoch + 1}, step "
                f"{self.progress.step + 1}; lower training.learning_rate (now "
                f"{self._config.learning_rate}), or look for extreme feature values"
            )

    def _finish_epoch(self) -> None:
        progress = self.progress
        self.model.eval()
        metrics = self._validate(self.model)
        self._check(f"validation {self._score}", metrics[self._score])
        if metrics[self._score] > progress.best_score:
            progress.best_score, progress.best_epoch = metrics[self._score], progress.epoch
            self._best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        total = (progress.epoch + 1) * self._epoch_steps
        progress.history.append(
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

    def _rate(self, step: int) -> float:
        config = self._config
        return learning_rate(
            step, peak=config.learning_rate, epoch_steps=self._epoch_steps, decay=config.decay
        )

    def _save(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self._best.items()}
        tensors |= pack_optimizer(self._optimizer)
        step = self.progress.epoch * self._epoch_steps + self.progress.step
        self._checkpoints.save(step, Checkpoint(tensors, asdict(self.progress)))

    def _resume(self) -> None:
        checkpoint = self._checkpoints.latest()
        if checkpoint is None:
            return
        self.progress = Progress.from_dict(checkpoint.state)
        self.model.load_state_dict(_below("model.", checkpoint.tensors))
        self._best = _below("best.", checkpoint.tensors)
        unpack_optimizer(self._optimizer, checkpoint.tensors)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
