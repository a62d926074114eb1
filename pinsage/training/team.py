"""Processes that train one model together: synchronous SGD over equal parts (PinSage §3.3).

A step's pairs, their negatives and what is hidden are the same for any number of processes; each
takes an equal, contiguous part of the pairs, and the gradient is that of the mean over all of them.
A team of one needs no other process, and no torch.distributed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pinsage.errors import TrainingError
from pinsage.model.pinsage import Nodes, PinSage

Replica = Callable[[Nodes, int], Tensor]
# Others wait this long for the leader, which validates alone; a process that dies is noticed
# at once by whoever started it.
LONGEST_WAIT = timedelta(hours=2)


@dataclass(frozen=True)
class Team:
    """This process's place among `size`; the process group is up where there are several."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process validates, writes and reports."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's share of `count` pairs; sizes differ by at most one, and may be 0."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def replicate(self, model: PinSage) -> Replica:
        """The model, whose gradients come out as the mean over the team's."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the team."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def led(self, value: float, device: torch.device) -> float:
        """The leader's value."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(told, 0)
        return float(told.item())

    def require_same(self, step: int, device: torch.device) -> None:
        """Wait for all; raise TrainingError unless they are at the leader's step."""
        lead = int(self.led(step, device))
        wrong = torch.tensor(float(lead != step), device=device)
        if self.total(wrong).item():
            raise TrainingError(
                f"process {self.rank} of {self.size} resumes at step {step}, and process 0 at "
                f"{lead}: `root` must be one folder that all hosts share"
            )
