"""A graph as it grows: its nodes, and what is stored in it; of what they mean it knows nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.errors import ModelDamaged

Store = Literal["float16", "float32"]
Keep = Callable[[NDArray[Any], str], onnx.TensorProto]  # where a tensor is kept, and what the graph says of it

OPSET, IR_VERSION = 21, 10
MICROSOFT = "com.microsoft"
KINDS: dict[Store, int] = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}


class Nodes:
    """Each method adds something and returns the name of what it gives; `names` is for whoever asks again."""

    def __init__(self, keep: Keep, compute: Store) -> None:
        """`compute` is the precision in which all is worked out, whatever it is stored in."""
        self.compute = compute
        self.names: dict[str, str] = {}
        self._keep = keep
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self._initializers.append(self._keep(value, name))
        return name

    def store(self, name: str, value: NDArray[np.float32], dtype: Store) -> str:
        """A weight; what is stored in another precision than all is worked out in is cast once, at loading."""
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(value, dtype)
        if not np.isfinite(stored).all():
            raise ModelDamaged(f"the weight {name} has numbers that {dtype} cannot hold: its training ran away")
        self.constant(name, stored)
        if dtype == self.compute:
            return name
        ending = "f32" if self.compute == "float32" else "f16"
        return self.add("Cast", [name], f"{name}.{ending}", to=KINDS[self.compute])

    def floats(self, name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        """What goes in or comes out, in the precision that all is worked out in."""
        return helper.make_tensor_value_info(name, KINDS[self.compute], shape)

    def proto(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.GraphProto:
        return helper.make_graph(self._nodes, "gpt2", inputs, outputs, self._initializers)


def copying(kind: Store) -> bytes:
    """A graph that copies `source` [1, H, T, D] to `target`: onnxruntime moves a GPU's memory in no other way."""
    ends = [helper.make_tensor_value_info(name, KINDS[kind], [1, "H", "T", "D"]) for name in ("source", "target")]
    nodes = [helper.make_node("Identity", ["source"], ["target"])]
    graph = helper.make_graph(nodes, "copy", ends[:1], ends[1:])
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    serialised: bytes = model.SerializeToString()
    return serialised
