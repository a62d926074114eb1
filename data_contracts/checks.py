"""Which suites are run over which tables."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from data_contracts import suites
from data_contracts.findings import findings
from data_contracts.matrix import read_embeddings
from data_contracts.runner import Checked, Runner
from data_contracts.tables import read_interactions, read_items, read_schema
from pinsage.config import Config
from pinsage.store import Artifact


def check_snapshot(config: Config, landed: Artifact, now: datetime) -> list[Checked]:
    """The columns of both tables, then the values of the columns that are there as they should."""
    runner = Runner()
    path, catalog = landed.file("interactions.parquet"), _catalog(config, landed)
    schema = read_schema("interactions", path)
    columns = runner.check("interactions: columns", suites.interaction_columns(schema), schema)
    item_checks = _check_items(config, catalog, runner) if catalog else []
    ids = catalog if item_checks and "item_id" in _sound(item_checks[0]) else None
    table = read_interactions(path, ids, _sound(columns))
    suite = suites.interactions(config.contract, table, now)
    return [columns, runner.check("interactions", suite, table), *item_checks]


def check_embeddings(config: Config, embedded: Artifact, ingested: Artifact) -> list[Checked]:
    """The whole matrix, then its rows."""
    runner = Runner()
    items = ingested.file("items.parquet")
    rows, whole = read_embeddings(embedded.file("embeddings.npy"), items, config.seed)
    facts = suites.embedding_matrix(config.model, int(ingested.facts["num_items"]))
    checks = [runner.check("embeddings: whole", facts, whole)]
    each = suites.embedding_rows(config.model, rows)
    return [*checks, runner.check("embeddings", each, rows)] if each else checks


def _check_items(config: Config, catalog: Path, runner: Runner) -> list[Checked]:
    features = config.data.items.features if config.data.items else {}
    schema = read_schema("items", catalog)
    columns = runner.check("items: columns", suites.item_columns(features, schema), schema)
    table = read_items(catalog, features, _sound(columns))
    suite = suites.items(config.contract, features, table)
    return [columns, runner.check("items", suite, table)]


def _catalog(config: Config, landed: Artifact) -> Path | None:
    return landed.file("items.parquet") if config.data.items else None


def _sound(columns: Checked) -> frozenset[str]:
    breaches, _ = findings([columns])
    return frozenset(map(str, columns.table.frame)) - {breach["column"] for breach in breaches}
