"""Names and sizes of GPT-2's weights, as on the Hugging Face hub: matrices are [in, out]. Knows no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged
from model.interface import GPT2Config

Weights = Mapping[str, NDArray[np.float32]]

TOKEN_EMBEDDING = "wte.weight"
LM_HEAD = "lm_head.weight"  # only in models whose head is not the embedding
LINEAR_LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")  # of a block, in the order of computation


def weight_shapes(shape: GPT2Config) -> dict[str, tuple[int, ...]]:
    """The dimensions of every weight, by name."""
    return dict(_iter_weight_shapes(shape))


def _iter_weight_shapes(shape: GPT2Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = shape.n_embd
    yield TOKEN_EMBEDDING, (shape.vocab_size, width)
    yield "wpe.weight", (shape.n_positions, width)
    sizes = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
    for layer in range(shape.n_layer):
        for name, size in zip(LINEAR_LAYERS, sizes, strict=True):
            yield f"h.{layer}.{name}.weight", size
            yield f"h.{layer}.{name}.bias", size[1:]
    yield from _iter_norm_shapes("ln_f", width)
    for layer in range(shape.n_layer):
        yield from _iter_norm_shapes(f"h.{layer}.ln_1", width)
        yield from _iter_norm_shapes(f"h.{layer}.ln_2", width)


def _iter_norm_shapes(norm: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{norm}.weight", (width,)
    yield f"{norm}.bias", (width,)


def linear_names(shape: GPT2Config) -> list[str]:
    """The names of the matrices of all linear layers in the order of computation, without the head."""
    return [f"h.{layer}.{kind}.weight" for layer in range(shape.n_layer) for kind in LINEAR_LAYERS]


def select_weights(weights: Weights, shape: GPT2Config) -> dict[str, NDArray[np.float32]]:
    """The weights of this shape only. Raises ModelDamaged if a weight is absent or has another size."""
    selected: dict[str, NDArray[np.float32]] = {}
    for name, size in _iter_weight_shapes(shape):  # one by one, since a stranger's shape may name millions
        weight = weights.get(name)
        if weight is None:
            raise ModelDamaged(f"the weight {name} is missing")
        if weight.shape != size:
            raise ModelDamaged(f"the weight {name} is {list(weight.shape)}, not {list(size)}")
        selected[name] = weight
    return selected
