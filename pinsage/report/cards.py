"""The data card and the model card: what the run saw, what it made, and what that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pinsage.config import (
    CHANGES_NO_VERDICT,
    Config,
    PairsConfig,
    Source,
    TrainingConfig,
)
from pinsage.report.inputs import Contract, ReportInputs
from pinsage.report.text import column_name, count, day, duration, memory, moment, one_line

Facts = tuple[tuple[str, str], ...]


_LIMITS = (
    "It relates items to items. It knows no user, and a list is the same for everybody.",
    (
        "A pair is one user’s next item after another. Other items may have been as good, so "
        "hit-rates tell methods apart; they do not say how good a list is."
    ),
    (
        "Intervals hold the chance of which users were seen. They do not hold another seed, "
        "another period, or people’s answer to being shown these items."
    ),
)


@dataclass(frozen=True)
class Part:
    """A stretch of time: its share of the interactions in percent, and its first day."""

    name: str
    share: float
    num: int
    start: str


@dataclass(frozen=True)
class Outcome:
    """One expectation of a contract."""

    about: str
    expected: str
    found: str
    success: bool
    critical: bool


@dataclass(frozen=True)
class DataCard:
    """Where the data come from, what was in them and how they were cut."""

    facts: Facts
    quarantined: Facts
    parts: tuple[Part, ...]
    end: str
    contracts: tuple[tuple[str, tuple[Outcome, ...]], ...]


@dataclass(frozen=True)
class Cost:
    """A stage's time and memory; `reused` says that they were spent in an earlier run."""

    name: str
    seconds: str
    memory: str
    reused: bool


@dataclass(frozen=True)
class Setting:
    """A configured value; `changed` says that it is not the default."""

    name: str
    value: str
    changed: bool


@dataclass(frozen=True)
class ModelCard:
    """What the model is, how it was made, and what it cannot do."""

    summary: str
    facts: Facts
    limits: tuple[str, ...]
    costs: tuple[Cost, ...]
    total: str
    any_reused: bool
    packages: Facts
    settings: tuple[Setting, ...]


def data_card(inputs: ReportInputs) -> DataCard:
    """From the facts of ingest and split, and the gates' reports."""
    found, config = inputs.ingest_facts, inputs.config
    reasons = found.get("quarantined_by_reason", {})
    sources = [("Interactions", _origin(config.data.interactions))]
    if config.data.items is not None:
        sources.append(("Catalog", _origin(config.data.items)))
    facts = [
        *sources,
        ("Interactions kept", count(found["num_interactions"])),
        ("Users (contexts)", count(found["num_users"])),
        ("Items", count(found["num_items"])),
        ("Quarantined", count(found["num_quarantined"])),
        ("Duplicates removed", count(found["num_duplicates"])),
        ("First interaction", moment(found["first_time"])),
        ("Last interaction", moment(found["last_time"])),
        ("Digest of the data", one_line(inputs.provenance.data, 40)),
    ]
    return DataCard(
        facts=tuple(facts),
        quarantined=tuple((one_line(reason), count(num)) for reason, num in reasons.items()),
        parts=_parts(found, inputs.split_facts),
        end=day(found["last_time"]),
        contracts=tuple((c.name, tuple(_outcomes(c))) for c in inputs.contracts),
    )


def model_card(inputs: ReportInputs, history: list[Mapping[str, Any]]) -> ModelCard:
    """From the configuration, the training history and where the run comes from."""
    config, origin = inputs.config, inputs.provenance
    features = config.data.items.features if config.data.items else {}
    facts = [
        ("Features", ", ".join(f"{column_name(n)} ({kind})" for n, kind in features.items())
                     or "none but the degree in the graph"),
        ("Epochs", f"{history[-1]['epoch']} of at most {config.training.epochs}"),
        ("Seed", str(config.seed)),
        ("Software", one_line(origin.code, 60)),
        *([("Machine", one_line(origin.machine))] if origin.machine else []),
        ("Made", moment(origin.created)),
    ]  # fmt: skip
    fresh = [stage for stage in origin.stages if not stage.reused]
    return ModelCard(
        summary=_summary(config),
        facts=tuple(facts),
        limits=_limits(inputs),
        costs=tuple(
            Cost(one_line(s.name, 40), duration(s.seconds), memory(s.peak_mib), s.reused)
            for s in origin.stages
        ),
        total=duration(sum(stage.seconds for stage in fresh)),
        any_reused=len(fresh) < len(origin.stages),
        packages=tuple((one_line(n, 40), one_line(v, 40)) for n, v in origin.packages.items()),
        settings=tuple(_settings(config)),
    )


def _origin(source: Source) -> str:
    """Where a table comes from; of a database the host alone, because its address has secrets."""
    if source.url is not None:
        parts = urlsplit(source.url)
        try:
            host = parts.hostname
        except ValueError:
            host = None
        return f"{one_line(parts.scheme, 40)} database{f' at {one_line(host, 60)}' if host else ''}"
    inside = f" of the package {source.package}" if source.package else ""
    return one_line(f"{source.path}{inside}")


def _parts(found: Mapping[str, Any], cuts: Mapping[str, Any]) -> tuple[Part, ...]:
    starts = {"train": found["first_time"], "valid": cuts["valid_from"], "test": cuts["test_from"]}
    names = {"train": "Training", "valid": "Validation", "test": "Test"}
    total = sum(cuts[f"num_{part}"] for part in names) or 1
    return tuple(
        Part(name, round(100 * cuts[f"num_{part}"] / total, 2), cuts[f"num_{part}"],
             day(starts[part]))
        for part, name in names.items()
    )  # fmt: skip


def _outcomes(contract: Contract) -> Iterator[Outcome]:
    for each in contract.expectations:
        about = ".".join(part for part in (each["table"], each["column"]) if part)
        yield Outcome(
            about=one_line(about, 60),
            expected=one_line(each["expected"], 200),
            found=one_line(each["found"], 200),
            success=bool(each["success"]),
            critical=bool(each.get("critical", True)),
        )


def _summary(config: Config) -> str:
    model, walks = config.model, config.neighbourhoods
    layers = f"{model.layers} graph convolution{'s' if model.layers > 1 else ''}"
    length = "of unit length" if model.normalize else "of free length"
    own = (
        f" An id vector, hidden for {100 * model.id_dropout:g} % of the items in each step, stands "
        f"beside the content."
        if model.id_embedding
        else ""
    )
    return (
        f"PinSage: {layers} over the {walks.size} items that {walks.walks} random walks from each "
        f"item visit most. An embedding has {model.output} dimensions and is {length}; it is "
        f"trained with {_loss(config.training)} on interactions of one user, each with "
        f"{_reach(config.pairs)}, against {_rivals(config)}.{own}"
    )


def _loss(training: TrainingConfig) -> str:
    if training.loss == "max_margin":
        return f"a max-margin loss (margin {training.margin:g})"
    name = {
        "softmax": "a sampled softmax",
        "full_softmax": "a softmax over all items taken in training",
        "cross_entropy": "a cross-entropy",
    }[training.loss]
    return f"{name} (temperature {training.temperature:g})"


def _reach(pairs: PairsConfig) -> str:
    return "the next" if pairs.window == 1 else f"the next {pairs.window}"


def _rivals(config: Config) -> str:
    if config.training.loss == "full_softmax":
        return "all the others"
    negatives = config.negatives
    parts = [f"{negatives.shared} random negatives"] if negatives.shared else []
    parts += ["the positives of the other pairs"] if negatives.in_batch else []
    parts += [f"up to {negatives.hard} hard ones a query"] if negatives.hard else []
    return f"{', '.join(parts)} a step"


def _limits(inputs: ReportInputs) -> tuple[str, ...]:
    limits = list(_LIMITS)
    if inputs.config.embed.graph == "full":
        last = day(inputs.ingest_facts["last_time"])
        limits.append(
            f"Accuracy is measured with vectors over the training period. The cosines, the map "
            f"and the neighbours show the vectors to be published, which the same weights compute "
            f"over everything up to {last}."
        )
    if inputs.config.data.items is None or not inputs.config.data.items.features:
        limits.append("Without a catalog’s features, an item that nobody has taken has no content.")
    return tuple(limits)


def _settings(config: Config) -> Iterator[Setting]:
    changed = dict(_flat(config.model_dump(mode="json", exclude_defaults=True), ""))
    for name, value in _flat(config.model_dump(mode="json"), ""):
        if value is None or name.endswith((".url", ".query")):
            continue  # a database's address may hold a password
        if name in {f"gate.{each}" for each in CHANGES_NO_VERDICT}:
            continue  # the page comes before the verdict, and is not drawn anew for them
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield Setting(one_line(name), one_line(shown, 300), name in changed)


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
