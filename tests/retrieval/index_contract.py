"""What every kind of index holds to: one test class, run by each."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pinsage.config import IndexConfig
from pinsage.errors import ArtifactError, ConfigError
from pinsage.retrieval import build
from pinsage.retrieval.index import FILE, FaissIndex, open_index, write_index
from pinsage.retrieval.recall import Trial
from tests.retrieval.clusters import Matrix, brute_force, clustered


def built(folder: Path, matrix: Matrix, settings: IndexConfig, threads: int = 1) -> FaissIndex:
    np.save(folder / "embeddings.npy", matrix)
    write_index(folder / "embeddings.npy", settings, 0, folder, threads=threads)
    return open_index(folder, threads)


class IndexContract:
    """Subclasses name the settings of a kind."""

    settings: ClassVar[IndexConfig]
    matrix = clustered(4000, 40, 32)
    queries = clustered(4200, 40, 32)[4000:]

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("index")
        built(folder, self.matrix, self.settings)
        return folder

    @pytest.fixture(scope="class")
    def index(self, folder: Path) -> FaissIndex:
        return open_index(folder)

    def test_says_what_it_is(self, index: FaissIndex) -> None:
        assert index.kind == self.settings.kind
        assert index.num_items == 4000
        np.testing.assert_array_equal(index.vectors, self.matrix)

    @pytest.mark.parametrize("k", [10, 100])
    def test_finds_what_was_asked_for(self, index: FaissIndex, k: int) -> None:
        _, rows = index.search(self.queries, k)
        expected = brute_force(self.matrix, self.queries, k)
        assert Trial(self.queries, expected).recall(rows) >= self.settings.recall

    def test_scores_are_inner_products_best_first(self, index: FaissIndex) -> None:
        scores, rows = index.search(self.queries, 100)
        assert scores.dtype == np.float32
        assert rows.dtype == np.int64
        products = np.einsum("qd,qkd->qk", self.queries, self.matrix[rows])
        np.testing.assert_allclose(scores, products, rtol=1e-5, atol=1e-6)
        assert (np.diff(scores, axis=1) <= 0).all()
        assert all(len(set(each)) == 100 for each in rows.tolist())

    @pytest.mark.parametrize("num_allowed", [0, 1, 40, 900, 1100, 2500, 4000])
    def test_finds_none_but_the_allowed(self, index: FaissIndex, num_allowed: int) -> None:
        order = np.random.default_rng(1).permutation(4000)[:num_allowed]
        allowed = np.concatenate([order, order[:3]])  # in no order, and some twice
        scores, rows = index.search(self.queries, 50, allowed=allowed)
        many = min(50, num_allowed)
        assert np.isin(rows, [-1, *order]).all()
        assert (np.isneginf(scores) == (rows == -1)).all()
        found = np.sort(order)[brute_force(self.matrix[np.sort(order)], self.queries, many)]
        if many:
            assert Trial(self.queries, found).recall(rows) >= self.settings.recall
        if num_allowed <= 40 or self.settings.kind == "exact":
            np.testing.assert_array_equal(rows[:, :many], found)
            assert (rows[:, many:] == -1).all()

    def test_more_than_there_are_is_all_there_are(self, index: FaissIndex) -> None:
        scores, rows = index.search(self.queries[:3], 4005)
        assert (np.sort(rows[:, :4000], axis=1) == np.arange(4000)).all()
        assert (rows[:, 4000:] == -1).all()
        assert np.isneginf(scores[:, 4000:]).all()

    @pytest.mark.parametrize("num_items", [1, 2, 15, 16, 17, 101])
    def test_few_items_are_all_found(self, tmp_path: Path, num_items: int) -> None:
        matrix = clustered(num_items, 3, 6)
        index = built(tmp_path, matrix, self.settings)
        _, rows = index.search(self.queries[:5, :6], num_items)
        np.testing.assert_array_equal(rows, brute_force(matrix, self.queries[:5, :6], num_items))

    def test_copies_are_found_with_equal_scores(self, tmp_path: Path) -> None:
        matrix = np.repeat(clustered(3, 3, 8), 400, axis=0)
        index = built(tmp_path, matrix, self.settings)
        scores, rows = index.search(matrix[[0, 400, 800]], 100)
        assert (rows // 400 == np.arange(3)[:, None]).all()
        np.testing.assert_allclose(scores, 1, atol=1e-6)

    def test_a_batch_finds_what_each_query_finds(self, folder: Path, index: FaissIndex) -> None:
        scores, rows = open_index(folder, threads=2).search(self.queries, 20)
        alone = [index.search(each[None], 20) for each in self.queries]
        np.testing.assert_array_equal(rows, np.concatenate([each[1] for each in alone]))
        np.testing.assert_allclose(scores, np.concatenate([s for s, _ in alone]), rtol=1e-6)

    def test_no_query_finds_nothing(self, index: FaissIndex) -> None:
        scores, rows = index.search(self.queries[:0], 7)
        assert scores.shape == rows.shape == (0, 7)

    def test_one_seed_makes_one_file_whatever_the_threads(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(build, "_CODED", 700)  # several blocks to share out
        files = []
        for threads in (1, 2, 3):
            folder = tmp_path / str(threads)
            folder.mkdir()
            built(folder, self.matrix, self.settings, threads=threads)
            files.append((folder / FILE).read_bytes())
        assert files[0] == files[1] == files[2]

    @pytest.mark.parametrize("keep", [0, 3, 60, 0.3, 0.9, -1])
    def test_a_truncated_file_is_an_error(self, folder: Path, tmp_path: Path, keep: float) -> None:
        whole = (folder / FILE).read_bytes()
        size = int(keep * len(whole)) if 0 < keep < 1 else int(keep)
        (tmp_path / FILE).write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match=r"index\.faiss: not a readable index"):
            open_index(tmp_path)

    @pytest.mark.parametrize("allowed", [[-1], [0, 4000]])
    def test_rows_that_are_not_there_cannot_be_allowed(
        self, index: FaissIndex, allowed: list[int]
    ) -> None:
        with pytest.raises(ConfigError, match=f"allowed: no row {allowed[-1]}; rows are 0 to"):
            index.search(self.queries, 5, allowed=np.array(allowed))

    def test_queries_of_another_width_are_refused(self, index: FaissIndex) -> None:
        with pytest.raises(ConfigError, match=r"queries: expected \[Q, 32\] \(got \[200, 31\]\)"):
            index.search(self.queries[:, :31], 5)

    def test_the_process_keeps_its_threads(self, folder: Path) -> None:
        import faiss
        from threadpoolctl import threadpool_info

        faiss.omp_set_num_threads(3)
        try:
            before = [pool["num_threads"] for pool in threadpool_info()]
            open_index(folder, threads=2).search(self.queries, 5)
            assert faiss.omp_get_max_threads() == 3
            assert [pool["num_threads"] for pool in threadpool_info()][: len(before)] == before
        finally:
            faiss.omp_set_num_threads(1)
