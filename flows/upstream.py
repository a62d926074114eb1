"""What a stage needs first, brought up in order; whatever is unchanged is found, not run."""

from __future__ import annotations

from flows import judging, stages
from flows.promotion import Challenger
from flows.session import Run
from flows.stages import Data, Graph, Shown, Span
from pinsage.evaluation.baselines import require_packages
from pinsage.model.text import choose_encoder
from pinsage.store import Artifact


def can_train(run: Run) -> None:
    """Raise MissingExtraError now rather than after the walks, where the text model is missing."""
    choose_encoder(run.config.data.items)


def can_evaluate(run: Run) -> None:
    """Raise MissingExtraError now rather than after training, where a baseline has no package.

    What is evaluated is trained first, so that this holds for the text model too.
    """
    can_train(run)
    require_packages(run.config.evaluation)


def valid_data(run: Run) -> Artifact:
    """The landed sources, which keep their contract."""
    landed = stages.snapshot(run)
    stages.validate(run, landed)
    return landed


def data(run: Run) -> Data:
    """Interactions and items with dense rows, split by time."""
    ingested = stages.ingest(run, valid_data(run))
    return Data(ingested, stages.split(run, ingested))


def graph(run: Run, known: Data, span: Span) -> Graph:
    """The graph of the training period, or of everything up to now."""
    built = stages.graph(run, known, span)
    return Graph(built, stages.neighbourhoods(run, known, built, span))


def embeddings(run: Run, known: Data, past: Graph, trained: Artifact) -> tuple[Graph, Artifact]:
    """The graph that is embedded over, and embeddings of all items that keep their contract."""
    present = past if run.config.embed.graph == "train" else graph(run, known, "full")
    embedded = stages.embed(run, known, present, trained)
    stages.validate_embeddings(run, known, embedded)
    return present, embedded


def contexts(run: Run, known: Data, embedded: Artifact) -> Artifact | None:
    """Vectors of users, unless the configuration wants none."""
    return None if run.config.contexts.pool == "none" else stages.contexts(run, known, embedded)


def challenger(run: Run) -> Challenger:
    """Everything up to a published and registered version, which readers do not follow yet."""
    can_evaluate(run)
    known = data(run)
    drifted = judging.input_drift(run, known)
    past = graph(run, known, "train")
    trained = stages.train(run, known, past)
    evaluated = stages.evaluate(run, known, past, trained)
    present, embedded = embeddings(run, known, past, trained)
    moved = judging.embedding_drift(run, known, embedded)
    ranked = judging.champion(run, known, past, embedded)
    compared = judging.compare(run, known, past, trained, evaluated, ranked)
    indexed = stages.index(run, embedded, trained)
    pooled = contexts(run, known, embedded)
    shown = Shown(embedded, known.ingested, present.built)
    reported = stages.report(run, known, shown, trained, evaluated)
    version = stages.publish(
        run, known, present, trained, evaluated, embedded, indexed, reported, pooled
    )
    registered = stages.register(run, version)
    return Challenger(known, drifted, moved, evaluated, compared, version, registered)
