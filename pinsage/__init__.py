"""PinSage: item embeddings from interactions and content (Ying et al., KDD 2018)."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinsage.retrieval.published import load_published

__all__ = ["__version__", "load_published"]

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for each other. On a machine that has anything else to do
# a training step then takes up to 50 times as long (docs/decisions/0003), and the policy is read
# once, when torch loads its OpenMP library: no later moment would do. A user's own value stands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    # NumPy, pandas and pyarrow come with it: whoever only asks for the version does without.
    if name == "load_published":
        from pinsage.retrieval.published import load_published

        return load_published
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
