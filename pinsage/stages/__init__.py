"""The pipeline's boxes: each finds or builds one artifact, and says what its key depends on.

    snapshot ─► ingest ─► split ─► graph ─► neighbourhoods ─► train ─► evaluate ─► report
                     └───────────► graph ─► neighbourhoods ─► embed ─► index ─► publish
                      └─────────────────────────────────────────────► contexts ──┘
    (train, evaluate, embed, what readers follow) ─► champion ─► compare ─► decide
    (ingest, embed, the nights before) ─► input_drift, embedding_drift

The graph is built twice: over the training period for training and evaluation, which must not see
what comes after, and over everything up to now for the embeddings that are published.
The heavy modules are imported where a stage is built, so that finding one costs nothing.
"""

from pinsage.stages._data import ingest, part, snapshot, split
from pinsage.stages._drift import embedding_drift, input_drift
from pinsage.stages._gate import champion, compare, decide
from pinsage.stages._graph import graph, neighbourhoods
from pinsage.stages._model import contexts, embed, evaluate, index, train
from pinsage.stages._report import report

__all__ = [
    "champion",
    "compare",
    "contexts",
    "decide",
    "embed",
    "embedding_drift",
    "evaluate",
    "graph",
    "index",
    "ingest",
    "input_drift",
    "neighbourhoods",
    "part",
    "report",
    "snapshot",
    "split",
    "train",
]
