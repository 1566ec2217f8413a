"""Collects the nodes and the stored tensors of an ONNX graph. It does not know what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from model.errors import ModelDamaged

Precision = Literal["float16", "float32"]
MakeTensor = Callable[[NDArray[Any], str], onnx.TensorProto]  # stores an array in the graph or outside, by its name

OPSET, IR_VERSION = 21, 10
MICROSOFT_DOMAIN = "com.microsoft"
TENSOR_TYPES: dict[Precision, int] = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}


class GraphBuilder:
    """Adds nodes and tensors; each method returns the name of its output. `output_names` holds names for later use."""

    def __init__(self, make_tensor: MakeTensor, compute: Precision) -> None:
        """`compute` is the precision of all computation; tensors may be stored in another one."""
        self.compute = compute
        self.output_names: dict[str, str] = {}
        self._make_tensor = make_tensor
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def add_node(self, op_type: str, inputs: Sequence[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op_type, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        self._initializers.append(self._make_tensor(value, name))
        return name

    def add_weight(self, name: str, value: NDArray[np.float32], dtype: Precision) -> str:
        """Stores a weight as `dtype`. If that is not the compute precision, the session casts it once, at loading.

        Raises ModelDamaged if `dtype` cannot hold a number.
        """
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(value, dtype)
        if not np.isfinite(stored).all():
            raise ModelDamaged(f"the weight {name} has numbers that {dtype} cannot hold: its training diverged")
        self.add_constant(name, stored)
        if dtype == self.compute:
            return name
        ending = "f32" if self.compute == "float32" else "f16"
        return self.add_node("Cast", [name], f"{name}.{ending}", to=TENSOR_TYPES[self.compute])

    def float_info(self, name: str, shape: Sequence[int | str]) -> ValueInfoProto:
        """An input or output of the graph in the compute precision."""
        return helper.make_tensor_value_info(name, TENSOR_TYPES[self.compute], shape)

    def to_proto(self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> onnx.GraphProto:
        return helper.make_graph(self._nodes, "gpt2", inputs, outputs, self._initializers)
