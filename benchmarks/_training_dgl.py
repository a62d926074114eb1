"""The step in DGL, as its users would write it: walks, blocks, `update_all`. Runs where DGL is.

python benchmarks/_training_dgl.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dgl  # type: ignore[import-not-found,unused-ignore]
import dgl.function as fn  # type: ignore[import-not-found,unused-ignore]
import torch
import torch.nn.functional as F
from _training_problem import Clock, Size, open_problem, peak_mib, serve
from torch import Tensor, nn


class Conv(nn.Module):
    """Algorithm 1 over a block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Linear(width, width)
        self.both = nn.Linear(2 * width, width)

    def forward(self, block: Any, h: Tensor) -> Tensor:
        """From the block's sources to its targets."""
        with block.local_scope():
            block.srcdata["n"] = F.relu(self.near(h))
            block.update_all(fn.u_mul_e("n", "weights", "m"), fn.sum("m", "pooled"))
            block.update_all(fn.copy_e("weights", "m"), fn.sum("m", "total"))
            pooled = block.dstdata["pooled"] / block.dstdata["total"].clamp(min=1)
            both = torch.cat([h[: block.num_dst_nodes()], pooled], 1)
            return F.normalize(F.relu(self.both(both)), dim=1)


class Model(nn.Module):
    """Encoder, two convolutions, head: the sizes of ours."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.columns = nn.Linear(size.features + 1, 2 * size.channels)
        self.encode = nn.Linear(2 * size.channels, size.hidden)
        self.convs = nn.ModuleList([Conv(size.hidden), Conv(size.hidden)])
        self.hidden = nn.Linear(size.hidden, size.hidden)
        self.output = nn.Linear(size.hidden, size.output, bias=False)

    def forward(self, blocks: list[Any], x: Tensor) -> Tensor:
        """Embeddings of the last block's targets."""
        h = self.encode(self.columns(x))
        for conv, block in zip(self.convs, blocks, strict=True):
            h = conv(block, h)
        return F.normalize(self.output(F.relu(self.hidden(h))), dim=1)


def main() -> None:
    """Serve steps over the problem of a folder."""
    size, of = open_problem(Path(sys.argv[1]))
    item, context = (torch.from_numpy(of[name]) for name in ("item_row", "context_row"))
    graph = dgl.heterograph(
        {("item", "in", "context"): (item, context), ("context", "has", "item"): (context, item)}
    )
    sampler = dgl.sampling.PinSAGESampler(
        graph, "item", "context", 3, 0.5, size.walks, size.neighbours
    )
    vectors = torch.from_numpy(of["vectors"])
    log_degree = torch.from_numpy(of["degree"]).log1p().float().unsqueeze(1)
    x = torch.cat([vectors, log_degree], 1)
    model = Model(size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = _batches(size, of)
    serve({"step": lambda: _step(next(batches), sampler, x, model, optimizer), "peak": peak_mib})


def _batches(size: Size, of: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    query, positive = (torch.from_numpy(of[n]).split(size.pairs) for n in ("query", "positive"))
    while True:
        for pair in zip(query, positive, strict=True):
            yield *pair, torch.randperm(size.items, dtype=torch.int32)[: size.negatives]


def _blocks(seeds: Tensor, sampler: Any) -> list[Any]:
    blocks: list[Any] = []
    for _ in range(2):
        frontier = sampler(seeds)
        block = dgl.to_block(frontier, seeds)
        weights = frontier.edata["weights"][block.edata[dgl.EID].long()].float()
        block.edata["weights"] = weights.unsqueeze(1)
        blocks.insert(0, block)
        seeds = block.srcdata[dgl.NID]
    return blocks


def _step(
    batch: tuple[Tensor, ...], sampler: Any, x: Tensor, model: Model, optimizer: Any
) -> dict[str, float]:
    clock = Clock()
    seeds, places = torch.cat(batch).unique(return_inverse=True)
    blocks = _blocks(seeds, sampler)
    clock.lap("sample")
    inputs = x[blocks[0].srcdata[dgl.NID].long()]
    clock.lap("gather")
    z = model(blocks, inputs)
    query, positive, negative = (z[part] for part in places.split([len(part) for part in batch]))
    loss = F.relu(query @ negative.T - (query * positive).sum(1, keepdim=True) + 0.1).mean()
    clock.lap("forward")
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    clock.lap("backward")
    optimizer.step()
    clock.lap("optimiser")
    return {**clock.parts, "nodes": len(inputs), "edges": blocks[0].num_edges()}


if __name__ == "__main__":
    main()
