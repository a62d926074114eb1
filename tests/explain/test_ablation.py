"""Embeddings made from less: the same as the layer-wise engine's over an emptied table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pinsage.explain.ablation import ablate, embed_alone
from pinsage.explain.evidence import Evidence
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.local import embed_items
from pinsage.model.pinsage import PinSage


def emptied(table: Neighbourhoods) -> Neighbourhoods:
    return Neighbourhoods(np.full_like(table.neighbors, -1), np.zeros_like(table.weights))


@pytest.fixture
def newcomers(evidence: Evidence) -> PinSage:
    """The same model, as if training had seen no item of the catalog."""
    spec, config = evidence.model.spec, evidence.model.config
    model = PinSage(config, spec, evidence.model.num_items)
    model.load_state_dict(evidence.model.state_dict())
    model.encoder.known.zero_()
    return model.eval()


def test_alone_is_as_over_a_table_without_neighbours(evidence: Evidence) -> None:
    degree = evidence.graph.item_degree
    features = evidence.model.spec.transform(evidence.items, degree)
    expected = embed_items(evidence.model, features, emptied(evidence.table), block=7)
    found = embed_alone(evidence.model, evidence.items, degree, np.array([3, 30, 0]))
    np.testing.assert_allclose(found, expected[[3, 30, 0]], atol=1e-6)


def test_as_new_is_as_of_items_that_training_never_saw(
    evidence: Evidence, newcomers: PinSage
) -> None:
    nothing = np.zeros_like(evidence.graph.item_degree)
    features = evidence.model.spec.transform(evidence.items, nothing)
    expected = embed_items(newcomers, features, emptied(evidence.table), block=7)
    rows = np.arange(len(expected))
    found = embed_alone(evidence.model, evidence.items, nothing, rows, as_new=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_id_vector_is_what_as_new_hides(evidence: Evidence) -> None:
    arguments = evidence.model, evidence.items, evidence.graph.item_degree, np.array([3])
    assert evidence.model.config.id_embedding
    assert not np.allclose(embed_alone(*arguments), embed_alone(*arguments, as_new=True))


def test_scores_and_places_are_those_of_the_stripped_catalog(evidence: Evidence) -> None:
    degree = evidence.graph.item_degree
    vectors = embed_alone(evidence.model, evidence.items, degree, np.arange(40))
    found = ablate(evidence.model, evidence.items, degree, 2, 5).without_neighbours
    assert found.score == pytest.approx(float(vectors[2] @ vectors[5]), abs=1e-6)
    assert found.standing is not None
    better = (np.delete(vectors @ vectors[2], 2) > found.score + 1e-6).sum()
    assert found.standing.forward.rank == 1 + better


def test_without_interactions_the_degree_is_gone_too(evidence: Evidence) -> None:
    degree, ends = evidence.graph.item_degree, np.array([2, 5])
    new = embed_alone(evidence.model, evidence.items, np.zeros_like(degree), ends, as_new=True)
    known = embed_alone(evidence.model, evidence.items, degree, ends, as_new=True)
    found = ablate(evidence.model, evidence.items, degree, 2, 5).without_interactions
    assert found.score == pytest.approx(float(new[0] @ new[1]), abs=1e-6)
    assert found.score != pytest.approx(float(known[0] @ known[1]), abs=1e-6)


def test_a_large_catalog_has_the_same_scores_without_places(evidence: Evidence) -> None:
    arguments = evidence.model, evidence.items, evidence.graph.item_degree, 2, 5
    whole, pair = ablate(*arguments), ablate(*arguments, ranked_up_to=39)
    for of_all, of_two in (
        (whole.without_neighbours, pair.without_neighbours),
        (whole.without_interactions, pair.without_interactions),
    ):
        assert of_two.score == pytest.approx(of_all.score, abs=1e-6)
        assert of_two.standing is None


def test_the_model_is_left_as_it_was(evidence: Evidence) -> None:
    before = {name: value.clone() for name, value in evidence.model.state_dict().items()}
    ablate(evidence.model, evidence.items, evidence.graph.item_degree, 2, 5)
    after = evidence.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
