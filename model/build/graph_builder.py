"""A graph as it grows: its nodes, and what is stored in it; of what they mean it knows nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.errors import ModelDamaged

Precision = Literal["float16", "float32"]
MakeTensor = Callable[[NDArray[Any], str], onnx.TensorProto]  # where a tensor is kept, and what the graph says of it

OPSET, IR_VERSION = 21, 10
MICROSOFT_DOMAIN = "com.microsoft"
TENSOR_TYPES: dict[Precision, int] = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}


class GraphBuilder:
    """Each method adds something and returns the name of what it gives; `names` is for whoever asks again."""

    def __init__(self, make_tensor: MakeTensor, compute: Precision) -> None:
        """`compute` is the precision in which all is worked out, whatever it is stored in."""
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
        """A weight; what is stored in another precision than all is worked out in is cast once, at loading."""
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(value, dtype)
        if not np.isfinite(stored).all():
            raise ModelDamaged(f"the weight {name} has numbers that {dtype} cannot hold: its training ran away")
        self.add_constant(name, stored)
        if dtype == self.compute:
            return name
        ending = "f32" if self.compute == "float32" else "f16"
        return self.add_node("Cast", [name], f"{name}.{ending}", to=TENSOR_TYPES[self.compute])

    def float_info(self, name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        """What goes in or comes out, in the precision that all is worked out in."""
        return helper.make_tensor_value_info(name, TENSOR_TYPES[self.compute], shape)

    def to_proto(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.GraphProto:
        return helper.make_graph(self._nodes, "gpt2", inputs, outputs, self._initializers)


def build_copy_graph(precision: Precision) -> bytes:
    """A graph that copies `source` [1, H, T, D] to `target`: onnxruntime moves a GPU's memory in no other way."""
    ends = [
        helper.make_tensor_value_info(name, TENSOR_TYPES[precision], [1, "H", "T", "D"])
        for name in ("source", "target")
    ]
    nodes = [helper.make_node("Identity", ["source"], ["target"])]
    graph = helper.make_graph(nodes, "copy", ends[:1], ends[1:])
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    serialised: bytes = model.SerializeToString()
    return serialised
