"""What must hold, as Great Expectations suites built from the configuration.

A suite leaves out what it cannot look at: an expectation on a column that is absent or of the
wrong type (the suite of the columns has said so), or on the values of an empty table.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time

from data_contracts.tables import Table, latest_allowed, microseconds
from data_contracts.vocabulary import (
    Suite,
    distinct_at_least,
    exists,
    fact,
    finite,
    flag_is,
    of_kind,
    preferably_unique,
    present,
    rows_at_least,
    within,
)
from pinsage.config import ContractConfig, FeatureKind, ModelConfig

NORM_TOLERANCE = 1e-3
MAX_MEAN_COSINE = 0.95  # random pairs of a healthy matrix lie near 0
MIN_SPREAD = 0.1  # a healthy matrix lies near 1; one dimension out of d used: 1 / sqrt(d)

Features = Mapping[str, FeatureKind]

_IDS = ("string", "integer")
_FEATURE_KINDS: Mapping[FeatureKind, tuple[str, ...]] = {
    "numerical": ("integer", "float", "boolean"),
    "categorical": ("string", "integer", "float", "boolean"),
    "multicategorical": ("string", "list of string", "list of integer"),
    "text": ("string",),
    "embedding": ("list of float", "list of integer"),
    "timestamp": ("timestamp", "integer", "string"),
}


def interaction_columns(table: Table) -> Suite:
    """Columns and types of the interactions, for the one-row frame of `read_schema`."""
    kinds = {"user_id": _IDS, "item_id": _IDS, "timestamp": ("integer",), "weight": ("float",)}
    return _columns(table, kinds, "check the columns named in data.interactions")


def item_columns(features: Features, table: Table) -> Suite:
    """Columns and types of the catalog, for the one-row frame of `read_schema`."""
    kinds = {name: _FEATURE_KINDS[kind] for name, kind in features.items()}
    kinds = {"item_id": _IDS, "title": ("string",)} | kinds
    return _columns(table, kinds, "check the columns and kinds named in data.items")


def interactions(contract: ContractConfig, table: Table, now: datetime) -> Suite:
    """Volume, ids, times, weights, repeats and referential integrity of the interactions."""
    volume = rows_at_least(
        contract.min_interactions, "interactions", hint=_or_set("min_interactions")
    )
    if table.frame.empty:
        return [volume]
    suite = [*_ids(contract), *_times(contract, now), *_weights(contract), *_relations(contract)]
    return [volume, *_applicable(suite, table)]


def items(contract: ContractConfig, features: Features, table: Table) -> Suite:
    """Ids, titles and features of the catalog.

    An identical repeat of a row is a warning (ingest takes the last). Two rows of one id that
    differ are a breach: the order of a file would decide what the item is.
    """
    volume = rows_at_least(contract.min_items, "items", hint=_or_set("min_items"))
    if table.frame.empty:
        return [volume]
    repeats = "every item_id has one row (of identical rows the last is taken)"
    share, once = contract.max_missing_feature_share, "keep one row an item in the source"
    suite: Suite = [
        present("item_id", contract.max_invalid_share, hint=_or_set("max_invalid_share")),
        preferably_unique("item_id", repeats, hint=once),
        flag_is(
            "conflict", False, 0.0, "rows share an item_id and differ", about="item_id", hint=once
        ),
    ]
    for name in dict.fromkeys(("title", *features)):
        suite.append(present(name, share, hint=_or_set("max_missing_feature_share")))
    for name, kind in features.items():
        suite += _feature(name, kind, table)
    return [volume, *_applicable(suite, table)]


def embedding_rows(model: ModelConfig, table: Table) -> Suite:
    """Every embedding is finite and, where the model normalises, of unit length."""
    hint = "the model diverged, or an encoder met a value it cannot take: look at the loss curve"
    says = "all values are finite (no NaN, no infinity)"
    suite: Suite = [within("not finite", 0, 0, says, about="embedding", hint=hint)]
    if model.normalize:
        low, high = 1.0 - NORM_TOLERANCE, 1.0 + NORM_TOLERANCE
        says = f"every embedding has length 1, to {NORM_TOLERANCE:g}"
        suite.append(within("norm", low, high, says, about="embedding", hint=hint))
    return [] if table.frame.empty else suite


def embedding_matrix(model: ModelConfig, num_items: int) -> Suite:
    """Shape and spread of the whole matrix, for the one-row frame of `read_embeddings`."""
    stale = "it belongs to another catalog or model: embed again"
    collapsed = "the embeddings have collapsed and tell the items no longer apart: do not publish"
    rows = f"one row for each of {num_items:,} items"
    cosine = f"the mean cosine of random pairs is at most {MAX_MEAN_COSINE:g}"
    spread = f"the mean deviation of a dimension is at least {MIN_SPREAD:g} of an isotropic one's"
    return [
        fact("rows", num_items, num_items, rows, hint=stale),
        fact("dimension", model.output, model.output, f"dimension {model.output}", hint=stale),
        fact("mean cosine", None, MAX_MEAN_COSINE, cosine, hint=collapsed),
        fact("spread", MIN_SPREAD, None, spread, hint=collapsed),
    ]


def _ids(contract: ContractConfig) -> Suite:
    users, items = contract.min_users, contract.min_items
    keys = ("user_id", "item_id", "timestamp")
    share, hint = contract.max_invalid_share, _or_set("max_invalid_share")
    return [
        *(present(key, share, hint=hint) for key in keys),
        distinct_at_least("user_id", users, f"at least {users:,} users", hint=_or_set("min_users")),
        distinct_at_least("item_id", items, f"at least {items:,} items", hint=_or_set("min_items")),
    ]


def _times(contract: ContractConfig, now: datetime) -> Suite:
    hint = "check data.interactions.timestamp_unit (s, ms, us, ns or iso)"
    earliest = datetime.combine(contract.earliest, time.min, UTC)
    past = f"no interaction is older than {contract.earliest} (UTC)"
    future = (
        f"no interaction is later than {contract.max_future_days:g} days after the check "
        f"({now:%Y-%m-%d %H:%M} UTC)"
    )
    return [
        within("timestamp", microseconds(earliest), None, past, hint=hint),
        within("timestamp", None, latest_allowed(contract, now), future, hint=hint),
    ]


def _weights(contract: ContractConfig) -> Suite:
    hint = "mend the source, or leave out data.interactions.weight_column"
    share = contract.max_invalid_share
    return [present("weight", share, hint=hint), finite("weight", hint=hint)]


def _relations(contract: ContractConfig) -> Suite:
    # Referential integrity is a boolean column: the ids of the catalog as the value set of an
    # expectation would be copied into every result and every page.
    return [
        flag_is(
            "repeat",
            False,
            contract.max_duplicate_share,
            "interactions repeat another (user, item, time)",
            about="timestamp",
            hint=_or_set("max_duplicate_share"),
        ),
        flag_is(
            "known_item",
            True,
            contract.max_orphan_share,
            "interactions have an item that is not in the catalog",
            about="item_id",
            hint=_or_set("max_orphan_share"),
        ),
    ]


def _feature(name: str, kind: FeatureKind, table: Table) -> Suite:
    constant = f"{name} takes at least 2 values (a constant tells nothing)"
    suite = [distinct_at_least(name, 2, constant, hint="leave it out of data.items.features")]
    if kind == "numerical":
        suite.append(finite(name, hint="mend the source: one infinity spreads to every item"))
    if kind == "embedding" and name in table.frame and table.frame[name].notna().any():
        usual = float(table.frame[f"{name} length"].mode()[0])
        length = f"every {name} has {usual:g} values, as most have"
        hint = "mend the source: the encoder takes vectors of one length, of finite numbers"
        suite.append(within(f"{name} length", usual, usual, length, about=name, hint=hint))
        says = f"all values of {name} are finite"
        suite.append(within(f"{name} not finite", 0.0, 0.0, says, about=name, hint=hint))
    return suite


def _columns(table: Table, kinds: Mapping[str, tuple[str, ...]], hint: str) -> Suite:
    there = [exists(name, hint=hint) for name in kinds]
    typed: Suite = [of_kind(name, allowed, hint=hint) for name, allowed in kinds.items()]
    return [*there, *_applicable(typed, table)]


def _applicable(suite: Suite, table: Table) -> Suite:
    return [expectation for expectation in suite if vars(expectation)["column"] in table.frame]


def _or_set(setting: str) -> str:
    return f"mend the source or, if it is right, set contract.{setting}"
