"""GPT-2 graphs as Hugging Face tools export them: plain attention, a growing cache in `past_key_values.0.key` etc."""

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
    """Returns the graph's bytes.

    `merged` adds the input `use_cache_branch`; the branch for a prompt ignores the cache. `single_steps`: the other
    branch was traced with one token and has no causal mask. `extra` adds inputs that GPT-2 does not have.
    """
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dtype = np.float16 if half else np.float32
    initializers = [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()]
    builder, tensor_info = _GraphBuilder(shape, positions, dtype), helper.make_tensor_value_info
    if merged:
        branches = {"then_branch": builder.build_graph("cached", True, single_steps, kind)}
        branches["else_branch"] = builder.build_graph("first", False, False, kind)
        names = [output.name.partition("/")[2] for output in branches["then_branch"].output]
        nodes = [helper.make_node("If", ["use_cache_branch"], names, **branches)]
    else:
        body = builder.build_graph("", True, single_steps, kind)
        nodes = list(body.node)
        initializers += body.initializer
    caches = [f"{layer}.{part}" for layer in range(shape.n_layer) for part in ("key", "value")]
    cache_size = ["B", *(["H", "P", "D"] if open_sizes else [shape.n_head, "P", shape.head_size])]
    integers = {"input_ids": ["B", "S"], "attention_mask": ["B", "T"]}
    integers |= {"position_ids": ["B", "S"]} if positions else {}
    integers |= {name: ["B"] for name in extra}
    inputs = [tensor_info(name, TensorProto.INT64, size) for name, size in integers.items()]
    inputs += [tensor_info(f"past_key_values.{cache}", kind, cache_size) for cache in caches]
    inputs += [tensor_info("use_cache_branch", TensorProto.BOOL, [1])] if merged else []
    outputs = [tensor_info("logits", kind, ["B", "S", "V" if open_sizes else shape.vocab_size])]
    outputs += [tensor_info(f"present.{cache}", kind, ["B", shape.n_head, "T", shape.head_size]) for cache in caches]
    graph = helper.make_graph(nodes, "gpt2", inputs, outputs, initializers)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    serialised: bytes = model.SerializeToString()
    return serialised


class _GraphBuilder:
    def __init__(self, shape: GPT2Config, positions: bool, dtype: Any) -> None:
        self._shape, self._positions, self._dtype = shape, positions, dtype

    def build_graph(self, branch: str, cached: bool, single_steps: bool, kind: int) -> onnx.GraphProto:
        """Returns a graph whose names begin with the branch's, as the names of two branches must differ."""
        self._prefix, self._nodes, self._constants, self._count = f"{branch}/" if branch else "", [], [], 0
        past = self._dim("past_key_values.0.key", 2) if cached else self._integers([0])
        total = self._append_node("Add", past, self._dim("input_ids", 1))
        rows = self._append_node("Range", self._scalar(past), self._scalar(total), self._scalar(self._integers([1])))
        position = self._append_node("Gather", "wpe.weight", "position_ids" if self._positions else rows)
        x = self._append_node("Add", self._append_node("Gather", "wte.weight", "input_ids"), position)
        mask = self._mask(rows, total, single_steps)
        presents = []
        for layer in range(self._shape.n_layer):
            mixed, key, value = self._attention(layer, self._norm(x, f"h.{layer}.ln_1"), mask, cached)
            presents += [(f"present.{layer}.key", key), (f"present.{layer}.value", value)]
            x = self._append_node("Add", x, self._linear(mixed, f"h.{layer}.attn.c_proj"))
            inner = self._linear(self._norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
            inner = self._linear(self._append_node("Gelu", inner, approximate="tanh"), f"h.{layer}.mlp.c_proj")
            x = self._append_node("Add", x, inner)
        head = self._append_node("Transpose", "wte.weight", perm=[1, 0])
        results = [("logits", self._append_node("MatMul", self._norm(x, "ln_f"), head)), *presents]
        for name, value in results:
            self._nodes.append(helper.make_node("Identity", [value], [f"{self._prefix}{name}"]))
        outputs = [helper.make_tensor_value_info(f"{self._prefix}{name}", kind, None) for name, _ in results]
        return helper.make_graph(self._nodes, branch or "body", [], outputs, self._constants)

    def _attention(self, layer: int, x: str, mask: str, cached: bool) -> tuple[str, str, str]:
        query, key, value = map(self._heads, self._split(self._linear(x, f"h.{layer}.attn.c_attn")))
        if cached:
            key = self._append_node("Concat", f"past_key_values.{layer}.key", key, axis=2)
            value = self._append_node("Concat", f"past_key_values.{layer}.value", value, axis=2)
        scores = self._append_node("MatMul", query, self._append_node("Transpose", key, perm=[0, 1, 3, 2]))
        scale = self._number(1 / math.sqrt(self._shape.head_size))
        scores = self._append_node("Where", mask, self._append_node("Mul", scores, scale), self._number(-1e4))
        mixed = self._append_node("MatMul", self._append_node("Softmax", scores, axis=-1), value)
        mixed = self._append_node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self._append_node("Reshape", mixed, self._integers([0, 0, -1])), key, value

    def _mask(self, rows: str, total: str, single_steps: bool) -> str:
        """Returns a tensor [1, 1, S, T], True where a row may attend."""
        allowed = self._append_node("Cast", "attention_mask", to=TensorProto.BOOL)
        allowed = self._append_node("Unsqueeze", allowed, self._integers([1, 2]))
        if single_steps:
            return allowed
        zero, one = self._scalar(self._integers([0])), self._scalar(self._integers([1]))
        columns = self._append_node("Range", zero, self._scalar(total), one)
        rows = self._append_node("Unsqueeze", rows, self._integers([1]))
        return self._append_node("And", allowed, self._append_node("LessOrEqual", columns, rows))

    def _norm(self, x: str, name: str) -> str:
        return self._append_node("LayerNormalization", x, f"{name}.weight", f"{name}.bias", axis=-1, epsilon=1e-5)

    def _linear(self, x: str, name: str) -> str:
        return self._append_node("Add", self._append_node("MatMul", x, f"{name}.weight"), f"{name}.bias")

    def _heads(self, x: str) -> str:
        size = self._integers([0, 0, self._shape.n_head, self._shape.head_size])
        return self._append_node("Transpose", self._append_node("Reshape", x, size), perm=[0, 2, 1, 3])

    def _split(self, x: str) -> list[str]:
        names = [self._new_name() for _ in range(3)]
        self._nodes.append(helper.make_node("Split", [x], names, axis=-1, num_outputs=3))
        return names

    def _dim(self, name: str, axis: int) -> str:
        return self._append_node("Shape", name, start=axis, end=axis + 1)

    def _scalar(self, name: str) -> str:
        return self._append_node("Squeeze", name)

    def _number(self, value: float) -> str:
        return self._append_constant(np.array(value, self._dtype))

    def _integers(self, values: list[int]) -> str:
        return self._append_constant(np.array(values, np.int64))

    def _append_constant(self, array: NDArray[Any]) -> str:
        name = self._new_name()
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def _append_node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = self._new_name()
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _new_name(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"
