from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.config import FeatureKind, ItemsConfig
from pinsage.content.columns import Content
from pinsage.errors import ConfigError, TrainingError
from pinsage.evaluation.baselines import ContentKNNScorer, content_vectors

CATALOG = pd.DataFrame(
    {
        "genre": ["drama|war", "drama", "comedy", None, "drama|war", None],
        "maker": ["a", "b", "a", "a", "a", None],
        "year": [1990.0, 1994.0, 1992.0, np.nan, 1990.0, np.nan],
        "look": [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]],
        "title": ["Sea", "The sea", "Land", None, "Sea", None],
        "since": ["2001-01-01", "2001-07-01", "2003-01-01", None, "2001-01-01", None],
    }
)
KINDS: dict[str, FeatureKind] = {
    "genre": "multicategorical",
    "maker": "categorical",
    "year": "numerical",
    "look": "embedding",
    "title": "text",
    "since": "timestamp",
}


def content_of(*columns: str, items: pd.DataFrame = CATALOG) -> Content:
    declared = ItemsConfig(path="items.csv", features={name: KINDS[name] for name in columns})
    content = Content.of(items, declared)
    assert content is not None
    return content


def scores_of(content: Content, **chosen: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    scorer = ContentKNNScorer.of(content, **chosen)
    return scorer.score(np.arange(content.num_items, dtype=np.int32))


def terms_of(cell: Any) -> set[str]:
    return set() if pd.isna(cell) else set(str(cell).split("|"))


def dense_block(cells: list[Any], idf: float, mass: float) -> np.ndarray[Any, Any]:
    """TF-IDF by dictionaries, a row an item, each of length (its length)^mass."""
    bags = [terms_of(cell) for cell in cells]
    count = Counter(term for bag in bags for term in bag)
    vocabulary = sorted(count)
    block = np.zeros((len(bags), len(vocabulary)))
    for row, bag in enumerate(bags):
        for term in bag:
            rarity = math.log(1 + len(bags) / count[term])
            block[row, vocabulary.index(term)] = rarity**idf
    length = np.linalg.norm(block, axis=1, keepdims=True)
    return block / np.where(length > 0, length, 1) ** (1 - mass)


@pytest.mark.parametrize("idf", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("mass", [0.0, 0.5, 1.0])
def test_scores_are_the_cosines_of_dense_tf_idf(idf: float, mass: float) -> None:
    columns = ("genre", "maker")
    blocks = [dense_block(CATALOG[column].tolist(), idf, mass) for column in columns]
    vectors = np.hstack(blocks)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    scores = scores_of(content_of(*columns), idf=idf, mass=mass)
    np.testing.assert_allclose(scores, vectors @ vectors.T, rtol=1e-5, atol=1e-6)


def test_columns_that_are_there_count_alike() -> None:
    """Items 0 and 2 share their maker, of two columns; item 3 has a maker alone."""
    scores = scores_of(content_of("genre", "maker"))
    assert scores[0, 2] == pytest.approx(1 / 2)
    assert scores[0, 3] == pytest.approx(1 / math.sqrt(2))


def test_a_number_is_a_place_on_a_quarter_circle() -> None:
    """Four years with mean 1991.5 and standard deviation √2.75; ±2 of those are 90° apart."""
    scores = scores_of(content_of("year"))
    apart = 4.0 / math.sqrt(2.75) * math.radians(90) / 4
    assert scores[0, 1] == pytest.approx(math.cos(apart), rel=1e-5)
    assert scores[0, 4] == pytest.approx(1.0)
    assert scores[0, 3] == 0


def test_times_are_compared_as_numbers() -> None:
    scores = scores_of(content_of("since"))
    assert scores[0, 4] == pytest.approx(1.0)
    assert 1 > scores[0, 1] > scores[0, 2] > 0


def test_given_vectors_score_by_their_cosine() -> None:
    scores = scores_of(content_of("look"))
    assert scores[0, 2] == pytest.approx(0.6)
    assert scores[1, 2] == pytest.approx(0.8)
    assert scores[0, 1] == 0


def test_texts_that_share_words_are_alike() -> None:
    scores = scores_of(content_of("title"))
    assert scores[0, 4] == pytest.approx(1.0)
    assert 1 > scores[0, 1] > 0
    assert scores[0, 2] == 0


@pytest.mark.parametrize("mass", [0.0, 1.0])
def test_all_kinds_together_give_cosines(mass: float) -> None:
    scores = scores_of(content_of(*KINDS), mass=mass)
    np.testing.assert_allclose(np.diag(scores)[:5], 1.0, rtol=1e-5)
    np.testing.assert_allclose(scores, scores.T, rtol=1e-5, atol=1e-6)
    assert scores.max() < 1 + 1e-5
    assert not scores[5].any()  # nothing is known of the last item
    assert not scores[:, 5].any()


def test_items_of_equal_content_tie_exactly_wherever_they_stand() -> None:
    rng = np.random.default_rng(1)
    copies = CATALOG.iloc[rng.integers(0, 6, 3000)].reset_index(drop=True)
    scores = scores_of(content_of(*KINDS, items=copies))[:6]
    kind = copies["title"].astype(str) + copies["maker"].astype(str)
    for rows in kind.groupby(kind).groups.values():
        assert len({tuple(column) for column in scores[:, rows].T.tolist()}) == 1


def test_without_a_catalog_or_its_features_there_is_no_content() -> None:
    assert Content.of(CATALOG, None) is None
    assert Content.of(CATALOG, ItemsConfig(path="items.csv")) is None


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TrainingError, match="the catalog has no column 'maker'"):
        content_of("maker", items=CATALOG.drop(columns="maker"))


def test_dense_vectors_estimate_the_cosine_of_the_content() -> None:
    """A standard error of at most 1/√256 = 0.06, and of far less in the mean over all pairs."""
    rng = np.random.default_rng(2)
    words = [f"w{n}" for n in range(60)]
    items = pd.DataFrame(
        {
            "genre": ["|".join(rng.choice(words, 6, replace=False)) for _ in range(300)],
            "year": rng.normal(2000, 5, 300),
        }
    )
    content = content_of("genre", "year", items=items)
    vectors = content_vectors(content)
    assert vectors.shape == (300, 256)
    assert vectors.dtype == np.float32
    error = vectors @ vectors.T - scores_of(content)
    assert np.abs(np.diag(error)).max() < 1e-5
    assert error.std() < 0.07
    assert abs(error.mean()) < 0.01


def test_dense_vectors_need_a_place_beside_the_mean() -> None:
    with pytest.raises(ConfigError, match=r"dimensions: expected at least 2.*\(got 1\)"):
        content_vectors(content_of("maker"), dimensions=1)


def test_dense_vectors_of_equal_content_are_equal_and_of_none_zero() -> None:
    vectors = content_vectors(content_of(*KINDS), dimensions=16)
    assert np.array_equal(vectors[0], vectors[4])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1)[:5], 1.0, rtol=1e-5)
    assert not vectors[5].any()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=4).map("|".join), min_size=3, max_size=9)
)
def test_content_of_any_catalog_scores_like_dense_tf_idf(cells: list[str]) -> None:
    items = pd.DataFrame({"genre": [*cells, "a"]})
    expected = dense_block([*cells, "a"], 1.0, 0.0)
    present = {term for cell in cells for term in terms_of(cell)} - {""}
    scores = scores_of(content_of("genre", items=items))
    assert scores.shape == (len(cells) + 1, len(cells) + 1)
    if all(cells) and present:
        np.testing.assert_allclose(scores, expected @ expected.T, rtol=1e-5, atol=1e-6)
