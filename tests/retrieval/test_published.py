"""What consumers read: round trip, search by id or title, related items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pinsage.errors import ArtifactError, UnknownItemError
from pinsage.retrieval import published
from pinsage.retrieval.index import FILE
from pinsage.retrieval.published import Published, load_published, open_version
from pinsage.retrieval.versions import EMBEDDINGS
from pinsage.store import MANIFEST

if TYPE_CHECKING:
    from tests.retrieval.conftest import PublishItems

TITLES = [
    "Toy Story", "Toy Story 2", "Alien", "Aliens", "Heat", "heat", "Amélie", "Léon", "50% (C++)",
    "Se7en", "The Thing", "STRASSE",
]  # fmt: skip
STRANGE = [
    "🎬 café 👩‍👩‍👧", "a\0b", "x" * 10_000, "שלום עולם", "\u202eevil", "<script>alert(1)</script>",
    '"><img onerror=1>', "", "  ", "line\nbreak", "=1+1", "e\u0301",
]  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, publish_items: PublishItems) -> Published:
    root = tmp_path_factory.mktemp("films")
    publish_items(root, titles=TITLES)
    return load_published(root, "films")


class TestRoundTrip:
    @pytest.mark.parametrize(
        "ids", [list(range(7, 19)), [f"é{n}" for n in range(12)], [-1, 2**62, *range(10)]]
    )
    def test_ids_titles_and_vectors_come_back_bit_for_bit(
        self, tmp_path: Path, publish_items: PublishItems, ids: list[Any]
    ) -> None:
        matrix = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
        matrix[0] = np.array([1e-45, -0.0, np.finfo(np.float32).max], dtype=np.float32)
        version = publish_items(tmp_path, ids=ids, titles=STRANGE, matrix=matrix)
        found = load_published(tmp_path, "films")
        assert found.version == version.name
        assert found.items["item_id"].tolist() == ids
        assert found.items["title"].tolist() == STRANGE
        assert found.vectors.dtype == np.float32
        assert found.vectors.tobytes() == matrix.tobytes()
        assert [found.row_of(item_id) for item_id in ids] == list(range(12))

    def test_many_shards_are_read_in_order(
        self, tmp_path: Path, publish_items: PublishItems, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pinsage.retrieval.shards._ROWS_A_SHARD", 5)
        matrix = np.arange(36, dtype=np.float32).reshape(12, 3)
        publish_items(tmp_path, matrix=matrix)
        found = load_published(tmp_path, "films")
        assert len(list((found.path / EMBEDDINGS).iterdir())) == 3
        np.testing.assert_array_equal(found.vectors, matrix)
        assert found.items["item_id"].tolist() == [f"i{row}" for row in range(12)]

    def test_manifest_says_what_a_version_was_made_from(self, films: Published) -> None:
        assert films.manifest.facts["evaluation"] == {"test_mrr": 0.5}
        assert films.manifest.facts["index"] == {"kind": "exact", "recall_100": 1.0}
        assert set(films.manifest.inputs) == {
            "items", "graph", "model", "evaluation", "embeddings", "index",
        }  # fmt: skip
        assert "model/config.json" in films.manifest.files


class TestDamage:
    @pytest.mark.parametrize("name", [f"{EMBEDDINGS}/part-00000.parquet", FILE, MANIFEST])
    def test_is_one_error_that_names_the_file(
        self, tmp_path: Path, publish_items: PublishItems, name: str
    ) -> None:
        first, second = publish_items(tmp_path, seed=1), publish_items(tmp_path, seed=2)
        file = second.path / name
        file.write_bytes(file.read_bytes()[:-3])
        with pytest.raises(ArtifactError, match=rf"{name}: .*publish again, or go back"):
            load_published(tmp_path, "films")
        assert load_published(tmp_path, "films", first.name).version == first.name

    def test_nothing_published_says_what_to_run(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"CURRENT: .*`pinsage run --config FILE` first"):
            load_published(tmp_path, "films")

    def test_unreadable_pointer_is_one_error(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        pointer = publish_items(tmp_path).path.parent / "CURRENT"
        pointer.write_bytes(b"\xff\xfe")
        with pytest.raises(ArtifactError, match=r"CURRENT: cannot be read .*publish again"):
            load_published(tmp_path, "films")
        publish_items(tmp_path)  # the remedy
        assert len(load_published(tmp_path, "films").items) == 12

    def test_version_pruned_while_it_is_opened_gives_the_newer_one(
        self, tmp_path: Path, publish_items: PublishItems, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish_items(tmp_path, seed=0)
        newer: list[str] = []

        def late(path: Path, *, verify: bool) -> Published:
            if not newer:  # two nightlies later, the version that CURRENT named is gone
                monkeypatch.setattr(published, "open_version", open_version)
                newer.extend(publish_items(tmp_path, seed=n, keep=2).name for n in (1, 2))
            return open_version(path, verify=verify)

        monkeypatch.setattr(published, "open_version", late)
        assert load_published(tmp_path, "films").version == newer[-1]

    def test_version_that_is_not_there(self, tmp_path: Path, publish_items: PublishItems) -> None:
        publish_items(tmp_path)
        with pytest.raises(ArtifactError, match=r"films: has no version v9; it has 20"):
            load_published(tmp_path, "films", "v9")


class TestFind:
    @pytest.mark.parametrize(
        ("text", "row"),
        [
            ("i3", 3),
            ("Toy Story", 0),  # exact, though it is a part of another
            ("toy story 2", 1),
            (" ALIENS ", 3),
            ("thing", 10),
            ("50% (c++)", 8),
            ("strasse", 11),
            ("straße", 11),
            ("amÉlie", 6),
        ],
    )
    def test_by_id_title_or_unique_part(self, films: Published, text: str, row: int) -> None:
        assert films.find(text) == row

    def test_an_id_goes_before_a_title(self, tmp_path: Path, publish_items: PublishItems) -> None:
        publish_items(tmp_path, ids=[7, 8, 9], titles=["8", "9", "Nine"])
        found = load_published(tmp_path, "films")
        assert [found.find(text) for text in ("7", "8", "9", "nine")] == [0, 1, 2, 2]

    @pytest.mark.parametrize(("text", "number"), [("heat", 2), ("alie", 2), ("e", 8)])
    def test_ambiguous_lists_some_and_counts_all(
        self, films: Published, text: str, number: int
    ) -> None:
        with pytest.raises(UnknownItemError, match=rf"fits {number} titles \(.*give the id"):
            films.find(text)

    def test_ambiguous_shows_the_ids(self, films: Published) -> None:
        with pytest.raises(UnknownItemError, match=r"\(i4 Heat; i5 heat\)"):
            films.find("Heat")

    def test_message_is_one_short_line_whatever_the_titles(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        titles = ["film\n\x1b[2J one", "film " + "x" * 10_000, "film \u202eeno"]
        publish_items(tmp_path, titles=titles)
        for text in ("film", "film on"):
            with pytest.raises(UnknownItemError) as caught:
                load_published(tmp_path, "films").find(text)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 300

    def test_unknown_suggests_the_closest_titles(self, films: Published) -> None:
        with pytest.raises(UnknownItemError, match=r"no such id .*did you mean Toy Story"):
            films.find("Tov Storv")

    @pytest.mark.parametrize("text", ["", "   ", "zzzzzz", ".*", "\0"])
    def test_nothing_like_it(self, films: Published, text: str) -> None:
        with pytest.raises(UnknownItemError, match=r"no such id or title among 12 items") as caught:
            films.find(text)
        assert "did you mean" not in str(caught.value)

    @pytest.mark.parametrize("item_id", ["i99", 3, None, ["i3"]])
    def test_unknown_id_shows_what_ids_look_like(self, films: Published, item_id: Any) -> None:
        with pytest.raises(UnknownItemError, match=r"no such item in version .* ids like 'i0'"):
            films.row_of(item_id)


class TestRelated:
    @pytest.mark.parametrize("k", [1, 5, 11, 12, 1000])
    def test_are_the_nearest_others_ranked_from_one(self, films: Published, k: int) -> None:
        for row in range(12):
            scores = films.vectors @ films.vectors[row]
            expected = [r for r in np.argsort(-scores, kind="stable") if r != row][:k]
            related = films.related(row, k)
            assert [each.item_id for each in related] == [f"i{r}" for r in expected]
            assert [each.title for each in related] == [TITLES[r] for r in expected]
            assert [each.rank for each in related] == list(range(1, min(k, 11) + 1))
            np.testing.assert_allclose(
                [each.score for each in related], scores[expected], rtol=1e-5, atol=1e-6
            )

    def test_item_that_is_not_its_own_nearest_is_left_out_too(
        self, tmp_path: Path, publish_items: PublishItems
    ) -> None:
        matrix = np.array([[1, 0], [3, 0], [2, 0], [0, 1]], dtype=np.float32)
        publish_items(tmp_path, matrix=matrix)
        found = load_published(tmp_path, "films")
        assert [each.item_id for each in found.related(0, 2)] == ["i1", "i2"]
        assert [each.item_id for each in found.related(0, 3)] == ["i1", "i2", "i3"]

    def test_nearest_to_a_vector_leaves_nobody_out(self, films: Published) -> None:
        assert films.nearest(films.vectors[4], 1)[0].item_id == "i4"
