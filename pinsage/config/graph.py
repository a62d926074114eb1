"""Which interactions are edges of the graph, and what an edge weighs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pinsage.config.base import Settings


class GraphConfig(Settings):
    """The bipartite graph of items and their contexts (paper, section 3.1).

    PinSage walks it, and knows an item by its degree in it: one that keeps no edge is as a new one.
    What is learnt from, and what baselines and slices go by, are all interactions.
    """

    weights: Literal["none", "count", "sum"] = "none"
    """What an edge weighs in random walks. `none`: all alike, however often it repeats. `count`:
    the number of interactions. `sum`: the sum of the interactions' weights; those of weight 0 are
    no edge."""
    max_context_degree: int = Field(0, ge=0, lt=2**31)
    """Most items of a context: of a larger one as many are drawn at random, and the others lose
    this context. 0 keeps all."""
    window_days: float = Field(0.0, ge=0.0)
    """Interactions older than this before the newest one are no edges, in days; 0 takes all."""
    half_life_days: float = Field(0.0, ge=0.0)
    """Age at which an interaction weighs half, in days before the newest one; 0 weighs all ages
    alike. Needs `weights`."""
    memory_mib: int = Field(1024, ge=16, le=2**24)
    """Memory of the blocks in which the graph is built, in MiB, besides 8 bytes an item and a
    context. It changes how fast the same graph is reached."""

    @model_validator(mode="after")
    def _can_decay(self) -> GraphConfig:
        if self.half_life_days > 0 and self.weights == "none":
            raise ValueError(
                "half_life_days lets weights decay, and weights = 'none' leaves edges without "
                f"any: set weights to 'count' or 'sum' (got half_life_days {self.half_life_days})"
            )
        return self

    @property
    def leaves_out(self) -> bool:
        """Whether some interaction may be no edge."""
        return self.max_context_degree > 0 or self.window_days > 0 or self.weights == "sum"

    def deciding(self, seed: int) -> dict[str, object]:
        """The settings that the graph depends on, for its artifact's key.

        `seed` counts where contexts are sampled, so that other seeds share a graph without.
        """
        settings: dict[str, object] = self.model_dump(exclude={"memory_mib"})
        return {**settings, "seed": seed} if self.max_context_degree else settings
