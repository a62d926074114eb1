"""Baselines that are vectors: how items training knows nothing of come last, ALS and BPR."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from threadpoolctl import threadpool_limits

from pinsage.content.columns import unit_rows
from pinsage.errors import TrainingError
from pinsage.evaluation.baselines import Evidence
from pinsage.evaluation.baselines.factorisation import (
    als_factors,
    als_scorer,
    bpr_factors,
    bpr_scorer,
)
from pinsage.evaluation.baselines.vectors import vector_scorer
from pinsage.evaluation.ranking import rank_pairs
from pinsage.graph.bipartite import BipartiteGraph

Matrix = npt.NDArray[np.float32]
NUMBERS = st.floats(-8, 8, width=32)
EVERY = np.arange(10, dtype=np.int32)

DIGESTS = """
import sys
from hashlib import blake2b
from pathlib import Path
from pinsage.evaluation.baselines.factorisation import als_factors, bpr_factors
from pinsage.evaluation.baselines.item2vec import ItemVectors, Sequences
from pinsage.graph.bipartite import BipartiteGraph

graph = BipartiteGraph.open(Path(sys.argv[1]))
sequences = Sequences.read(Path(sys.argv[2]), graph.num_items, 1)
vectors = ItemVectors.train(
    sequences, dimension=33, window=3, epochs=2, negative_power=0.5, seed=1
)
found = [
    als_factors(graph, factors=33, regularization=1.0, alpha=2.0, seed=1),
    bpr_factors(graph, factors=33, learning_rate=0.05, rounds=3, seed=1),
    vectors.inner,
    vectors.outer,
]
print(*[blake2b(each.tobytes(), digest_size=8).hexdigest() for each in found])
"""


def matrices(rows: int) -> st.SearchStrategy[Matrix]:
    return hnp.arrays(np.float32, (rows, 3), elements=NUMBERS)


@given(matrices(6), matrices(6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_known_items_score_by_inner_product_and_the_others_alike_below_them(
    queries: Matrix, items: Matrix, known: list[bool]
) -> None:
    mask = np.array(known)
    scores = vector_scorer("x", queries, items, mask, {}).score(np.arange(6, dtype=np.int32))
    np.testing.assert_allclose(scores[:, mask], (queries @ items.T)[:, mask], rtol=1e-4, atol=1e-4)
    for query, row in zip(queries, scores, strict=True):
        assert len(set(row[~mask].tolist())) <= 1
        if mask.any() and not mask.all() and query.any() and items[mask].any():
            assert row[~mask].max() < row[mask].min()


def test_rows_of_length_one_keep_their_direction_and_zeros_stay() -> None:
    unit = unit_rows(np.array([[3, 4], [0, 0]], dtype=np.float32))
    assert unit.ravel().tolist() == pytest.approx([0.6, 0.8, 0, 0])


def test_als_scores_are_products_or_cosines_of_its_item_factors(tastes: Evidence) -> None:
    factors = als_factors(tastes.graph, factors=4, regularization=1.0, alpha=5.0, seed=1)
    assert factors.shape == (10, 4)
    assert not factors[8:].any()  # nobody took them
    for similarity, vectors in (("inner", factors), ("cosine", unit_rows(factors))):
        scorer = als_scorer(tastes.graph, factors, {"similarity": similarity})
        scores = scorer.score(EVERY)[:8, :8]
        np.testing.assert_allclose(scores, (vectors @ vectors.T)[:8, :8], rtol=1e-5, atol=1e-6)


def test_als_gives_each_of_two_tastes_a_direction_of_its_own(tastes: Evidence) -> None:
    factors = als_factors(tastes.graph, factors=2, regularization=1.0, alpha=5.0, seed=1)
    unit = unit_rows(factors[:8])
    apart = np.kron(np.eye(2), np.ones((4, 4)))
    np.testing.assert_allclose(unit @ unit.T, apart, atol=0.02)


def test_a_bias_of_bpr_counts_for_the_item_that_is_scored_alone(tastes: Evidence) -> None:
    factors = bpr_factors(tastes.graph, factors=4, learning_rate=0.05, rounds=20, seed=1)
    assert factors.shape == (10, 5)
    own, bias = factors[:, :4], factors[:, 4]
    inner = bpr_scorer(tastes.graph, factors, {"similarity": "inner"}).score(EVERY)
    np.testing.assert_allclose(inner[:8, :8], (own @ own.T + bias)[:8, :8], rtol=1e-5, atol=1e-6)
    cosine = bpr_scorer(tastes.graph, factors, {"similarity": "cosine"}).score(EVERY)
    unit = unit_rows(own)
    np.testing.assert_allclose(cosine[:8, :8], (unit @ unit.T)[:8, :8], rtol=1e-5, atol=1e-6)


def test_ranks_found_without_a_score_for_every_item_are_those_of_the_scores(
    tastes: Evidence,
) -> None:
    factors = bpr_factors(tastes.graph, factors=4, learning_rate=0.05, rounds=20, seed=1)
    scorer = bpr_scorer(tastes.graph, factors, {"similarity": "inner"})
    query, positive = np.meshgrid(EVERY[:8], EVERY)
    apart = query != positive
    query, positive = query[apart], positive[apart]
    scores = scorer.score(EVERY)
    for q, p, rank in zip(query, positive, rank_pairs(scorer, query, positive, 10, 4), strict=True):
        others = np.delete(scores[q], q)
        target = scores[q, p]
        level = (others == target).sum() - 1
        assert rank == 1 + (others > target).sum() + level / 2


def test_training_is_silent_where_blas_has_several_threads(
    tastes: Evidence, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(), threadpool_limits(2, "blas"):
        warnings.simplefilter("error")
        als_factors(tastes.graph, factors=2, regularization=1.0, alpha=1.0, seed=1)
        bpr_factors(tastes.graph, factors=2, learning_rate=0.05, rounds=1, seed=1)
    assert capfd.readouterr() == ("", "")


def test_factors_that_are_not_finite_are_an_error_that_names_the_method(tastes: Evidence) -> None:
    with pytest.raises(TrainingError, match=r"BPR: the factors are not finite.*leave BPR out"):
        bpr_factors(tastes.graph, factors=2, learning_rate=1e30, rounds=5, seed=1)


def test_vectors_are_bitwise_the_same_for_any_threads_and_hash_seed(
    graph: BipartiteGraph, tastes: Evidence, tmp_path: Path
) -> None:
    graph.save(tmp_path)
    runs = {
        subprocess.run(
            [sys.executable, "-c", DIGESTS, str(tmp_path), str(tastes.interactions)],
            env={**os.environ, "PYTHONHASHSEED": number, "OMP_NUM_THREADS": number,
                 "OPENBLAS_NUM_THREADS": number},
            capture_output=True, text=True, check=True,
        ).stdout
        for number in ("1", "4")
    }  # fmt: skip
    assert len(runs) == 1
    assert len(set(runs.pop().split())) == 4
