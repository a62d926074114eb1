"""What the rows of an ablation differ by: means over seeds, intervals over users, paired.

A pair's value is its mean over the seeds, so that a row is one method with the luck of a training
averaged out; whole users are drawn, as everywhere, and all rows share their resamples. How far the
seeds are apart is told beside it: the interval is about users, the spread about trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinsage.ablation.ranks import measured
from pinsage.config import Config
from pinsage.errors import ArtifactError
from pinsage.evaluation.bootstrap import Array, Clusters, Interval
from pinsage.evaluation.metrics import Ranks, headline_metric, usable_ks
from pinsage.evaluation.results import Estimates, Key
from pinsage.evaluation.slices import ALL


@dataclass(frozen=True)
class Comparison:
    """One period's numbers of all rows.

    Attributes:
        reference: the row that all are compared to
        variants: names, in the order of the table
        metrics: `hit_rate_<K>` ascending, `mrr`, `mrr_scaled`
        headline: the metric that plots and summaries show
        by_seed: of each row and metric, one value a seed
    """

    reference: str
    variants: tuple[str, ...]
    metrics: tuple[str, ...]
    headline: str
    num_pairs: int
    num_users: int
    num_items: int
    by_seed: Mapping[tuple[str, str], tuple[float, ...]]
    estimates: Estimates

    @classmethod
    def of(
        cls,
        ranks: Mapping[str, Sequence[Ranks]],
        user_row: npt.NDArray[np.int32],
        *,
        reference: str,
        config: Config,
        num_items: int,
    ) -> Comparison:
        """Compare rows by the ranks of the same pairs.

        `ranks` are of each row, float64 [P] a seed; `user_row` is int32 [P].
        """
        clusters = Clusters.of(user_row)
        sums: dict[Key, Array] = {}
        by_seed: dict[tuple[str, str], tuple[float, ...]] = {}
        for variant, seeds in ranks.items():
            found = [measured(each, config, num_items) for each in seeds]
            for metric in found[0]:
                values = np.stack([each[metric] for each in found])  # [seeds, P]
                by_seed[variant, metric] = tuple(values.mean(axis=1).tolist())
                sums[Key(variant, ALL, metric)] = clusters.sums(values.mean(axis=0))
        evaluation = config.evaluation
        return cls(
            reference=reference,
            variants=tuple(ranks),
            metrics=tuple(dict.fromkeys(metric for _, metric in by_seed)),
            headline=headline_metric(usable_ks(evaluation.ks, num_items)),
            num_pairs=len(user_row),
            num_users=clusters.num_users,
            num_items=num_items,
            by_seed=by_seed,
            estimates=Estimates.of(
                sums,
                {ALL: clusters.sums(np.ones(len(user_row)))},
                resamples=evaluation.bootstrap,
                confidence=evaluation.confidence,
                seed=config.seed,
            ),
        )

    def get(self, variant: str, metric: str) -> Interval:
        """A row's mean over its seeds, with its interval over users."""
        return self.estimates.interval(Key(variant, ALL, metric))

    def difference(self, variant: str, metric: str) -> Interval:
        """By how much a row is above the reference on the same pairs, with its interval."""
        return self.estimates.difference(
            Key(variant, ALL, metric), Key(self.reference, ALL, metric)
        )

    def spread(self, variant: str, metric: str) -> float:
        """Standard deviation over the seeds, with Bessel's correction; NaN of a single seed."""
        values = self.by_seed[variant, metric]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def common_users(users: Mapping[str, npt.NDArray[np.int32]], period: str) -> npt.NDArray[np.int32]:
    """The users of the pairs, which all trainings must share, int32 [P]; the names are for errors.

    Raises ArtifactError where two trainings ranked other pairs.
    """
    first, *others = users
    for other in others:
        if not np.array_equal(users[first], users[other]):
            raise ArtifactError(
                f"{period}: {other} ranked other pairs than {first} "
                f"({len(users[other])} against {len(users[first])}), so they cannot be compared; "
                f"all rows must come from one split"
            )
    return users[first]
