"""The local engine: what all engines keep, the same bits however it runs, and killed runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pinsage.config import parse_config
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference import layers
from pinsage.inference.engine import EMBEDDINGS, Engine, Job
from pinsage.inference.inputs import Inputs
from pinsage.inference.layers import reduce_block
from pinsage.inference.layerwise import Blocks
from pinsage.inference.local import LocalEngine, embed_items, embed_trained
from pinsage.inference.stage import choose_engine
from tests.inference.engine_contract import Case, EngineContract, Matrix, embedded, make_case

REDUCE = "pinsage.inference.layerwise.reduce_block"


class TestLocalEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return LocalEngine()

    def test_it_is_the_one_that_is_chosen(self, case: Case) -> None:
        assert isinstance(choose_engine(case.job.settings), LocalEngine)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path / "case", layers=3)


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "float16"])
def test_any_number_of_threads_gives_the_same_bits(
    case: Case, tmp_path: Path, storage: str
) -> None:
    found = [
        embedded(LocalEngine(), replace(case.job, threads=threads), tmp_path / f"{threads}",
                 storage=storage, block=4)
        for threads in (1, 2, 5)
    ]  # fmt: skip
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_blocks_of_whole_tiles_give_the_same_bits(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Blocks.__init__, "__defaults__", (4,))
    sizes = [embedded(LocalEngine(), case.job, tmp_path / f"{size}", block=size)
             for size in (4, 8, 32, 1000)]  # fmt: skip
    for found in sizes[1:]:
        np.testing.assert_array_equal(found, sizes[0])


def test_all_in_memory_is_the_same_to_the_bit(case: Case, tmp_path: Path) -> None:
    found = embedded(LocalEngine(), case.job, tmp_path / "out", block=16)
    inputs = Inputs.open(case.job)
    features = inputs.read(slice(0, inputs.num_items))
    held = embed_items(inputs.model, features, inputs.table, block=16)
    np.testing.assert_array_equal(held, found)


def test_torch_has_its_threads_back(case: Case, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    embedded(LocalEngine(), replace(case.job, threads=before + 2), tmp_path / "out")
    assert torch.get_num_threads() == before


class KilledError(Exception):
    """Ends a run where a signal would."""


Kill = Callable[[int, int], None]


@pytest.fixture
def kill(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kill:
    """`kill(layer, blocks)` runs until so many blocks of a layer were reduced; 0 never ends."""

    def run(layer: int, blocks: int) -> None:
        model_layers: list[Any] = []
        seen = 0

        def counted(conv: Any, *arguments: Any) -> Any:
            nonlocal seen
            if conv not in model_layers:
                model_layers.append(conv)
            if len(model_layers) == layer:
                seen += 1
                if seen > blocks:
                    raise KilledError
            return reduce_block(conv, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(REDUCE, counted)
            with pytest.raises(KilledError):
                embedded(LocalEngine(), case.job, tmp_path / "killed")

    return run


def layers_computed(case: Case, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Matrix, int]:
    """Embeddings, and how many layers were reduced for them."""
    convs = set()

    def counted(conv: Any, *arguments: Any) -> Any:
        convs.add(id(conv))
        return reduce_block(conv, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(REDUCE, counted)
        found = embedded(LocalEngine(), case.job, out)
    return found, len(convs)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_killed_run_goes_on_at_its_layer(
    case: Case, kill: Kill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: int
) -> None:
    whole = embedded(LocalEngine(), replace(case.job, scratch=tmp_path / "s"), tmp_path / "whole")
    kill(layer, 2)
    left = {file.name for file in (case.job.scratch / "local").iterdir()}
    assert {"finished.json", f"layer-{layer}.bin", f"projected-{layer}.bin"} <= left
    assert f"layer-{layer - 1}.bin" not in left
    found, computed = layers_computed(case, tmp_path / "out", monkeypatch)
    np.testing.assert_array_equal(found, whole)
    assert computed == 4 - layer
    assert not list((case.job.scratch / "local").iterdir())


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _zeroed(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:100] + bytes(100) + content[200:])


def _grown(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


@pytest.mark.parametrize("name", ["layer-2.bin", "projected-2.bin"])
@pytest.mark.parametrize("harm", [_cut, _zeroed, _grown, Path.unlink])
def test_what_a_killed_run_left_damaged_is_computed_anew(
    case: Case, kill: Kill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, harm: Callable[[Path], None],
) -> None:  # fmt: skip
    kill(2, 2)
    harm(case.job.scratch / "local" / name)
    found, computed = layers_computed(case, tmp_path / "out", monkeypatch)
    np.testing.assert_allclose(found, case.expected, atol=1e-5)
    assert computed == 3


@pytest.mark.parametrize(
    "change",
    [{"layer": 9}, {"layer": 0}, {"storage": "torch.bfloat16"}, {"rows": 3}, {"digests": []}],
    ids=str,
)
def test_a_mark_that_is_not_of_this_job_is_not_gone_on_from(
    case: Case,
    kill: Kill,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    kill(2, 2)
    mark = case.job.scratch / "local" / "finished.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), **change}))
    found, computed = layers_computed(case, tmp_path / "out", monkeypatch)
    np.testing.assert_allclose(found, case.expected, atol=1e-5)
    assert computed == 3


def test_every_node_is_encoded_and_projected_once_a_layer(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, int] = {}
    count = Neighbourhoods.open(case.job.table).num_items

    def counting(name: str) -> None:
        function = getattr(layers, name)

        def counted(owner: Any, h: Any, *rest: Any) -> Any:
            rows[name] = rows.get(name, 0) + len(h)
            return function(owner, h, *rest)

        monkeypatch.setattr(f"pinsage.inference.layerwise.{name}", counted)

    for name in ("map_block", "reduce_block", "head_block"):
        counting(name)
    embedded(LocalEngine(), case.job, tmp_path / "out")
    assert rows == {"map_block": 3 * count, "reduce_block": 3 * count, "head_block": count}


def test_half_a_file_stands_in_the_way_of_nothing(case: Case, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / EMBEDDINGS).write_bytes(b"half")
    found = embedded(LocalEngine(), case.job, tmp_path / "out")
    np.testing.assert_allclose(found, case.expected, atol=1e-5)


def test_what_a_kill_leaves_of_an_embedding_in_memory_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"interactions": {"path": "unused"}}
    config = parse_config({"name": "films", "root": str(tmp_path), "data": data})
    test, folder = os.getpid(), tmp_path / "unused"

    def embed(_: LocalEngine, job: Job, out: Path) -> None:
        (job.scratch / "layer-1.bin").write_bytes(bytes(100))
        if os.getpid() != test:
            os._exit(9)  # as SIGKILL would
        np.save(out / EMBEDDINGS, np.ones((2, 3), dtype=np.float32))

    monkeypatch.setattr(LocalEngine, "embed", embed)
    killed = os.fork()
    if not killed:
        embed_trained(config, folder, folder, folder, folder)
    os.waitpid(killed, 0)
    assert list(tmp_path.rglob("layer-1.bin"))
    assert embed_trained(config, folder, folder, folder, folder).shape == (2, 3)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
