"""A published version as an MLflow model: items in, by id or by features; related items out.

MLflow copies this file beside the model and runs it when the model is loaded ("models from
code"): nothing is pickled. So it is never imported by the rest of the package, it may only rely
on what is installed where the model is loaded, and, as MLflow asks, it ends by naming the model.

Only the version travels with the model, not the graph it was made of: a new item is embedded by
content alone. `pinsage embed-new` takes its first users into account, or gives it the neighbours by
content that the catalog's own new items have (`neighbourhoods.by_content`).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pinsage.errors import ConfigError, SourceError
from pinsage.retrieval.published import Published, open_version

if TYPE_CHECKING:
    from pinsage.model.pinsage import PinSage

COLUMNS = ["item_id", "rank", "neighbour_id", "title", "score"]
DEFAULT_K = 10
NEIGHBOURS, EMBEDDINGS = "neighbours", "embeddings"
_NEW = -1  # in place of a row of the catalog

Vectors = npt.NDArray[np.float32]


class RelatedItems(PythonModel):
    """Looks up the items most related to each item of the input, or its embedding."""

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
        """`k` rows an item, best first; with `output = "embeddings"` one row an item.

        An item of the catalog has its published embedding, whatever its row says besides; another,
        or one without an id, is embedded by the features of its row. An id comes back as it was
        given. Raises UnknownItemError for an unknown id without a feature, SourceError for a row
        with neither, ConfigError for another `output`.
        """
        chosen = {"k": DEFAULT_K, "output": NEIGHBOURS, **(params or {})}
        if chosen["output"] not in (NEIGHBOURS, EMBEDDINGS):
            raise ConfigError(
                f"params: output = {chosen['output']!r}; expected {NEIGHBOURS} or {EMBEDDINGS}"
            )
        ids = list(model_input.get("item_id", [None] * len(model_input)))
        described = model_input.drop(columns="item_id", errors="ignore").notna().any(axis=1)
        rows = [self._row(*each) for each in zip(ids, described, strict=True)]
        vectors = self._vectors(model_input, rows)
        if chosen["output"] == EMBEDDINGS:
            return pd.DataFrame({"item_id": ids, "embedding": vectors.tolist()})
        found = [
            (item_id, each.rank, each.item_id, each.title, each.score)
            for item_id, row, vector in zip(ids, rows, vectors, strict=True)
            for each in self._published.nearest(vector, int(chosen["k"]), exclude=row)
        ]
        return pd.DataFrame(found, columns=COLUMNS)

    @cached_property
    def _model(self) -> PinSage:
        from pinsage.model.io import load_model  # torch, which known items do without

        return load_model(self._published.path / "model")

    def _row(self, item_id: Any, described: bool) -> int:
        """The item's row in the catalog, _NEW where it is not there and its features must do."""
        nameless = pd.isna(item_id)
        if nameless and not described:
            raise SourceError(
                "a row of the input has neither an item_id nor a feature; give it the id of an "
                "item of the catalog, or the features of a new one"
            )
        if described and (nameless or item_id not in self._published.row_by_id):
            return _NEW
        return self._published.row_of(item_id)

    def _vectors(self, asked: pd.DataFrame, rows: list[int]) -> Vectors:
        """Embeddings of the items asked for, float32 [M, d]."""
        at = np.array(rows, dtype=np.int64)
        vectors: Vectors = self._published.vectors[at]
        if (at == _NEW).any():
            from pinsage.newcomers import embed_rows

            vectors[at == _NEW] = embed_rows(self._model, asked[at == _NEW])
        return vectors


mlflow.models.set_model(RelatedItems())
