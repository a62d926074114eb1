"""The embed stage over the artifacts of a small run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pinsage.inference.local import embed_trained


def test_the_artifact_holds_a_finite_unit_vector_an_item(tiny_run: SimpleNamespace) -> None:
    embeddings = np.load(tiny_run.embed.file("embeddings.npy"))
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (tiny_run.embed.facts["num_items"], 8)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert tiny_run.embed.facts["dimension"] == 8
    norms, spread = np.linalg.norm(embeddings, axis=1), embeddings.std(axis=0)
    assert tiny_run.embed.facts["mean_norm"] == pytest.approx(norms.mean(), abs=1e-6)
    assert tiny_run.embed.facts["mean_std"] == pytest.approx(spread.mean(), abs=1e-6)


def test_embedding_the_same_artifacts_again_changes_no_bit(tiny_run: SimpleNamespace) -> None:
    again = embed_trained(
        tiny_run.config,
        tiny_run.ingest.path,
        tiny_run.full_graph.path,
        tiny_run.full_table.path,
        tiny_run.train.path,
    )
    np.testing.assert_array_equal(again, np.load(tiny_run.embed.file("embeddings.npy")))
    assert not list(tiny_run.config.root.glob("tmp*"))
