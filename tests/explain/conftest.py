"""Six items and four users, small enough to check every number by hand.

user a: 0 1 2      b: 0 1      c: 1 3      d: 0 2 4      item 5 has no user
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pinsage.explain.evidence import Evidence, load_evidence
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.retrieval.published import load_published

BASKETS = {0: [0, 1, 2], 1: [0, 1], 2: [1, 3], 3: [0, 2, 4]}


@pytest.fixture
def six() -> BipartiteGraph:
    pairs = [(item, user) for user, items in BASKETS.items() for item in items]
    item_row, user_row = np.array(pairs, dtype=np.int32).T
    return BipartiteGraph.from_edges(item_row, user_row, num_items=6, num_contexts=4)


@pytest.fixture
def table() -> Neighbourhoods:
    """Not what walks would find: weights that are easy to multiply."""
    neighbors = [[2, 1, 4], [0, 3, 2], [0, 1, -1], [1, -1, -1], [0, 2, -1], [-1, -1, -1]]
    weights = [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.75, 0.25, 0], [1, 0, 0], [0.5, 0.5, 0], [0] * 3]
    return Neighbourhoods(np.array(neighbors, np.int32), np.array(weights, np.float32))


@pytest.fixture
def titles() -> pd.DataFrame:
    return pd.DataFrame({"item_id": list("pqrstu"), "title": [f"Film {n}" for n in range(6)]})


@pytest.fixture(scope="session")
def evidence(tiny_run: SimpleNamespace) -> Evidence:
    """What the version of the session's run was made of."""
    root = tiny_run.config.root
    return load_evidence(root, load_published(root, "tiny"))
