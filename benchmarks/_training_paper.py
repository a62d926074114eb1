"""The paper's own iteration (§4.5): on a GPU in earnest, on a CPU with tiny sizes as an exercise.

Features 4,353 wide (visual 4,096, text 256, log degree), m = 2,048, d = 1,024, T = 50, 2,048 pairs.
Other than the paper's, the graph is one that fits the machine: 200,000 items, of which a minibatch
reaches nearly all.

Shapes: S nodes of a minibatch, B targets of a layer, D width.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from _timing import print_table
from _training_ours import features_of, loader_of
from _training_problem import Size, open_problem, write_problem
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from torch_frame import embedding, numerical

from pinsage.config import TrainingConfig
from pinsage.model.conv import PinSageConv
from pinsage.model.pinsage import Nodes
from pinsage.training.loader import MiniBatch, PairLoader
from pinsage.training.objective import autocast, loss_of

_PAPER_MS = 1_350.0
_EARNEST = Size(200_000, features=4_352, hidden=2_048, output=1_024, steps=64)
_TINY = Size(
    500, pairs=32, negatives=20, neighbours=5, features=16, hidden=32, output=8, walks=20, steps=8
)


class PaperModel(nn.Module):
    """Two convolutions straight on the features, and the head: d wide from the first on."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        wide, m, d = size.features + 1, size.hidden, size.output
        self.convs = nn.ModuleList([PinSageConv(wide, m, d), PinSageConv(d, m, d)])
        self.head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d, bias=False))

    def forward(self, nodes: Nodes) -> Tensor:
        """Embeddings of the last layer's targets."""
        columns = nodes.features.feat_dict
        h_SD = torch.cat([columns[embedding].values, columns[numerical]], dim=1)
        for conv, count in zip(self.convs, nodes.num_targets, strict=True):
            table = nodes.neighbors_BT[:count], nodes.weights_BT[:count]
            h_SD = cast("PinSageConv", conv).forward_table(h_SD, h_SD[:count], *table)
        return F.normalize(self.head(h_SD).float(), dim=1)


class Iteration:
    """Forward, backward and Adam on a device."""

    def __init__(self, size: Size, precision: str, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.config = TrainingConfig.model_validate({"precision": precision})
        self.model = PaperModel(size).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def __call__(self, batch: MiniBatch) -> None:
        """One of them; waits for the device, as the training loop does to look at the loss."""
        with autocast(self.device, self.config.precision):
            z = self.model(batch.nodes)
        loss = loss_of(z, batch, self.config, torch.nn.Identity())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        loss.item()


def paper_iteration() -> None:
    """Print milliseconds of an iteration beside the paper's and the floors."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = _EARNEST if device.type == "cuda" else _TINY
    with tempfile.TemporaryDirectory() as folder:
        write_problem(size, Path(folder))
        size, of = open_problem(Path(folder))
    loader = loader_of(size, of, features_of(of)[1])
    rows = [_row(size, loader, precision, device) for precision in ("float32", "bfloat16")]
    columns = (
        "precision", "ms", "× faster than the paper", "% idle", "% waiting for a batch",
        "GFLOP", "floor ms", "gathered GB", "peak GiB",
    )  # fmt: skip
    title = f"{size.pairs} pairs, m = {size.hidden}, d = {size.output}, {size.items} items"
    print_table(f"The paper's iteration on {device}: {title}", columns, rows)


def _row(size: Size, loader: PairLoader, precision: str, device: torch.device) -> tuple[Any, ...]:
    step, steps = Iteration(size, precision, device), size.steps - 4
    loader.prefetch = 2
    loader.begin(0)
    with loader.batches(device) as batches:
        batch = next(batches)
        with FlopCounterMode(display=False) as counter:
            step(batch)
        for batch in islice(batches, 1):
            step(batch)
        kinds = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]
        with profile(activities=kinds) as profiled:
            started, waited = time.perf_counter(), 0.0
            for batch, wait in _timed(islice(batches, steps)):
                waited += wait
                step(batch)
            seconds = time.perf_counter() - started
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiled.events() or []
        if event.device_type.name == device.type.upper()
    ]
    flop = counter.get_total_flops()
    entries = sum(batch.nodes.neighbors_BT[:count].numel() for count in batch.nodes.num_targets)
    gathered = len(batch.nodes.rows_S) * (size.features + 1) * 4 + 2 * entries * size.hidden * (
        2 if precision == "bfloat16" else 4
    )
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    each = 1000 * seconds / steps
    return (
        precision, each, _PAPER_MS / each if device.type == "cuda" else "a toy",
        100 * (1 - covered(spans) / 1e6 / seconds), 100 * waited / seconds,
        flop / 1e9, 1000 * flop / _rate(precision, device), gathered / 1e9, peak,
    )  # fmt: skip


def _timed(batches: Iterable[MiniBatch]) -> Iterator[tuple[MiniBatch, float]]:
    """Each with the seconds that were waited for it."""
    asked = time.perf_counter()
    for batch in batches:
        yield batch, time.perf_counter() - asked
        asked = time.perf_counter()


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals: the time in which anything at all ran."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _rate(precision: str, device: torch.device) -> float:
    width = 8192 if device.type == "cuda" else 512
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left = torch.randn(width, width, device=device, dtype=dtype)
    for repeats in (1, 4):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            product = left @ left
        product[0, 0].item()
    return float(2 * width**3 * repeats / (time.perf_counter() - started))
