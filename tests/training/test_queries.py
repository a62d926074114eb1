"""Steps of the full softmax: every query once a pass, with all of its pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pinsage.config import NeighbourhoodConfig, TrainingConfig
from pinsage.data.pairs import Pairs
from pinsage.graph.neighbourhoods import build_neighbourhoods
from pinsage.model.pinsage import PinSage
from pinsage.training.checkpoint import Checkpoints
from pinsage.training.loop import Trainer
from pinsage.training.objective import loss_of
from pinsage.training.pairs import TrainingPairs
from pinsage.training.queries import PairsByQuery, QueryBatch, QueryLoader
from pinsage.training.team import Team

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {
    "loss": "full_softmax", "temperature": 0.1, "learning_rate": 0.02, "epochs": 3,
    "batch_size": 7, "passes": 2, "checkpoint_steps": 3, "spread": 0.1,
}  # fmt: skip


@pytest.fixture
def make_queries(town: SimpleNamespace) -> Callable[..., QueryLoader]:
    """`make_queries(**changes)`: seven of the town's queries a step, two passes an epoch."""

    def make(**changes: Any) -> QueryLoader:
        usual: dict[str, Any] = {"hops": 2, "batch_size": 7, "passes": 2, "seed": 1}
        of = town.training, [town.table], town.features, town.degree
        return QueryLoader(*of, **{**usual, **changes})

    return make


def read(loader: QueryLoader, epoch: int = 0, step: int = 0) -> list[QueryBatch]:
    loader.begin(epoch, step=step)
    with loader.batches(CPU) as batches:
        return list(batches)


def pairs_of(batch: QueryBatch) -> list[tuple[int, int]]:
    rows = batch.nodes.rows_S
    of_query = torch.repeat_interleave(rows[batch.query_Q], batch.indptr.diff())
    return list(zip(of_query.tolist(), rows[batch.positive_P].tolist(), strict=True))


def test_pairs_of_the_same_two_items_are_one_with_the_sum_of_their_weights() -> None:
    query, positive = np.array([[4, 2, 4, 4, 2], [1, 3, 0, 1, 3]], dtype=np.int32)
    weight = np.array([1, 2, 3, 0.5, 4], dtype=np.float32)
    merged = PairsByQuery.of(TrainingPairs(Pairs(query * 0, query, positive), weight), num_items=5)
    assert merged.query_row.tolist() == [2, 4]
    assert merged.indptr.tolist() == [0, 1, 3]
    assert merged.positive_row.tolist() == [3, 0, 1]
    assert merged.weight.tolist() == [6.0, 3.0, 1.5]


def test_a_pass_has_every_pair_once_in_an_order_of_its_own(
    town: SimpleNamespace, make_queries: Callable[..., QueryLoader]
) -> None:
    loader = make_queries()
    batches = read(loader)
    assert len(batches) == len(loader) == 2 * -(-len(np.unique(town.pairs.query_row)) // 7)
    half = len(batches) // 2
    passes = [[pairs_of(batch) for batch in part] for part in (batches[:half], batches[half:])]
    expected = set(
        zip(town.pairs.query_row.tolist(), town.pairs.positive_row.tolist(), strict=True)
    )
    for each in passes:
        found = Counter(pair for batch in each for pair in batch)
        assert set(found) == expected
        assert set(found.values()) == {1}
    assert passes[0] != passes[1]
    assert [pairs_of(batch) for batch in read(loader, epoch=1)[:half]] != passes[0]
    for batch in batches:
        assert batch.weight_P.sum().item() == pytest.approx(1.0)


def test_it_begins_anywhere_as_if_it_had_come_there(
    make_queries: Callable[..., QueryLoader],
) -> None:
    whole = [pairs_of(batch) for batch in read(make_queries(), epoch=2)]
    for step in (1, 5, len(whole) - 1):
        assert [pairs_of(batch) for batch in read(make_queries(), 2, step)] == whole[step:]


def test_candidates_are_what_training_knows_and_what_pairs_ask_for(
    town: SimpleNamespace, make_queries: Callable[..., QueryLoader]
) -> None:
    (batch, *_) = read(make_queries())
    known = np.flatnonzero(town.degree > 0)
    assert batch.nodes.rows_S[: batch.nodes.num_targets[-1]].tolist() == known.tolist()
    asked = int(town.pairs.positive_row[0])
    degree = town.degree.copy()
    degree[asked] = 0
    lost = QueryLoader(
        town.training, [town.table], town.features, degree,
        hops=2, batch_size=7, passes=1, seed=1,
    )  # fmt: skip
    assert asked in read(lost)[0].nodes.rows_S.tolist()


def test_passes_take_turns_with_the_tables(
    town: SimpleNamespace, make_queries: Callable[..., QueryLoader]
) -> None:
    other = build_neighbourhoods(town.graph, NeighbourhoodConfig(size=4), 99)
    assert not np.array_equal(other.neighbors, town.table.neighbors[:, :4])
    of = town.training, [town.table, other], town.features, town.degree
    loader = QueryLoader(*of, hops=2, batch_size=7, passes=3, seed=1)
    of_pass = len(loader) // 3
    for epoch, step in ((0, 0), (1, 0), (1, of_pass + 1)):
        batches = read(loader, epoch, step)
        widths = [batch.nodes.neighbors_BT.shape[1] for batch in batches]
        turns = [epoch * 3 + at // of_pass for at in range(step, len(loader))]
        assert widths == [(town.table.size, 4)[turn % 2] for turn in turns]
    digests = loader.digests(), make_queries().digests()
    assert digests[0]["neighbourhoods"] != digests[1]["neighbourhoods"]


def test_parts_of_a_team_add_up_to_the_step(
    make_queries: Callable[..., QueryLoader], make_model: Callable[..., PinSage]
) -> None:
    model, config = make_model(query_map=True).eval(), TrainingConfig(**SETTINGS)

    def losses(team: Team) -> list[float]:
        found = []
        for batch in read(make_queries(team=team)):
            loss = loss_of(model(batch.nodes), batch, config, model.query)
            found.append(loss.item())
        return found

    whole = losses(Team())
    for size in (2, 9):  # of nine, some have no query
        parts = [losses(Team(rank, size)) for rank in range(size)]
        assert np.sum(parts, axis=0) == pytest.approx(whole, rel=1e-5)


@contextmanager
def _interrupted(loader: QueryLoader, after: int) -> Iterator[None]:
    whole = loader.batches

    @contextmanager
    def few(device: torch.device) -> Iterator[Iterator[QueryBatch]]:
        with whole(device) as batches:
            yield _stopping(batches, after)

    def _stopping(batches: Iterator[QueryBatch], most: int) -> Iterator[QueryBatch]:
        for number, batch in enumerate(batches):
            if number == most:
                raise KeyboardInterrupt
            yield batch

    loader.batches = few  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        yield


@pytest.mark.parametrize("after", [2, 4, 11])
def test_training_learns_and_a_resume_changes_no_bit(
    tmp_path: Path,
    make_queries: Callable[..., QueryLoader],
    make_model: Callable[..., PinSage],
    after: int,
) -> None:
    def trainer(folder: str, loader: QueryLoader) -> Trainer:
        scores = iter(range(1, 9))
        return Trainer(
            make_model(query_map=True), loader, lambda _: {"mrr": next(scores) / 10}, score="mrr",
            config=TrainingConfig(**SETTINGS), seed=5, checkpoints=Checkpoints(tmp_path / folder),
        )  # fmt: skip

    straight = trainer("straight", make_queries())
    history = straight.fit()
    losses = [report.loss for report in history if report.loss is not None]
    assert losses[-1] < losses[0] - 0.1
    stopped = make_queries()
    with _interrupted(stopped, after):
        trainer("stopped", stopped).fit()
    resumed = trainer("stopped", make_queries())
    assert [report.loss for report in resumed.fit()] == losses
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
