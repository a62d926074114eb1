"""A published version as an MLflow model: item ids in, related items out.

MLflow copies this file beside the model and runs it when the model is loaded ("models from
code"): nothing is pickled. So it is never imported by the rest of the package, it may only rely
on what is installed where the model is loaded, and, as MLflow asks, it ends by naming the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pinsage.retrieval.published import Published, open_version

COLUMNS = ["item_id", "rank", "neighbour_id", "title", "score"]
DEFAULT_K = 10


class RelatedItems(PythonModel):
    """Looks up the items most related to each item of the input."""

    _published: Published

    def load_context(self, context: PythonModelContext) -> None:
        """Open the version that was registered; its checksums are verified."""
        self._published = open_version(Path(context.artifacts["version"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """`k` rows an item, best first. Raises UnknownItemError for an id not in the catalog."""
        k = int((params or {}).get("k", DEFAULT_K))
        rows = [
            (item_id, each.rank, each.item_id, each.title, each.score)
            for item_id in model_input["item_id"]
            for each in self._published.related(self._published.row_of(item_id), k)
        ]
        return pd.DataFrame(rows, columns=COLUMNS)


mlflow.models.set_model(RelatedItems())
