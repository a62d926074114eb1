"""Content-kNN: cosine of what the catalog says of items. It has seen no interaction at all.

What is lost by not looking at behaviour, and the one baseline that knows new items.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinsage.content.columns import Content
from pinsage.content.cosines import ContentCosines
from pinsage.evaluation.ranking import Rows, Scores


@dataclass(frozen=True)
class ContentKNNScorer:
    """Cosine of content, with `idf` and `mass` as `ContentCosines` has them."""

    cosines: ContentCosines
    idf: float
    mass: float
    name: str = "content-kNN"

    @classmethod
    def of(cls, content: Content, *, idf: float = 1.0, mass: float = 0.0) -> ContentKNNScorer:
        """Weigh the terms, and scale each item to length 1."""
        return cls(ContentCosines.of(content, idf=idf, mass=mass), idf, mass)

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen on validation pairs."""
        return {"idf": self.idf, "mass": self.mass}

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]; 0 for and of items without content, equal for equal contents."""
        return self.cosines.of_rows(query_rows)
