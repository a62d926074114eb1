"""What PinSage has to beat (PinSage §4.1, Pixie, and the strongest of the classics).

Each is built from the training period and the catalog only. What a baseline knows nothing of
stands tied, and never above what it knows to be related.
"""

from pinsage.evaluation.baselines.content_knn import ContentKNNScorer
from pinsage.evaluation.baselines.content_vectors import content_vectors
from pinsage.evaluation.baselines.counting import PopularityScorer, RandomScorer
from pinsage.evaluation.baselines.ease import EASEScorer
from pinsage.evaluation.baselines.evidence import Evidence
from pinsage.evaluation.baselines.item_knn import ItemKNNScorer
from pinsage.evaluation.baselines.packages import require_packages
from pinsage.evaluation.baselines.pixie import PixieScorer
from pinsage.evaluation.baselines.transitions import Steps, TransitionScorer

__all__ = [
    "ContentKNNScorer",
    "EASEScorer",
    "Evidence",
    "ItemKNNScorer",
    "PixieScorer",
    "PopularityScorer",
    "RandomScorer",
    "Steps",
    "TransitionScorer",
    "content_vectors",
    "require_packages",
]
