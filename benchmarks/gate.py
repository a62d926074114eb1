"""How often the gate blocks a planted regression, and how often a mere retraining.

    python benchmarks/gate.py
    python benchmarks/gate.py --ranks A.parquet B.parquet …

Nights are simulated (`_gate_nights.py`), or real: two of several trainings are drawn and then
users, out of files with user_row and rank of the same pairs, such as the stages `ranks` and
`champion` make.
What is meant to hold: of 100 nights at least 95 with a loss of 3 % are blocked, and at most 5
without one, as long as there are users enough; the second table says how many pairs that takes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from _gate_nights import K, Night, World, change_of, judged, resampled, simulated
from _timing import print_table

from pinsage.config import GateConfig
from pinsage.promotion.power import largest_error, pairs_needed

_USERS = (30, 75, 150, 290, 1000, 3000, 8000)
_WORLDS = {
    "seeds alike": World(),
    "seeds ±.4 %": World(seed_noise=0.004),
    "hit-rate .2": World(hit_rate=0.2, pairs_a_user=13.0, lost=0.075),
}
_LOSSES = (0.0, 0.01, 0.02, 0.03)
_COLUMNS = ("nights", "users", "pairs", "se", *(f"−{loss:.0%}" for loss in _LOSSES), "asked A/A",
            "asked −3%")  # fmt: skip
# Hit-rate, share of pairs that two seeds differ on, and users' design effect: measured.
_MEASURED = {
    "MovieLens-100K": (0.498, 0.041, 1.05),
    "MovieLens latest-small, paper's settings": (0.124, 0.046, 1.6),
    "The Complete Journey, paper's settings": (0.178, 0.031, 1.9),
}

Draw = Callable[[int, float, np.random.Generator], Night]


def main() -> None:
    """Print both rates at several sizes, and what sizes the two promises take."""
    options = _options()
    rows = []
    if options.ranks:
        draws = [("real", _of_trainings(options.ranks))]
    else:
        draws = [(name, _drawing(world)) for name, world in _WORLDS.items()]
    for name, draw in draws:
        rows += [_row(name, draw, n, GateConfig(), options.nights) for n in options.users]
    print_table(f"The gate, {options.nights} nights each", _COLUMNS, rows)
    print_table("Pairs that it takes", ("data", "to keep −1 %", "to catch −3 %"), _needed())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--users", type=int, nargs="+", default=_USERS)
    parser.add_argument("--ranks", type=Path, nargs="+", help="two trainings or more")
    return parser.parse_args()


def _drawing(world: World) -> Draw:
    return lambda num_users, regression, rng: simulated(world, num_users, regression, rng)


def _of_trainings(files: list[Path]) -> Draw:
    tables = [pq.read_table(file) for file in files]
    users = tables[0]["user_row"].to_numpy()
    if any(not np.array_equal(users, table["user_row"].to_numpy()) for table in tables):
        raise SystemExit(f"{', '.join(map(str, files))}: not all of the same pairs")
    ranks = [table["rank"].to_numpy() for table in tables]

    def draw(num_users: int, regression: float, rng: np.random.Generator) -> Night:
        first, second = rng.choice(len(ranks), 2, replace=False)
        night = Night(users, ranks[first], ranks[second])
        return resampled(night, num_users, regression, rng)

    return draw


def _row(
    name: str, draw: Draw, num_users: int, policy: GateConfig, count: int
) -> tuple[object, ...]:
    blocked, asked, errors, num_pairs = {}, {}, [], []
    for regression in _LOSSES:
        rng = np.random.default_rng(int(1000 * regression))
        verdicts = []
        for number in range(count):
            night = draw(num_users, regression, rng)
            change = change_of(night, policy, number)
            verdicts.append(judged(change, policy).verdict)
            errors.append(change.error)
            num_pairs.append(change.num_pairs)
        blocked[regression] = count - verdicts.count("promote")
        asked[regression] = verdicts.count("ask")
    return (
        name, f"{num_users:,}", f"{np.mean(num_pairs):,.0f}", f"{np.mean(errors):.2%}",
        *blocked.values(), asked[0.0], asked[0.03],
    )  # fmt: skip


def _needed() -> list[tuple[object, ...]]:
    policy = GateConfig()
    errors = [largest_error(policy, widened=widened) for widened in (False, True)]
    rows: list[tuple[object, ...]] = []
    for name, (rate, changed, design) in _MEASURED.items():
        needed = [
            pairs_needed(error, hit_rate=rate, changed=changed, design=design) for error in errors
        ]
        rows.append((f"{name}: HR@{K} {rate}", *(f"{count:,}" for count in needed)))
    return rows


if __name__ == "__main__":
    main()
