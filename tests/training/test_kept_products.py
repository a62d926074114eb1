"""What oneDNN keeps of the products that training has it prepare."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BOUND = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_PRODUCTS = """
import torch
from pinsage.training.memory import keep_few_products
if {bounded}:
    keep_few_products()
right = torch.ones(32, 32, dtype=torch.bfloat16)
for rows in [*range(100, 120), 119, 100]:
    torch.ones(rows, 32, dtype=torch.bfloat16) @ right
"""


def hits_of_the_last_two(*, bounded: bool, **settings: str) -> list[bool]:
    """Whether oneDNN had kept a product it had just prepared, and one from twenty shapes before."""
    # A training of another test may have set the bound in this process.
    plain = {key: value for key, value in os.environ.items() if key != BOUND}
    environment = plain | {"ONEDNN_VERBOSE": "profile_create"} | settings
    said = subprocess.run(
        [sys.executable, "-c", _PRODUCTS.format(bounded=bounded)],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    prepared = [line for line in said.splitlines() if "matmul" in line]
    if not prepared:
        pytest.skip("on this processor torch multiplies bfloat16 without oneDNN")
    return ["cache_hit" in line for line in prepared[-2:]]


def test_few_products_are_kept_of_those_that_onednn_has_prepared() -> None:
    assert hits_of_the_last_two(bounded=False) == [True, True]
    assert hits_of_the_last_two(bounded=True) == [True, False]


def test_a_bound_that_somebody_has_set_stays() -> None:
    assert hits_of_the_last_two(bounded=True, **{BOUND: "100"}) == [True, True]
