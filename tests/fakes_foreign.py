"""GPT-2 graphs as others export them: plain attention, a cache that grows, `past_key_values.0.key` and the like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.interface import GPT2Config

Weights = Mapping[str, NDArray[np.float32]]


def build_hf_graph(
    weights: Weights,
    shape: GPT2Config,
    *,
    merged: bool = False,
    positions: bool = True,
    single_steps: bool = False,
    half: bool = False,
    open_sizes: bool = False,
    extra: tuple[str, ...] = (),
) -> bytes:
    """`merged` has `use_cache_branch`, and the branch for a prompt looks at no cache. `single_steps`: the other branch
    was seen with one token alone, and has no causal mask. `extra` are inputs that no GPT-2 has."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dtype = np.float16 if half else np.float32
    initializers = [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()]
    build = _Branch(shape, positions, dtype)
    if merged:
        branches = {"then_branch": build.graph("cached", True, single_steps, kind)}
        branches["else_branch"] = build.graph("first", False, False, kind)
        names = [out.name.partition("/")[2] for out in branches["then_branch"].output]
        nodes = [helper.make_node("If", ["use_cache_branch"], names, **branches)]
    else:
        body = build.graph("", True, single_steps, kind)
        nodes = list(body.node)
        initializers += body.initializer
    pasts = [f"{layer}.{what}" for layer in range(shape.n_layer) for what in ("key", "value")]
    size = ["B", *(["H", "P", "D"] if open_sizes else [shape.n_head, "P", shape.head_size])]
    integers = {"input_ids": ["B", "S"], "attention_mask": ["B", "T"]} | (
        {"position_ids": ["B", "S"]} if positions else {}
    )
    integers |= {name: ["B"] for name in extra}
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name, dims in integers.items()]
    inputs += [helper.make_tensor_value_info(f"past_key_values.{past}", kind, size) for past in pasts]
    inputs += [helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])] if merged else []
    words = "V" if open_sizes else shape.vocab_size
    outputs = [helper.make_tensor_value_info("logits", kind, ["B", "S", words])]
    outputs += [
        helper.make_tensor_value_info(f"present.{past}", kind, ["B", shape.n_head, "T", shape.head_size])
        for past in pasts
    ]
    graph = helper.make_graph(nodes, "gpt2", inputs, outputs, initializers)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    serialised: bytes = model.SerializeToString()
    return serialised


class _Branch:
    def __init__(self, shape: GPT2Config, positions: bool, dtype: Any) -> None:
        self._shape, self._positions, self._dtype = shape, positions, dtype

    def graph(self, at: str, cached: bool, single: bool, kind: int) -> onnx.GraphProto:
        """Names begin with `at`, since a branch may not use one of the other's."""
        self._at, self._nodes, self._constants, self._count = f"{at}/" if at else "", [], [], 0
        past = self._dim("past_key_values.0.key", 2) if cached else self._constant([0])
        new = self._dim("input_ids", 1)
        total = self._add("Add", past, new)
        rows = self._add("Range", self._scalar(past), self._scalar(total), self._scalar(self._constant([1])))
        position = self._add("Gather", "wpe.weight", "position_ids" if self._positions else rows)
        x = self._add("Add", self._add("Gather", "wte.weight", "input_ids"), position)
        mask = self._mask(rows, total, single)
        presents = []
        for layer in range(self._shape.n_layer):
            mixed, key, value = self._attention(layer, self._norm(x, f"h.{layer}.ln_1"), mask, cached)
            presents += [(f"present.{layer}.key", key), (f"present.{layer}.value", value)]
            x = self._add("Add", x, self._linear(mixed, f"h.{layer}.attn.c_proj"))
            inner = self._linear(self._norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
            inner = self._linear(self._add("Gelu", inner, approximate="tanh"), f"h.{layer}.mlp.c_proj")
            x = self._add("Add", x, inner)
        head = self._add("Transpose", "wte.weight", perm=[1, 0])
        found = [("logits", self._add("MatMul", self._norm(x, "ln_f"), head)), *presents]
        for name, value in found:
            self._nodes.append(helper.make_node("Identity", [value], [f"{self._at}{name}"]))
        outputs = [helper.make_tensor_value_info(f"{self._at}{name}", kind, None) for name, _ in found]
        return helper.make_graph(self._nodes, at or "body", [], outputs, self._constants)

    def _attention(self, layer: int, x: str, mask: str, cached: bool) -> tuple[str, str, str]:
        at, shape = f"h.{layer}.attn", self._shape
        qkv = self._linear(x, f"{at}.c_attn")
        parts = [self._heads(part) for part in self._split(qkv)]
        if cached:
            for index, what in ((1, "key"), (2, "value")):
                parts[index] = self._add("Concat", f"past_key_values.{layer}.{what}", parts[index], axis=2)
        query, key, value = parts
        scores = self._add("MatMul", query, self._add("Transpose", key, perm=[0, 1, 3, 2]))
        scale = self._number(1 / math.sqrt(shape.head_size))
        scores = self._add("Where", mask, self._add("Mul", scores, scale), self._number(-1e4))
        mixed = self._add("MatMul", self._add("Softmax", scores, axis=-1), value)
        mixed = self._add("Transpose", mixed, perm=[0, 2, 1, 3])
        return self._add("Reshape", mixed, self._constant([0, 0, -1])), key, value

    def _mask(self, rows: str, total: str, single: bool) -> str:
        """True [1, 1, S, T] where a row may look."""
        seen = self._add("Cast", "attention_mask", to=TensorProto.BOOL)
        seen = self._add("Unsqueeze", seen, self._constant([1, 2]))
        if single:
            return seen
        columns = self._add(
            "Range", self._scalar(self._constant([0])), self._scalar(total), self._scalar(self._constant([1]))
        )
        return self._add(
            "And", seen, self._add("LessOrEqual", columns, self._add("Unsqueeze", rows, self._constant([1])))
        )

    def _norm(self, x: str, name: str) -> str:
        return self._add("LayerNormalization", x, f"{name}.weight", f"{name}.bias", axis=-1, epsilon=1e-5)

    def _linear(self, x: str, name: str) -> str:
        return self._add("Add", self._add("MatMul", x, f"{name}.weight"), f"{name}.bias")

    def _heads(self, x: str) -> str:
        size = self._constant([0, 0, self._shape.n_head, self._shape.head_size])
        return self._add("Transpose", self._add("Reshape", x, size), perm=[0, 2, 1, 3])

    def _split(self, x: str) -> list[str]:
        names = [self._name() for _ in range(3)]
        self._nodes.append(helper.make_node("Split", [x], names, axis=-1, num_outputs=3))
        return names

    def _dim(self, name: str, axis: int) -> str:
        return self._add("Shape", name, start=axis, end=axis + 1)

    def _scalar(self, name: str) -> str:
        return self._add("Squeeze", name)

    def _number(self, value: float) -> str:
        return self._stored(np.array(value, self._dtype))

    def _constant(self, values: list[int]) -> str:
        return self._stored(np.array(values, np.int64))

    def _stored(self, array: NDArray[Any]) -> str:
        name = self._name()
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = self._name()
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _name(self) -> str:
        self._count += 1
        return f"{self._at}{self._count}"
