"""GPT-2 in numpy, whole windows at a time and with no cache: what a graph is judged by, and what rounding learns from.

It knows no graph and no engine. Each linear layer is asked of a caller, who may look at what comes in, and answer with
other weights than the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from model.interface import GPT2Config

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
ApplyLinear = Callable[[str, Floats], Floats]

LAYER_NORM_EPSILON = np.float32(1e-5)
ROWS_AT_ONCE = 128  # worked at once, one number after the other: so many stay in the cache
GELU_FACTOR = np.float32(np.sqrt(2 / np.pi))


def plain_linear(weights: Weights) -> ApplyLinear:
    """The linear layers as they are: rows [R, K] through the weight of that name -> [R, N]."""

    def linear(name: str, rows: Floats) -> Floats:
        products = rows @ weights[f"{name}.weight"]
        products += weights[f"{name}.bias"]
        return products

    return linear


def hidden_states(weights: Weights, shape: GPT2Config, windows: NDArray[np.int64], apply_linear: ApplyLinear) -> Floats:
    """What the head sees of windows [B, S] of ids, as rows [B * S, D]. What `linear` answers is written over."""
    x = weights["wte.weight"][windows]
    x += weights["wpe.weight"][: windows.shape[1]]
    rows = x.reshape(-1, shape.n_embd)
    for layer in range(shape.n_layer):
        at = f"h.{layer}"
        qkv = apply_linear(f"{at}.attn.c_attn", layer_norm(weights, f"{at}.ln_1", rows))
        rows += apply_linear(f"{at}.attn.c_proj", _attention(qkv, shape, windows.shape[1]))
        del qkv  # three times the width, and mlp has four
        bent = apply_linear(f"{at}.mlp.c_fc", layer_norm(weights, f"{at}.ln_2", rows))
        gelu_in_place(bent)
        rows += apply_linear(f"{at}.mlp.c_proj", bent)
    return layer_norm(weights, "ln_f", rows)


def logits(weights: Weights, hidden: Floats, out: Floats | None = None) -> Floats:
    """Of what the head sees, [R, D] -> [R, V]."""
    found: Floats = np.matmul(hidden, weights["wte.weight"].T, out=out)
    return found


def layer_norm(weights: Weights, name: str, rows: Floats) -> Floats:
    normed = np.empty_like(rows)
    gain, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some, part = rows[start : start + ROWS_AT_ONCE], normed[start : start + ROWS_AT_ONCE]
        np.subtract(some, some.mean(axis=1, keepdims=True), out=part)
        part /= np.sqrt(np.square(part).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
        part *= gain
        part += bias
    return normed


def gelu_in_place(rows: Floats) -> None:
    """Bend the rows where they lie."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        bent = np.square(some)
        bent *= np.float32(0.044715)
        bent += 1
        bent *= some
        bent *= GELU_FACTOR
        np.tanh(bent, out=bent)
        bent += 1
        some *= bent
        some *= np.float32(0.5)


def _attention(qkv: Floats, shape: GPT2Config, length: int) -> Floats:
    """Each head looks back, in windows of so many rows; [R, 3 D] -> [R, D], before the projection."""
    mixed = np.empty((len(qkv), shape.n_embd), np.float32)
    heads = qkv.reshape(-1, length, 3, shape.n_head, shape.head_size).transpose(0, 3, 2, 1, 4)
    future = np.triu(np.full((ROWS_AT_ONCE, ROWS_AT_ONCE), -np.inf, np.float32), 1)
    into = mixed.reshape(-1, length, shape.n_head, shape.head_size).transpose(0, 2, 1, 3)
    for window in range(len(heads)):
        for head in range(shape.n_head):
            q, k, v = heads[window, head]
            for start in range(0, length, ROWS_AT_ONCE):
                stop = min(start + ROWS_AT_ONCE, length)
                into[window, head, start:stop] = _attend(q[start:stop], k[:stop], v[:stop], future)
    return mixed


def _attend(q: Floats, k: Floats, v: Floats, mask: Floats) -> Floats:
    """The last rows [M, H] of a head at all of its rows [S, H] so far."""
    scores: Floats = q @ k.T
    scores *= np.float32(1 / np.sqrt(q.shape[1]))
    scores[:, -len(q) :] += mask[: len(q), : len(q)]
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    sums = scores.sum(axis=1, keepdims=True)
    looked: Floats = scores @ v
    looked /= sums
    return looked
