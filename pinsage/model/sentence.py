"""Sentence vectors by a small BERT, all-MiniLM-L6-v2, written out in torch.

A transformer with layer norms after each residual sum (Devlin et al., "BERT", NAACL 2019), the
mean of its token vectors, scaled to unit length (Reimers & Gurevych, "Sentence-BERT", EMNLP 2019).
The weights were distilled (Wang et al., "MiniLM", NeurIPS 2020) and tuned on pairs of sentences.

Invariant: a vector is a function of its text alone, bit for bit on one kind of CPU. Kernels round
differently for another shape or another number of threads, so texts go one by one, unpadded, each
on one thread; more threads take more texts at a time.

Shapes: L tokens, D width, A heads of width E = D / A, n texts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pinsage.errors import MissingExtraError
from pinsage.model.text import LIMITS, SIZES, VOCABULARY, WEIGHTS, unreadable

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bert:
    """Weights by their names in the file, and what their shapes do not tell.

    Attributes:
        weights: float32 tensors
        num_layers, num_heads: of the transformer
        epsilon: added to variances in layer norms
    """

    weights: Mapping[str, Tensor]
    num_layers: int
    num_heads: int
    epsilon: float

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> Tensor:
        """The vector of one text, float32 [D], of length 1. `tokens`: L ≥ 1 ids."""
        h_LD = self._look_up(torch.tensor(tokens))
        for number in range(self.num_layers):
            h_LD = self._layer(h_LD, f"encoder.layer.{number}")
        # Every token is part of the text, as nothing is padded: the mask's mean is the plain one.
        return F.normalize(h_LD.mean(dim=0), dim=0)

    def _look_up(self, tokens_L: Tensor) -> Tensor:
        words, places, types = (
            self.weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        )
        summed_LD = words[tokens_L] + places[: len(tokens_L)] + types[0]
        return self._norm(summed_LD, "embeddings")

    def _layer(self, h_LD: Tensor, name: str) -> Tensor:
        mixed_LD = self._linear(self._attend(h_LD, name), f"{name}.attention.output.dense")
        h_LD = self._norm(h_LD + mixed_LD, f"{name}.attention.output")
        inner = F.gelu(self._linear(h_LD, f"{name}.intermediate.dense"))
        return self._norm(h_LD + self._linear(inner, f"{name}.output.dense"), f"{name}.output")

    def _attend(self, h_LD: Tensor, name: str) -> Tensor:
        length, width = h_LD.shape
        q_ALE, k_ALE, v_ALE = (
            self._linear(h_LD, f"{name}.attention.self.{part}")
            .view(length, self.num_heads, width // self.num_heads)
            .transpose(0, 1)
            for part in ("query", "key", "value")
        )
        scores_ALL = q_ALE @ k_ALE.transpose(1, 2) / math.sqrt(q_ALE.shape[2])
        seen_ALE = scores_ALL.softmax(dim=2) @ v_ALE
        return seen_ALE.transpose(0, 1).reshape(length, width)

    def _linear(self, h: Tensor, name: str) -> Tensor:
        return F.linear(h, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, h_LD: Tensor, name: str) -> Tensor:
        scale, shift = (self.weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return F.layer_norm(h_LD, h_LD.shape[-1:], scale, shift, self.epsilon)


@dataclass(frozen=True)
class SentenceModel:
    """A tokenizer and a transformer; `tokenizer` is one of the package tokenizers."""

    bert: Bert
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path) -> SentenceModel:
        """Read the files of a model.

        Raises ArtifactError naming the file that cannot be read, MissingExtraError without the
        package tokenizers.
        """
        bert = _read_bert(folder)
        return cls(bert, _read_tokenizer(folder))

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Vectors of n texts, float32 [n, D], of length 1.

        What a text has beyond the model's longest input, 256 tokens, is left out.
        """
        width = self.bert.weights["embeddings.word_embeddings.weight"].shape[1]
        vectors = np.empty((len(texts), width), dtype=np.float32)
        with _one_thread_a_text() as pool:
            for row, vector in enumerate(pool.map(self._encode, texts)):
                vectors[row] = vector.numpy()
        return vectors

    def _encode(self, text: str) -> Tensor:
        # Not as a batch: threads of the tokenizer's own are a danger to workers forked later.
        return self.bert.embed(self.tokenizer.encode(text).ids)


def _read_bert(folder: Path) -> Bert:
    file = folder / SIZES
    try:
        sizes = json.loads(file.read_text())
        if (sizes["model_type"], sizes["hidden_act"]) != ("bert", "gelu"):
            raise ValueError("expected a bert with gelu")
        numbers = int(sizes["num_hidden_layers"]), int(sizes["num_attention_heads"])
        epsilon = float(sizes["layer_norm_eps"])
        file = folder / WEIGHTS
        return Bert(load_file(file), *numbers, epsilon)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise unreadable(file, error) from error


def _read_tokenizer(folder: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError(
            "sentence vectors need the package tokenizers; run: pip install "
            "'pinsage-pipeline[text]'"
        ) from error
    file = folder / LIMITS
    try:
        longest = int(json.loads(file.read_text())["max_seq_length"])
        file = folder / VOCABULARY
        tokenizer = Tokenizer.from_str(file.read_text())
    except Exception as error:  # the class that tokenizers raises
        raise unreadable(file, error) from error
    tokenizer.no_padding()  # the file asks for 128 tokens, whatever the text
    tokenizer.enable_truncation(longest)
    return tokenizer


@contextmanager
def _one_thread_a_text() -> Iterator[ThreadPoolExecutor]:
    """As many workers as torch has threads, each of which computes on one."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # the workers have set the number for threads to come
