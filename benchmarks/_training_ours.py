"""Our training step, and the same model as plain PyG, over the problem of a folder.

    python benchmarks/_training_ours.py VARIANT FOLDER

Variants: `float32`, `bfloat16`, `compiled`, `ids` (float32 with a vector an item), `pyg`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from _training_problem import Clock, Size, open_problem, peak_mib, serve
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch_frame.data import TensorFrame

from pinsage.config import ModelConfig, NegativesConfig, TrainingConfig
from pinsage.data.pairs import Pairs
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.model.features import FeatureSpec
from pinsage.model.pinsage import Nodes, PinSage
from pinsage.training.loader import PairLoader
from pinsage.training.memory import keep_few_products, kept_memory
from pinsage.training.negatives import SharedNegatives
from pinsage.training.objective import autocast, loss_of
from pinsage.training.pairs import TrainingPairs
from pinsage.training.sampler import NeighbourhoodSampler

_CPU = torch.device("cpu")


class OurStep:
    """The loop's step, timed by part."""

    def __init__(self, variant: str, size: Size, of: dict[str, Any]) -> None:
        self.size, spec, self.features = size, *features_of(of)
        self.config = TrainingConfig(
            precision="bfloat16" if variant == "bfloat16" else "float32", batch_size=size.pairs
        )
        keep_few_products()
        torch.manual_seed(0)
        model = ModelConfig(
            hidden=size.hidden, output=size.output, feature_channels=size.channels,
            id_embedding=variant == "ids",
        )  # fmt: skip
        self.model = PinSage(model, spec, size.items)
        self.forward: Any = torch.compile(self.model) if variant == "compiled" else self.model
        self.loader = loader_of(size, of, self.features)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.order = _forever(self.loader)

    def step(self) -> dict[str, float]:
        """Seconds by part, nodes and entries of the table."""
        order, clock = next(self.order), Clock()
        sample = self.loader.collate_fn(order)
        clock.lap("sample")
        batch = self.loader.filter_fn(sample)
        clock.lap("gather")
        self.learn(batch, clock)
        nodes = batch.nodes
        return {**clock.parts, "nodes": len(nodes.rows_S), "edges": nodes.neighbors_BT.numel()}

    def learn(self, batch: Any, clock: Clock) -> None:
        """What the loop does with a batch."""
        with autocast(_CPU, self.config.precision):
            z = self.forward(batch.nodes, 1)
        loss = loss_of(z, batch, self.config, self.model.query)
        clock.lap("forward")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        clock.lap("backward")
        self.optimizer.step()
        clock.lap("optimiser")

    def epoch(self, ahead: int, steps: int = 3) -> dict[str, float]:
        """Seconds a step, and of them those that the step waits, with batches made ahead."""
        self.loader.begin(0)
        self.loader.prefetch, waited = ahead, 0.0
        started = time.perf_counter()
        with self.loader.batches(_CPU) as batches:
            for _ in range(steps):
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                self.learn(batch, Clock())
        return {"step": (time.perf_counter() - started) / steps, "waited": waited / steps}

    def floor(self) -> dict[str, float]:
        """FLOP of the matrix products of a step, and bytes that it gathers."""
        batch = self.loader.filter_fn(self.loader.collate_fn(next(self.order)))
        with FlopCounterMode(display=False) as counter:
            self.learn(batch, Clock())
        width, size = self.size.hidden, 2 if self.config.precision == "bfloat16" else 4
        entries = sum(int((t >= 0).sum()) for t in _tables(batch.nodes))
        read = 2 * entries * width * size  # by the pooling and by its gradient
        read += len(batch.nodes.rows_S) * (self.size.features + 1) * 4
        return {"flop": counter.get_total_flops(), "bytes": read}

    def rate(self) -> float:
        """FLOP a second of a large matrix product."""
        return _rate(self.config.precision)


class PyGStep(OurStep):
    """The same model along `edge_index`: distinct nodes by `unique`, messages by scatter."""

    def __init__(self, variant: str, size: Size, of: dict[str, Any]) -> None:
        super().__init__(variant, size, of)
        self.neighbors, self.weights = (torch.from_numpy(of[n]) for n in ("neighbors", "weights"))

    def step(self) -> dict[str, float]:
        """Seconds by part, nodes and edges."""
        order, clock = torch.tensor(next(self.order)), Clock()
        pairs = self.loader.input_data
        drawn = torch.randperm(self.size.items)[: self.size.negatives]
        parts = (pairs.row[order], pairs.col[order], drawn)
        rows, places = torch.cat(parts).unique(return_inverse=True)
        ends, hops = [len(rows)], list[tuple[Tensor, Tensor]]()
        for _ in range(2):
            rows, edge_index, weight = self._hop(rows)
            ends.append(len(rows))
            hops.insert(0, (edge_index, weight))
        clock.lap("sample")
        features = self.features[rows]
        clock.lap("gather")
        h = self.model.encoder(features, rows)
        for conv, hop, count in zip(self.model.layers, hops, ends[-2::-1], strict=True):
            h = conv((h, h[:count]), *hop)
        z = self.model.head(h)
        query, positive, negative = (z[p] for p in places.split([len(p) for p in parts]))
        loss = F.relu(query @ negative.T - (query * positive).sum(1, keepdim=True) + 0.1).mean()
        clock.lap("forward")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        clock.lap("backward")
        self.optimizer.step()
        clock.lap("optimiser")
        return {**clock.parts, "nodes": len(rows), "edges": hops[0][1].numel()}

    def _hop(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rows with their new neighbours behind them, edges to the rows, weights of those."""
        near = self.neighbors[rows]
        target, slot = (near >= 0).nonzero(as_tuple=True)
        source = near[target, slot].long()
        met = source.unique()
        nodes = torch.cat([rows, met[~torch.isin(met, rows)]])
        order = nodes.argsort()
        local = order[torch.searchsorted(nodes[order], source)]
        return nodes, torch.stack([local, target]), self.weights[rows][target, slot]


def features_of(of: dict[str, Any]) -> tuple[FeatureSpec, TensorFrame]:
    items = pd.DataFrame({"vector": list(of["vectors"])})
    kinds: dict[str, Any] = {"vector": "embedding"}
    spec = FeatureSpec.fit(items, of["degree"], kinds, separator="|", text_buckets=8)
    return spec, spec.transform(items, of["degree"])


def loader_of(size: Size, of: dict[str, Any], features: TensorFrame) -> PairLoader:
    table = Neighbourhoods(of["neighbors"], of["weights"])
    pairs = Pairs(np.zeros(len(of["query"]), dtype=np.int32), of["query"], of["positive"])
    config = NegativesConfig(shared=size.negatives)
    negatives = SharedNegatives.of(of["degree"], pairs.positive_row, config, seed=1)
    sampler = NeighbourhoodSampler(table, hops=2, negatives=negatives)
    training = TrainingPairs(pairs, np.ones(len(pairs), dtype=np.float32))
    return PairLoader(training, [table], features, sampler, batch_size=size.pairs, seed=1)


def _tables(nodes: Nodes) -> list[Tensor]:
    return [nodes.neighbors_BT[:count] for count in nodes.num_targets]


def _forever(loader: PairLoader) -> Iterator[list[int]]:
    while True:
        order = iter(loader.order)
        while batch := list(islice(order, loader.batch_size)):
            yield batch


def _rate(precision: str) -> float:
    left = torch.randn(4096, 4096)
    left = left.bfloat16() if precision == "bfloat16" else left
    seconds = []
    for _ in range(4):
        started = time.process_time()
        left @ left
        seconds.append(time.process_time() - started)
    return float(2 * 4096**3 / np.median(seconds[1:]))


def main() -> None:
    """Serve steps of a variant over the problem of a folder."""
    variant, folder = sys.argv[1:3]
    step = (PyGStep if variant == "pyg" else OurStep)(variant, *open_problem(Path(folder)))
    answers: dict[str, Callable[[], Any]] = {
        "step": step.step,
        "floor": step.floor,
        "rate": step.rate,
        "ahead 0": lambda: step.epoch(0),
        "ahead 2": lambda: step.epoch(2),
        "peak": peak_mib,
    }
    with kept_memory():  # as training does; without effect where the environment tunes glibc
        serve(answers)


if __name__ == "__main__":
    main()
