"""A program that opens a model as a reader would, in a process of its own, and asks it two things.

It reads a question from stdin: JSON with `uri` and `tracking` of a registered model, or `version`,
a published folder; `item_id`, and `features` of one item, which may be empty. It prints JSON:
`neighbours`, how many were found, and `dimension`, of the embedding.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

K = 3


def main() -> None:
    """Answer on stdout. Whatever is wrong is raised, and ends the process."""
    question = json.load(sys.stdin)
    ask = _registered if question.get("uri") else _published
    scores, embedding = ask(question)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"the neighbours of {question['item_id']!r} have the scores {scores}")
    if not len(embedding) or not np.isfinite(embedding).all():
        raise ValueError(f"the embedding of {question['features']} is {embedding}")
    sys.stdout.write(json.dumps({"neighbours": len(scores), "dimension": len(embedding)}) + "\n")


def _registered(question: dict[str, Any]) -> tuple[Any, Any]:
    import mlflow

    mlflow.set_tracking_uri(question["tracking"])
    mlflow.set_registry_uri(question["tracking"])
    model = mlflow.pyfunc.load_model(question["uri"])
    by_id = pd.DataFrame({"item_id": [question["item_id"]]})
    near = model.predict(by_id, params={"k": K})
    rows = pd.DataFrame([question["features"]]) if question["features"] else by_id
    embedded = model.predict(rows, params={"output": "embeddings"})
    return near["score"].to_numpy(np.float64), np.asarray(embedded["embedding"].iloc[0], np.float64)


def _published(question: dict[str, Any]) -> tuple[Any, Any]:
    from pinsage.retrieval.published import open_version

    version = open_version(Path(question["version"]))
    row = version.row_of(question["item_id"])
    near = version.nearest(version.vectors[row], K, exclude=row)
    scores = np.array([each.score for each in near], np.float64)
    if not question["features"]:
        return scores, version.vectors[row]
    from pinsage.model.io import load_model
    from pinsage.newcomers import embed_rows

    rows = pd.DataFrame([question["features"]])
    return scores, embed_rows(load_model(version.path / "model"), rows)[0]


if __name__ == "__main__":
    main()
