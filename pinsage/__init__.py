"""PinSage: item embeddings from interactions and content (Ying et al., KDD 2018)."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for each other. On a machine that has anything else to do
# a training step then takes up to 50 times as long (docs/decisions/0003), and the policy is read
# once, when torch loads its OpenMP library: no later moment would do. A user's own value stands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
