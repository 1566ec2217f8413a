"""GPT-2 in numpy, float64, without a cache, from the paper and the published code: the reference for the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, NDArray[np.float32]]


def logits(weights: Weights, ids: Sequence[int], heads: int) -> Array:
    """Logits [S, V] of every position."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = w["wte.weight"][list(ids)] + w["wpe.weight"][: len(ids)]
    layer = 0
    while f"h.{layer}.ln_1.weight" in w:
        block = {name.removeprefix(f"h.{layer}."): value for name, value in w.items() if name.startswith(f"h.{layer}.")}
        x = x + attention(block, norm(block, "ln_1", x), heads)
        x = x + linear(block, "mlp.c_proj", gelu(linear(block, "mlp.c_fc", norm(block, "ln_2", x))))
        layer += 1
    return norm(w, "ln_f", x) @ w["wte.weight"].T


def attention(block: Mapping[str, Array], x: Array, heads: int) -> Array:
    length, width = x.shape
    q, k, v = np.split(linear(block, "attn.c_attn", x), 3, axis=1)
    future = np.triu(np.ones((length, length), bool), 1)
    mixed = []
    for head in range(heads):
        columns = slice(head * width // heads, (head + 1) * width // heads)
        scores = q[:, columns] @ k[:, columns].T / np.sqrt(width // heads)
        mixed.append(softmax(np.where(future, -np.inf, scores)) @ v[:, columns])
    return linear(block, "attn.c_proj", np.concatenate(mixed, axis=1))


def linear(block: Mapping[str, Array], name: str, x: Array) -> Array:
    return x @ block[f"{name}.weight"] + block[f"{name}.bias"]


def norm(block: Mapping[str, Array], name: str, x: Array) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return scaled * block[f"{name}.weight"] + block[f"{name}.bias"]


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
