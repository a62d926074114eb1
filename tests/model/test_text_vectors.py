"""Vectors of texts: what is computed, what is kept, and what a damaged cache costs."""

from __future__ import annotations

import logging
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pinsage.model import text_vectors
from pinsage.model.text import TextEncoder
from pinsage.model.text_vectors import Matrix, SentenceVectors, key_of, model_key, vectors_of

MODEL = TextEncoder("letters", "00ff", 3)
TEXTS = ["Up", "Heat", "Toy Story"]


class Counting:
    """A model that counts: length, vowels and first letter of each text, and what it was asked."""

    def __init__(self) -> None:
        self.computed: Counter[str] = Counter()
        self.opened = 0

    def load(self, encoder: TextEncoder) -> Counting:
        self.opened += 1
        return self

    def __call__(self, texts: Sequence[str]) -> Matrix:
        self.computed.update(texts)
        return expected(texts)


def expected(texts: Sequence[str]) -> Matrix:
    rows = [(len(t), sum(c in "aeiou" for c in t), ord(t[0])) for t in texts]
    return np.array(rows, dtype=np.float32).reshape(-1, 3)


@pytest.fixture
def counting() -> Counting:
    return Counting()


def files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def test_a_second_run_computes_no_text_twice_and_does_not_open_the_model(
    tmp_path: Path, counting: Counting
) -> None:
    first = SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    np.testing.assert_array_equal(first, expected(TEXTS))
    second = SentenceVectors(tmp_path, counting.load)(TEXTS[::-1], MODEL)
    np.testing.assert_array_equal(second, first[::-1])
    assert counting.computed == Counter(TEXTS)
    assert counting.opened == 1


def test_only_new_texts_are_computed_and_repeated_ones_once(
    tmp_path: Path, counting: Counting
) -> None:
    SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    texts = ["Alien", "Up", "Alien"]
    found = SentenceVectors(tmp_path, counting.load)(texts, MODEL)
    np.testing.assert_array_equal(found, expected(texts))
    assert counting.computed == Counter([*TEXTS, "Alien"])


def test_without_a_folder_vectors_stay_in_memory(
    tmp_path: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = SentenceVectors(None, counting.load)
    texts(TEXTS, MODEL)
    np.testing.assert_array_equal(texts(TEXTS, MODEL), expected(TEXTS))
    assert counting.computed == Counter(TEXTS)
    assert files_in(tmp_path) == []


def test_another_model_has_keys_and_files_of_its_own(tmp_path: Path, counting: Counting) -> None:
    other = TextEncoder("letters", "00fe", 3)
    assert key_of("Up", MODEL) != key_of("Up", other)
    SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    SentenceVectors(tmp_path, counting.load)(TEXTS, other)
    assert counting.computed == Counter(TEXTS * 2)
    assert {file.parent.name for file in files_in(tmp_path)} == {model_key(MODEL), model_key(other)}


def test_other_source_code_of_the_forward_pass_uses_no_old_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = model_key.__wrapped__(MODEL)
    monkeypatch.setattr(text_vectors, "code_digest", lambda names: f"edited {names}")
    assert model_key.__wrapped__(MODEL) != before


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "misnamed"])
def test_a_damaged_file_is_dropped_and_its_texts_are_computed_anew(
    tmp_path: Path, counting: Counting, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    (file,) = files_in(tmp_path)
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        content = content[:-1]
    elif damage == "altered":
        content[-1] ^= 1
    elif damage == "empty":
        content.clear()
    else:
        file = file.rename(file.with_stem("0" * 32))
    file.write_bytes(content)
    found = SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    np.testing.assert_array_equal(found, expected(TEXTS))
    assert counting.computed == Counter(TEXTS * 2)
    assert f"{file}: dropped, its texts are computed anew" in caplog.text
    SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    assert counting.computed == Counter(TEXTS * 2)
    assert len(files_in(tmp_path)) == 1


def test_what_a_killed_process_left_behind_is_not_read(tmp_path: Path, counting: Counting) -> None:
    SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    (file,) = files_in(tmp_path)
    half = file.with_name(".staging-1-00ff.safetensors")
    half.write_bytes(file.read_bytes()[:50])
    np.testing.assert_array_equal(
        SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL), expected(TEXTS)
    )
    assert counting.computed == Counter(TEXTS)


def test_a_killed_run_loses_one_file_of_texts_at_most(
    tmp_path: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_vectors, "_FILE", 2)
    with monkeypatch.context() as patch:
        patch.setattr(Counting, "__call__", stopping_at("Toy Story"))
        with pytest.raises(KeyboardInterrupt):
            SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    SentenceVectors(tmp_path, counting.load)(TEXTS, MODEL)
    assert counting.computed == Counter(TEXTS)


def stopping_at(text: str) -> Callable[[Counting, Sequence[str]], Matrix]:
    original = Counting.__call__

    def call(self: Counting, texts: Sequence[str]) -> Matrix:
        if text in texts:
            raise KeyboardInterrupt
        return original(self, texts)

    return call


def test_several_at_once_all_get_right_vectors_and_leave_whole_files(tmp_path: Path) -> None:
    found: list[Matrix] = []
    texts = [f"title {number}" for number in range(50)]

    def run(first: int) -> None:
        mine = texts[first:] + texts[:first]
        vectors = SentenceVectors(tmp_path, Counting().load)
        found.append(np.roll(vectors(mine, MODEL), first, axis=0))

    workers = [threading.Thread(target=run, args=(first,)) for first in (0, 10, 20, 30)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for vectors in found:
        np.testing.assert_array_equal(vectors, expected(texts))
    assert not [file for file in files_in(tmp_path) if file.name.startswith(".")]
    counting = Counting()
    SentenceVectors(tmp_path, counting.load)(texts, MODEL)
    assert not counting.computed


def test_a_cache_that_cannot_be_written_is_warned_of(
    tmp_path: Path, counting: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text").write_text("a file where the folder should be")
    found = SentenceVectors(tmp_path / "text", counting.load)(TEXTS, MODEL)
    np.testing.assert_array_equal(found, expected(TEXTS))
    assert "not kept for another run" in caplog.text
    # What ran before in this process may have switched on messages that are no warnings.
    levels = [each.levelno for each in caplog.records if each.levelno >= logging.WARNING]
    assert levels == [logging.WARNING]


def test_missing_and_empty_texts_are_zeros_and_are_not_computed(counting: Counting) -> None:
    cells = [None, "Up", float("nan"), "", "  \n", " Heat "]
    vectors = vectors_of(cells, MODEL, SentenceVectors(None, counting.load))
    zero = np.zeros(3)
    np.testing.assert_array_equal(
        vectors, [zero, expected(["Up"])[0], zero, zero, zero, expected(["Heat"])[0]]
    )
    assert counting.computed == Counter(["Up", "Heat"])


def test_a_column_without_any_text_opens_no_model(counting: Counting) -> None:
    vectors = vectors_of([None, ""], MODEL, SentenceVectors(None, counting.load))
    np.testing.assert_array_equal(vectors, np.zeros((2, 3)))
    assert vectors_of([], MODEL, SentenceVectors(None, counting.load)).shape == (0, 3)
    assert counting.opened == 0


def test_the_cache_may_be_deleted_at_any_time(tmp_path: Path, counting: Counting) -> None:
    vectors = SentenceVectors(tmp_path / "text", counting.load)
    vectors(TEXTS, MODEL)
    shutil.rmtree(tmp_path / "text")
    np.testing.assert_array_equal(vectors([*TEXTS, "Alien"], MODEL), expected([*TEXTS, "Alien"]))
