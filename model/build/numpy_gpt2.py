"""GPT-2 in numpy, float32, without a cache: the reference that a graph is compared with, and the input of quantisation.

It knows no graph and no engine. A function of the caller computes each linear layer: this function may look at the
inputs, and may use other weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.build.gpt2_weights import Weights
from model.interface import GPT2Config

Floats = NDArray[np.float32]
Windows = NDArray[np.int64]  # token ids [B, S]
ApplyLinear = Callable[[str, Floats], Floats]  # (name of a layer, rows [R, K]) -> [R, N]

LAYER_NORM_EPSILON = np.float32(1e-5)
ROWS_AT_ONCE = 128  # rows that fit the CPU cache
GELU_FACTOR = np.float32(np.sqrt(2 / np.pi))


def plain_linear(weights: Weights) -> ApplyLinear:
    """The linear layers with these weights: rows [R, K] -> [R, N]."""

    def linear(name: str, rows: Floats) -> Floats:
        products = rows @ weights[f"{name}.weight"]
        products += weights[f"{name}.bias"]
        return products

    return linear


def hidden_states(weights: Weights, shape: GPT2Config, windows: Windows, apply_linear: ApplyLinear) -> Floats:
    """The input of the head for windows [B, S], as rows [B * S, D]. Overwrites what `apply_linear` returns."""
    x = weights["wte.weight"][windows]
    x += weights["wpe.weight"][: windows.shape[1]]
    rows = x.reshape(-1, shape.n_embd)
    for layer in range(shape.n_layer):
        block = f"h.{layer}"
        qkv = apply_linear(f"{block}.attn.c_attn", layer_norm(weights, f"{block}.ln_1", rows))
        rows += apply_linear(f"{block}.attn.c_proj", _attention(qkv, shape, windows.shape[1]))
        del qkv  # frees three times the width before the MLP needs four
        inner = apply_linear(f"{block}.mlp.c_fc", layer_norm(weights, f"{block}.ln_2", rows))
        gelu_in_place(inner)
        rows += apply_linear(f"{block}.mlp.c_proj", inner)
    return layer_norm(weights, "ln_f", rows)


def logits(weights: Weights, hidden: Floats, out: Floats | None = None) -> Floats:
    """The head: hidden states [R, D] -> logits [R, V]."""
    result: Floats = np.matmul(hidden, weights["wte.weight"].T, out=out)
    return result


def layer_norm(weights: Weights, name: str, rows: Floats) -> Floats:
    normed = np.empty_like(rows)
    gain, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        source, target = rows[start : start + ROWS_AT_ONCE], normed[start : start + ROWS_AT_ONCE]
        np.subtract(source, source.mean(axis=1, keepdims=True), out=target)
        target /= np.sqrt(np.square(target).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
        target *= gain
        target += bias
    return normed


def gelu_in_place(rows: Floats) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        x = rows[start : start + ROWS_AT_ONCE]
        factor = np.square(x)
        factor *= np.float32(0.044715)
        factor += 1
        factor *= x
        factor *= GELU_FACTOR
        np.tanh(factor, out=factor)
        factor += 1
        x *= factor
        x *= np.float32(0.5)


def _attention(qkv: Floats, shape: GPT2Config, length: int) -> Floats:
    """Causal attention of each head in windows of `length` rows: [R, 3 D] -> [R, D], before the projection."""
    mixed = np.empty((len(qkv), shape.n_embd), np.float32)
    heads = qkv.reshape(-1, length, 3, shape.n_head, shape.head_size).transpose(0, 3, 2, 1, 4)
    mask = np.triu(np.full((ROWS_AT_ONCE, ROWS_AT_ONCE), -np.inf, np.float32), 1)
    output = mixed.reshape(-1, length, shape.n_head, shape.head_size).transpose(0, 2, 1, 3)
    for window in range(len(heads)):
        for head in range(shape.n_head):
            q, k, v = heads[window, head]
            for start in range(0, length, ROWS_AT_ONCE):
                stop = min(start + ROWS_AT_ONCE, length)
                output[window, head, start:stop] = _attend(q[start:stop], k[:stop], v[:stop], mask)
    return mixed


def _attend(q: Floats, k: Floats, v: Floats, mask: Floats) -> Floats:
    """The last rows [M, H] of a head attend to all its rows so far [S, H]."""
    scores: Floats = q @ k.T
    scores *= np.float32(1 / np.sqrt(q.shape[1]))
    scores[:, -len(q) :] += mask[: len(q), : len(q)]
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    sums = scores.sum(axis=1, keepdims=True)
    mixed: Floats = scores @ v
    mixed /= sums
    return mixed
