"""Results as rows, JSON and Markdown.

All of them put K/N, the hit-rate of chance, beside a hit-rate, and every number has its interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pinsage.data.times import iso
from pinsage.evaluation.bootstrap import Interval
from pinsage.evaluation.metrics import headline_k
from pinsage.evaluation.results import Results

Row = dict[str, Any]
_WIDEST = 3  # numbers with intervals beside a name; Prefect's pages cut what is wider


def to_rows(period: str, results: Results) -> list[Row]:
    """One row a number.

    Columns: period, method, dimension, slice, metric, k, chance, value, low, high, num_pairs.
    Hit-rates hold every point of the curve on all pairs; `k` and `chance` are None elsewhere, and
    numbers that nothing was measured for are None.
    """
    rows = []
    for key in results.estimates.columns:
        k = int(key.metric.removeprefix("hit_rate_")) if "hit_rate" in key.metric else None
        rows.append(
            {
                "period": period,
                "method": key.method,
                "dimension": key.part.dimension,
                "slice": key.part.label,
                "metric": "hit_rate" if k else key.metric,
                "k": k,
                "chance": k / results.num_items if k else None,
                **_numbers(results.estimates.interval(key)),
                "num_pairs": results.parts[key.part],
            }
        )
    return rows


def to_json(results: Results) -> dict[str, Any]:
    """The table as nested dictionaries, JSON-ready; results.parquet has the slices."""
    return {
        "num_pairs": results.num_pairs,
        "num_users": results.num_users,
        "num_queries": results.num_queries,
        "num_items": results.num_items,
        "mrr_block": results.mrr_block,
        "confidence": results.estimates.confidence,
        "chance": {f"hit_rate_{k}": k / results.num_items for k in results.ks},
        "time_edges": [iso(edge) for edge in results.time_edges],
        "methods": {
            method: {metric: _numbers(results.get(method, metric)) for metric in results.metrics}
            for method in results.methods
        },
        "beyond": {
            method: {name: _known(number) for name, number in asdict(beyond).items()}
            for method, beyond in results.beyond.items()
        },
    }


def to_markdown(results: Results) -> str:
    """Markdown tables: all pairs, a few metrics each, and beyond accuracy. Bests are bold."""
    starts = range(0, len(results.metrics), _WIDEST)
    parts = [results.metrics[start : start + _WIDEST] for start in starts]
    tables = [*(_main_table(results, part) for part in parts), _beyond_table(results)]
    return "\n\n".join(_markdown(*table) for table in tables)


def slices_to_markdown(results: Results) -> str:
    """A Markdown table a dimension: hit-rate at the headline K of each slice."""
    tables = (_slice_table(results, dimension) for dimension in results.dimensions)
    return "\n\n".join(_markdown(*table) for table in tables)


def _main_table(results: Results, metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    names = {"mrr": "MRR", "mrr_scaled": f"MRR (blocks of {results.mrr_block})"}
    names |= {f"hit_rate_{k}": f"HR@{k} (K/N {_short(k / results.num_items)})" for k in results.ks}
    header = ["method", *(names[metric] for metric in metrics)]
    best = {metric: _best_value(results, metric) for metric in metrics}
    body = []
    for method in results.methods:
        row = [method]
        for metric in metrics:
            interval = results.get(method, metric)
            mark = "**" if interval.value == best[metric] else ""
            value = f"{mark}{_short(interval.value)}{mark}"
            row.append(f"{value} {_short(interval.low)}–{_short(interval.high)}")
        body.append(row)
    return header, body


def _slice_table(results: Results, dimension: str) -> tuple[list[str], list[list[str]]]:
    k = headline_k(results.ks)
    parts = [part for part in results.parts if part.dimension == dimension]
    header = [f"HR@{k} by {escape(dimension)}"]
    header += [f"{escape(part.label)} ({results.parts[part]:,} pairs)" for part in parts]
    body = [
        [method, *(_cell(results.get(method, f"hit_rate_{k}", part)) for part in parts)]
        for method in results.methods
    ]
    return header, body


def _beyond_table(results: Results) -> tuple[list[str], list[list[str]]]:
    header = [
        "top 10", "catalog coverage", "Gini", "mean popularity", "novelty (bits)",
        "intra-list distance",
    ]  # fmt: skip
    body = []
    for method, beyond in results.beyond.items():
        shares = [_short(beyond.coverage), _short(beyond.gini)]
        sizes = [f"{beyond.popularity:.1f}", f"{beyond.novelty:.2f}"]
        apart = "–" if math.isnan(beyond.diversity) else _short(beyond.diversity)
        body.append([method, *shares, *sizes, apart])
    return header, body


def escape(text: str) -> str:
    """Anybody's text as one cell of a Markdown table, inert in what renders it."""
    plain = " ".join(text.split())
    return "".join(f"&#{ord(c)};" if c in "|<>&`*_[]\\!#" else c for c in plain)


def _best_value(results: Results, metric: str) -> float:
    return max(results.get(method, metric).value for method in results.methods)


def _numbers(interval: Interval) -> dict[str, float | None]:
    named = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: _known(number) for name, number in named.items()}


def _known(number: float) -> float | None:
    # JSON has no NaN; a number that was not measured is null.
    return None if math.isnan(number) else number


def _cell(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "–"
    return f"{_short(interval.value)} {_short(interval.low)}–{_short(interval.high)}"


def _short(value: float) -> str:
    """Three significant digits without a leading zero: .491, .0505, 1.00."""
    if value == 0:
        return "0"
    digits = 4 if value < 0.0995 else 3
    return f"{value:.{digits}f}".removeprefix("0") if value < 0.9995 else f"{value:.2f}"


def _markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return "\n".join(_markdown_lines(header, body))


def _markdown_lines(header: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|---{'|--:' * (len(header) - 1)}|"
    for row in body:
        yield f"| {' | '.join(row)} |"
