"""The model registry: a published version becomes a version of the registered model.

Invariant: one registered version a published version, however often it is asked for; an alias is
only moved to a version that is registered completely.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array
from packaging.requirements import Requirement

from pinsage.config import Config, FeatureKind
from pinsage.evaluation.metrics import metric_label
from pinsage.files import write_atomic
from pinsage.retrieval.shelf import shelf
from pinsage.retrieval.versions import followed_in, locked
from pinsage.store import read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from pinsage.retrieval.publish import Version

CHALLENGER = "challenger"
CHAMPION = "champion"

_REGISTERED = "registered.json"  # beside the versions
_DISTRIBUTION = "pinsage-pipeline"
_CODE = Path(__file__).with_name("registered_model.py")
_EXAMPLES = 2
_BEST = "test_best_baseline_"
_ABOUT = """Related items: an item's id, or the features of a new item, in; its neighbours out.

- `champion` is the version that readers follow, `challenger` the newest. Both are moved by the
  nightly run, `pinsage promote` and `pinsage rollback`; do not move them by hand.
- `mlflow.pyfunc.load_model("models:/{name}@champion").predict(items, params={{"k": 10}})`
"""


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; `uri` loads it."""

    name: str
    version: str
    reused: bool

    @property
    def uri(self) -> str:
        """Address for `mlflow.pyfunc.load_model`, while no other version is champion."""
        return f"models:/{self.name}@{CHAMPION}"

    @property
    def address(self) -> str:
        """Address of this very version, whoever is champion."""
        return f"models:/{self.name}/{self.version}"


def model_name(config: Config) -> str:
    """The configured name, else `pinsage-` and the name of the data set."""
    return config.tracking.model or f"pinsage-{config.name}"


def register(
    client: mlflow.MlflowClient, config: Config, published: Version, run_id: str
) -> Registered:
    """Register a published version, as `challenger`; `champion` is what readers follow.

    The model is logged to the run `run_id`. An alias that a killed promotion or rollback has left
    somewhere else is brought back. Raises MlflowException; calling it again is safe.
    """
    name = model_name(config)
    known = _number_of(client, name, published.name)
    number = known or _log_model(name, published, run_id)
    client.set_registered_model_alias(name, CHALLENGER, number)
    folder = published.path.parent
    with locked(folder):  # a rollback would move readers and alias at once
        _remember(folder, config, name)
        followed = followed_in(folder)
        if followed == published.name:
            client.set_registered_model_alias(name, CHAMPION, number)
        elif followed and (behind := _number_of(client, name, followed)):
            client.set_registered_model_alias(name, CHAMPION, behind)
    return Registered(name, number, reused=bool(known))


def _number_of(client: mlflow.MlflowClient, name: str, published: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}' and tags.published = '{published}'")
    return str(found[0].version) if found else None


def registered_as(root: Path, name: str) -> dict[str, str]:
    """Under which `model` and at which `uri` a data set was registered; empty where not known.

    An address with credentials in it is not kept, and neither is one that follows from the root.
    """
    try:
        found: dict[str, str] = json.loads((shelf(root, name) / _REGISTERED).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _remember(folder: Path, config: Config, name: str) -> None:
    uri = config.tracking.uri
    kept = {"model": name, "uri": "" if "@" in uri else uri}
    write_atomic(folder / _REGISTERED, json.dumps(kept) + "\n")


def requirements() -> list[str]:
    """What loading the model needs, pinned to what is installed here (nothing is inferred)."""
    try:
        declared = [Requirement(line) for line in requires(_DISTRIBUTION) or ()]
    except PackageNotFoundError:
        declared = []
    needed = [each.name for each in declared if each.marker is None or _is_index(each)]
    # A local build tag such as +cpu is on no package index.
    return [f"{name}=={version(name).partition('+')[0]}" for name in ["mlflow", *needed]]


def _log_model(name: str, published: Version, run_id: str) -> str:
    from pinsage.model.io import load_spec
    from pinsage.retrieval.published import open_version

    items = open_version(published.path).items
    with _quietly(), mlflow.start_run(run_id=run_id, nested=True, log_system_metrics=False):
        logged = mlflow.pyfunc.log_model(
            name="related-items",
            python_model=str(_CODE),
            artifacts={"version": str(published.path)},
            signature=signature(items["item_id"], load_spec(published.path / "model").content),
            input_example=(items[["item_id"]].head(_EXAMPLES), {"k": 3}),
            pip_requirements=requirements(),
            metadata={"published": published.name},
        )
    # Registered in a second step, so that the tag is there from the version's first moment.
    with _quietly():
        made = mlflow.register_model(logged.model_uri, name, tags={"published": published.name})
    client = mlflow.MlflowClient()
    client.update_model_version(name, made.version, _described(published))
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, _ABOUT.format(name=name))
    return str(made.version)


def _described(published: Version) -> str:
    """What the list of versions shows: which it is, and what it reaches on the test period."""
    found: dict[str, float] = read_manifest(published.path).facts["evaluation"]
    told = [
        f"{metric_label(name)} {found[f'test_{name}']:.4f} (best baseline {found[key]:.4f})"
        for key in found
        if (name := key.removeprefix(_BEST)) != key and name != "mrr_scaled"
    ]
    return f"Published as {published.name}. Test: {', '.join(told)}."


def signature(item_ids: pd.Series, kinds: Mapping[str, FeatureKind]) -> ModelSignature:
    """Ids of the catalog's own type, or features of new items, in; neighbours or embeddings out.

    Every column is optional: which are needed depends on the row, and the model checks it. The
    output has rank to score where neighbours are asked for, and embedding where embeddings are.
    """
    id_type = DataType.long if item_ids.dtype.kind == "i" else DataType.string
    outputs: dict[str, DataType | Array] = {
        "item_id": id_type,
        "rank": DataType.long,
        "neighbour_id": id_type,
        "title": DataType.string,
        "score": DataType.double,
        "embedding": Array(DataType.double),
    }
    features = [ColSpec(_type_of(kind), name, required=False) for name, kind in kinds.items()]
    return ModelSignature(
        inputs=Schema([ColSpec(id_type, "item_id", required=False), *features]),
        outputs=Schema([ColSpec(kind, name, required=False) for name, kind in outputs.items()]),
        params=ParamSchema(
            [
                ParamSpec("k", DataType.long, 10),
                ParamSpec("output", DataType.string, "neighbours"),
            ]
        ),
    )


def _type_of(kind: FeatureKind) -> DataType | AnyType:
    # MLflow refuses a whole number for a double, any number for a string and a list for either;
    # a year, a code and a list of tags are good features all the same, and the model reads them.
    return DataType.string if kind == "text" else AnyType()  # type: ignore[no-untyped-call]


@contextmanager
def _quietly() -> Iterator[None]:
    """MLflow prints past its logger, and warns of type hints in its own modules."""
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield


def _is_index(requirement: Requirement) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": "index"})
