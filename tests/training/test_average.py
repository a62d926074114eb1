"""The moving average of the weights: against a slow reference, and as what training keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pinsage.training.average import average_of


class Toy(nn.Module):
    """One weight and a buffer, standing where a model would: the average looks at no more."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer("known", torch.tensor([True]))


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_it_is_that_of_a_slow_reference(decay: float) -> None:
    model = Toy()
    average = average_of(model, decay)  # type: ignore[arg-type]
    assert average is not None
    expected: torch.Tensor | None = None
    rng = torch.Generator().manual_seed(1)
    for step in range(40):
        weight = torch.randn(2, generator=rng)
        with torch.no_grad():
            model.weight.copy_(weight)
        average.update_parameters(model)
        kept = min(decay, (1 + step) / (10 + step))
        wide = weight.double()
        # The first step's weights are taken as they are: what was before them is the random start.
        expected = wide if expected is None else kept * expected + (1 - kept) * wide
        torch.testing.assert_close(average.module.weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert average.module.get_buffer("known").all()


def test_no_decay_is_no_average() -> None:
    assert average_of(Toy(), 0.0) is None  # type: ignore[arg-type]
