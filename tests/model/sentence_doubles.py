"""Small transformers with random weights, and a second, plain way to compute them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from pinsage.model.sentence import Bert

Array = npt.NDArray[np.float64]
EPSILON = 1e-12


def small_bert(*, words: int, width: int, layers: int, heads: int, seed: int = 0) -> Bert:
    """Random weights far from trivial: no shift is 0, no scale 1."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (words, width),
        "embeddings.position_embeddings.weight": (32, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        **_norm_shapes("embeddings", width),
    }
    for number in range(layers):
        name = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear_shapes(f"{name}.attention.{part}", width, width)
        shapes |= _norm_shapes(f"{name}.attention.output", width)
        shapes |= _linear_shapes(f"{name}.intermediate.dense", 4 * width, width)
        shapes |= _linear_shapes(f"{name}.output.dense", width, 4 * width)
        shapes |= _norm_shapes(f"{name}.output", width)
    weights = {name: torch.from_numpy(rng.normal(size=s)).float() for name, s in shapes.items()}
    return Bert(weights, layers, heads, EPSILON)


def _linear_shapes(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.LayerNorm.weight": (width,), f"{name}.LayerNorm.bias": (width,)}


class SlowBert:
    """The same in float64, token by token and head by head, out of the papers' formulas."""

    def __init__(self, bert: Bert) -> None:
        self._w = {name: w.double().numpy() for name, w in bert.weights.items()}
        self._layers, self._heads = bert.num_layers, bert.num_heads

    def embed(self, tokens: list[int]) -> Array:
        states = [self._input(token, place) for place, token in enumerate(tokens)]
        for number in range(self._layers):
            states = self._layer(states, f"encoder.layer.{number}")
        mean = sum(states, np.zeros_like(states[0])) / len(states)
        return np.asarray(mean / math.sqrt(float(mean @ mean)))

    def _input(self, token: int, place: int) -> Array:
        names = {"word": token, "position": place, "token_type": 0}
        rows = [self._w[f"embeddings.{name}_embeddings.weight"][at] for name, at in names.items()]
        return self._norm(rows[0] + rows[1] + rows[2], "embeddings")

    def _layer(self, states: list[Array], name: str) -> list[Array]:
        attention = f"{name}.attention"
        query, key, value = (
            [self._affine(state, f"{attention}.self.{part}") for state in states]
            for part in ("query", "key", "value")
        )
        out = []
        for place, state in enumerate(states):
            heads = [self._head(h, query[place], key, value) for h in range(self._heads)]
            mixed = self._affine(np.concatenate(heads), f"{attention}.output.dense")
            middle = self._norm(state + mixed, f"{attention}.output")
            wide = self._affine(middle, f"{name}.intermediate.dense")
            bent = np.array([x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in wide])
            narrow = self._affine(bent, f"{name}.output.dense")
            out.append(self._norm(middle + narrow, f"{name}.output"))
        return out

    def _head(self, head: int, query: Array, keys: list[Array], values: list[Array]) -> Array:
        size = len(query) // self._heads
        mine = slice(head * size, (head + 1) * size)
        logits = [float(query[mine] @ key[mine]) / math.sqrt(size) for key in keys]
        weights = [math.exp(logit - max(logits)) for logit in logits]
        parts = [w * v[mine] for w, v in zip(weights, values, strict=True)]
        return np.asarray(np.sum(parts, axis=0) / sum(weights))

    def _affine(self, state: Array, name: str) -> Array:
        return np.asarray(self._w[f"{name}.weight"] @ state + self._w[f"{name}.bias"])

    def _norm(self, state: Array, name: str) -> Array:
        centred = state - state.mean()
        spread = math.sqrt(float(centred @ centred) / len(state) + EPSILON)
        scale, shift = (self._w[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return np.asarray(centred / spread * scale + shift)
