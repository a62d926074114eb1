"""The way that is usual without layers: each minibatch computes all that its items rest on.

Within a minibatch of 512 nodes are computed once a layer; what the next minibatch shares with it is
computed again. Kernels are the library's own and features are in memory, so that the ratio is what the order of computation gains, and nothing else.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import torch_frame
from _inference_floor import Cost, timed
from torch import Tensor
from torch_frame.data import MultiEmbeddingTensor, TensorFrame

from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.engine import Job
from pinsage.model.io import load_model
from pinsage.model.pinsage import Nodes, PinSage

MINIBATCH = 512
_SEEN = 3  # minibatches that are timed, after one that is not


def naive_cost(job: Job, threads: int) -> tuple[Cost, float]:
    """Of all items, by the median of a few minibatches; and the nodes of one."""
    torch.set_num_threads(threads)
    model, table = load_model(job.model), Neighbourhoods.open(job.table)
    lists: Any = pq.read_table(job.catalog / "items.parquet")["vector"].combine_chunks()
    held = torch.from_numpy(lists.flatten().to_numpy().reshape(len(lists), -1).copy())
    degree: Any = table.shown_degree(BipartiteGraph.open(job.graph))
    rng = np.random.default_rng(1)
    costs, nodes = [], []
    for _ in range(_SEEN + 1):
        targets = rng.choice(table.num_items, MINIBATCH, replace=False)
        costs.append(timed(lambda of=targets: nodes.append(_embed(model, table, held, degree, of))))
    middle = Cost(*(statistics.median(times) for times in zip(*costs[1:], strict=True)))
    return middle.times(table.num_items / MINIBATCH), statistics.median(nodes)


@torch.inference_mode()
def _embed(
    model: PinSage,
    table: Neighbourhoods,
    held: Tensor,
    degree: npt.NDArray[np.float64],
    targets: npt.NDArray[np.int64],
) -> int:
    layers = [targets]
    for _ in model.layers:
        around = np.unique(table.neighbors[layers[-1]])
        new = np.setdiff1d(around[around >= 0], layers[-1])
        layers.append(np.concatenate([layers[-1], new]))
    rows, outermost = layers[-1], layers[-2]
    place = np.full(table.num_items + 1, -1, dtype=np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)  # the last entry stands for nobody
    neighbors = torch.from_numpy(place[table.neighbors[outermost]])
    nodes = Nodes(
        rows_S=torch.from_numpy(rows),
        features=_frame(model, held, degree, rows),
        neighbors_BT=neighbors,
        weights_BT=torch.from_numpy(table.weights[outermost]),
        num_targets=tuple(len(layer) for layer in layers[-2::-1]),
    )
    model(nodes)
    return len(rows)


def _frame(
    model: PinSage, held: Tensor, degree: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]
) -> TensorFrame:
    logs = torch.from_numpy(np.log1p(degree[rows]).astype(np.float32))
    values = held[torch.from_numpy(rows)]
    offset = torch.tensor([0, values.shape[1]])
    embedded = MultiEmbeddingTensor(len(rows), 1, values, offset)
    feats = {torch_frame.numerical: logs[:, None], torch_frame.embedding: embedded}
    return TensorFrame(feats, model.spec.col_names_dict)
