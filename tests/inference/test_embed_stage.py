"""The embed stage over the artifacts of a small run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pinsage.config import parse_config
from pinsage.errors import ConfigError
from pinsage.inference.local import embed_trained, job_of
from pinsage.inference.stage import write_embeddings
from pinsage.model.io import load_model, save_model


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


def test_a_model_too_large_for_float16_is_an_error_that_names_the_setting(
    tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    model = load_model(tiny_run.train.path / "model")
    with torch.no_grad():
        for conv in model.layers:
            conv.neighbour.weight.mul_(1e6)  # what is pooled is not of unit length
    save_model(model, tmp_path / "model")
    tree = tiny_run.config.model_dump(mode="json")
    for storage, refused in (("float16", True), ("bfloat16", False)):
        config = parse_config({**tree, "root": str(tmp_path), "embed": {"storage": storage}})
        made = (tiny_run.ingest.path, tiny_run.full_graph.path, tiny_run.full_table.path, tmp_path)
        scratch, out = tmp_path / f"{storage}-scratch", tmp_path / storage
        scratch.mkdir()
        out.mkdir()
        job = job_of(config, *made, scratch)
        if refused:
            with pytest.raises(ConfigError, match=r"embed\.storage is float16"):
                write_embeddings(job, out)
            with pytest.raises(ConfigError, match=r"embed\.storage is float16"):
                embed_trained(config, *made)
        else:
            write_embeddings(job, out)
