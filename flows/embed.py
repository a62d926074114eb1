"""Flow: everything up to embeddings that keep their contract, and their index."""

from __future__ import annotations

from prefect import flow

from flows import remedy, stages, upstream
from flows.session import session
from pinsage.config import Config
from pinsage.store import Artifact


@flow(
    name="embed",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def embed(config: Config) -> Artifact:
    """Bring everything up to the embeddings of all items; returns the embeddings."""
    with session(config, "embed") as run:
        upstream.can_train(run)
        data = upstream.data(run)
        past = upstream.graph(run, data, "train")
        trained = stages.train(run, data, past)
        _, embedded = upstream.embeddings(run, data, past, trained)
        return embedded


@flow(
    name="index",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def index(config: Config) -> Artifact:
    """Bring everything up to the nearest-neighbour index."""
    with session(config, "index") as run:
        upstream.can_train(run)
        data = upstream.data(run)
        past = upstream.graph(run, data, "train")
        trained = stages.train(run, data, past)
        _, embedded = upstream.embeddings(run, data, past, trained)
        return stages.index(run, embedded, trained)
