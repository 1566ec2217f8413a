"""GPT-2 in numpy, whole windows at a time and with no cache: what a graph is judged by, and what rounding learns from.

It knows no graph and no engine. Each linear layer is asked of a caller, who may look at what comes in, and answer with
other weights than the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from model.base import Shape

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
Linear = Callable[[str, Floats], Floats]

EPSILON = np.float32(1e-5)
ROWS = 128  # worked at once, one number after the other: so many stay in the cache
BENT = np.float32(np.sqrt(2 / np.pi))


def plain(weights: Weights) -> Linear:
    """The linear layers as they are: rows [R, K] through the weight of that name -> [R, N]."""

    def linear(name: str, rows: Floats) -> Floats:
        products = rows @ weights[f"{name}.weight"]
        products += weights[f"{name}.bias"]
        return products

    return linear


def hidden(weights: Weights, shape: Shape, windows: NDArray[np.int64], linear: Linear) -> Floats:
    """What the head sees of windows [B, S] of ids, as rows [B * S, D]. What `linear` answers is written over."""
    x = weights["wte.weight"][windows]
    x += weights["wpe.weight"][: windows.shape[1]]
    rows = x.reshape(-1, shape.n_embd)
    for layer in range(shape.n_layer):
        at = f"h.{layer}"
        qkv = linear(f"{at}.attn.c_attn", norm(weights, f"{at}.ln_1", rows))
        rows += linear(f"{at}.attn.c_proj", _attention(qkv, shape, windows.shape[1]))
        del qkv  # three times the width, and mlp has four
        bent = linear(f"{at}.mlp.c_fc", norm(weights, f"{at}.ln_2", rows))
        gelu(bent)
        rows += linear(f"{at}.mlp.c_proj", bent)
    return norm(weights, "ln_f", rows)


def logits(weights: Weights, seen: Floats, into: Floats | None = None) -> Floats:
    """Of what the head sees, [R, D] -> [R, V]."""
    found: Floats = np.matmul(seen, weights["wte.weight"].T, out=into)
    return found


def norm(weights: Weights, name: str, rows: Floats) -> Floats:
    normed = np.empty_like(rows)
    gain, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    for start in range(0, len(rows), ROWS):
        some, part = rows[start : start + ROWS], normed[start : start + ROWS]
        np.subtract(some, some.mean(axis=1, keepdims=True), out=part)
        part /= np.sqrt(np.square(part).mean(axis=1, keepdims=True) + EPSILON)
        part *= gain
        part += bias
    return normed


def gelu(rows: Floats) -> None:
    """Bend the rows where they lie."""
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        bent = np.square(some)
        bent *= np.float32(0.044715)
        bent += 1
        bent *= some
        bent *= BENT
        np.tanh(bent, out=bent)
        bent += 1
        some *= bent
        some *= np.float32(0.5)


def _attention(qkv: Floats, shape: Shape, length: int) -> Floats:
    """Each head looks back, in windows of so many rows; [R, 3 D] -> [R, D], before the projection."""
    mixed = np.empty((len(qkv), shape.n_embd), np.float32)
    heads = qkv.reshape(-1, length, 3, shape.n_head, shape.head_size).transpose(0, 3, 2, 1, 4)
    future = np.triu(np.full((ROWS, ROWS), -np.inf, np.float32), 1)
    into = mixed.reshape(-1, length, shape.n_head, shape.head_size).transpose(0, 2, 1, 3)
    for window in range(len(heads)):
        for head in range(shape.n_head):
            q, k, v = heads[window, head]
            for start in range(0, length, ROWS):
                stop = min(start + ROWS, length)
                into[window, head, start:stop] = _looked_back(q[start:stop], k[:stop], v[:stop], future)
    return mixed


def _looked_back(q: Floats, k: Floats, v: Floats, future: Floats) -> Floats:
    """The last rows [M, H] of a head at all of its rows [S, H] so far."""
    scores: Floats = q @ k.T
    scores *= np.float32(1 / np.sqrt(q.shape[1]))
    scores[:, -len(q) :] += future[: len(q), : len(q)]
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    sums = scores.sum(axis=1, keepdims=True)
    looked: Floats = scores @ v
    looked /= sums
    return looked
