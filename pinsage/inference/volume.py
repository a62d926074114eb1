"""How much a layer sends between parts, before anything is sent (docs/scaling.md has the sums).

Each formula takes neighbours to lie in parts at random, which no order by locality does: it is
the most that a catalog of these degrees sends. A part's own rows are counted as well; of P parts
the share 1 − 1/P travels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.integer]


def pulled_rows(indegree: Counts, parts: int) -> float:
    """Distinct rows that P parts pull: of v, P (1 − (1 − 1/P)^indegree(v)); [N] counts."""
    return parts * float((1 - _missed(parts) ** indegree.astype(np.float64)).sum())


def pushed_rows(degree: Counts, parts: int) -> float:
    """Partial sums that P parts push: for u, P (1 − (1 − 1/P)^degree(u)); [N] counts of neighbours.

    A sum for each target and each source part that has a neighbour of it.
    """
    return parts * float((1 - _missed(parts) ** degree.astype(np.float64)).sum())


def _missed(parts: int) -> float:
    return 1 - 1 / parts
