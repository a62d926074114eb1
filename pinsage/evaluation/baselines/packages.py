"""Which baselines need a package that the library itself does without."""

from __future__ import annotations

from importlib.util import find_spec

from pinsage.config import EvaluationConfig
from pinsage.errors import MissingExtraError

_PACKAGES = {"ALS": "implicit", "BPR": "implicit", "item2vec": "gensim"}


def require_packages(config: EvaluationConfig) -> None:
    """See that every configured baseline can be built, before any work is spent.

    Raises MissingExtraError naming the package, what installs it, and how to do without.
    """
    missing: dict[str, list[str]] = {}
    for name in config.baselines:
        if name in _PACKAGES and find_spec(_PACKAGES[name]) is None:
            missing.setdefault(_PACKAGES[name], []).append(name)
    if missing:
        wanted = [f"{package} (for {', '.join(names)})" for package, names in missing.items()]
        without = ", ".join(name for names in missing.values() for name in names)
        raise MissingExtraError(
            f"evaluation.baselines: not installed: {', '.join(wanted)}; run: pip install "
            f"'pinsage-pipeline[baselines]', or set evaluation.baselines without {without}"
        )
