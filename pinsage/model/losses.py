"""Losses over shared negatives (PinSage §3.2).

Shapes: P pairs, M negatives shared by all of them, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def max_margin_loss(
    query_PD: Tensor,
    positive_PD: Tensor,
    negative_MD: Tensor,
    allowed_PM: Tensor,
    *,
    margin: float,
) -> Tensor:
    """Mean over pairs of the expected max{0, z_q · z_n - z_q · z_i + margin} over negatives n.

    `allowed_PM` (bool) leaves out negatives that are positives of the query. A pair whose
    negatives are all left out adds 0. Returns a scalar.
    """
    positive_P = (query_PD * positive_PD).sum(dim=1)
    hinge_PM = F.relu(query_PD @ negative_MD.T - positive_P.unsqueeze(1) + margin)
    num_allowed_P = allowed_PM.sum(dim=1).clamp(min=1)
    return ((hinge_PM * allowed_PM).sum(dim=1) / num_allowed_P).mean()
