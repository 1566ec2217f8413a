"""GPT-2's weights <-> one ONNX graph that does prefill and step; the only file that knows `onnx`.

Running a model needs nothing of this: the session reads what it must know from the file's own metadata.

Inputs, with S new tokens after P that are in the cache, T the context, H heads of size D:
  input_ids, position_ids  int64 [1, S]
  last                     int64 [1, N]    the indices in S whose logits are wanted
  seqlens_k                int32 [1]       P + S - 1
  total_seq                int32 []        P + S
  past_key_i, past_value_i float [1, H, T, D]
Outputs: logits float [1, N, V]; present_key_i, present_value_i, to be bound to the buffers of the past.

Initializers have the names of the Hugging Face hub (`h.0.attn.c_attn.weight`, stored [in, out]) and the head is
`wte.weight`, stored once: so the file that runs is also the base for more training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.base import SHAPE_KEY, Shape
from model.errors import ModelDamaged

Weights = Mapping[str, NDArray[np.float32]]
Store = Literal["float16", "float32"]

OPSET, IR_VERSION = 21, 10
EPSILON = 1e-5  # of every layer normalisation in GPT-2
MICROSOFT = "com.microsoft"


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The name and the dimensions of every weight of a model of this shape."""
    width = shape.n_embd
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (shape.vocab_size, width),
        "wpe.weight": (shape.n_positions, width),
    }
    linears = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
    linears |= {"mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
    norms = ["ln_f"]
    for layer in range(shape.n_layer):
        norms += [f"h.{layer}.ln_1", f"h.{layer}.ln_2"]
        for name, size in linears.items():
            shapes |= {f"h.{layer}.{name}.weight": size, f"h.{layer}.{name}.bias": size[1:]}
    for norm in norms:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return shapes


def build(weights: Weights, shape: Shape, store_as: Store = "float16") -> bytes:
    """A serialised model. With float16 the matrices are stored so, and cast once when the session loads.

    Raises ModelDamaged where a weight is missing, has other dimensions, or numbers that float16 cannot hold.
    """
    graph = _Graph(weights, shape, store_as)
    hidden = graph.embedding()
    for layer in range(shape.n_layer):
        hidden = graph.block(layer, *hidden)
    graph.head(hidden[0])
    model = helper.make_model(
        graph.proto(),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
        producer_name="asr33",
    )
    helper.set_model_props(model, {SHAPE_KEY: json.dumps(asdict(shape))})
    serialised: bytes = model.SerializeToString()
    return serialised


def read_weights(path: Path) -> tuple[dict[str, NDArray[np.float32]], Shape]:
    """The weights of a file that `build` made, in float32. Raises ModelDamaged."""
    try:
        model = onnx.load(path)
        shape = Shape(**json.loads({prop.key: prop.value for prop in model.metadata_props}[SHAPE_KEY]))
        stored = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in model.graph.initializer}
    except (OSError, KeyError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise ModelDamaged(f"{path}: not a model that asr33 made ({error})") from None
    except Exception as error:  # protobuf's DecodeError, whose home differs between its implementations
        raise ModelDamaged(f"{path}: not an ONNX file ({error})") from None
    return _fitting(stored, shape), shape


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a file of the hub, with or without `transformer.` before each name. Raises ModelDamaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise ModelDamaged(f"{path}: not a safetensors file of float16 or float32 ({error})") from None
    weights = {name.removeprefix("transformer."): value.astype(np.float32) for name, value in tensors.items()}
    head = weights.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in weights and not np.array_equal(head, weights["wte.weight"]):
        raise ModelDamaged(f"{path}: its head is not its embedding, so it is no GPT-2")
    # The causal masks that old files of the hub carry are no weights.
    return {name: value for name, value in weights.items() if not name.endswith((".attn.bias", ".attn.masked_bias"))}


def _fitting(weights: Weights, shape: Shape) -> dict[str, NDArray[np.float32]]:
    """Just the weights of the shape, each checked."""
    fitting: dict[str, NDArray[np.float32]] = {}
    for name, size in weight_shapes(shape).items():
        found = weights.get(name)
        if found is None:
            raise ModelDamaged(f"the weight {name} is missing")
        if found.shape != size:
            raise ModelDamaged(f"the weight {name} is {list(found.shape)}, not {list(size)}")
        fitting[name] = found
    return fitting


class _Graph:
    """The graph as it grows; each method adds nodes and returns the names of what they give."""

    def __init__(self, weights: Weights, shape: Shape, store_as: Store) -> None:
        self._shape = shape
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._names: dict[str, str] = {}
        for name, value in _fitting(weights, shape).items():
            # Vectors are few, and what a norm multiplies by is worth its 32 bits.
            self._names[name] = self._store(name, value, store_as if value.ndim > 1 else "float32")

    def _store(self, name: str, value: NDArray[np.float32], dtype: Store) -> str:
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(value, dtype)
        if not np.isfinite(stored).all():
            raise ModelDamaged(f"the weight {name} has numbers that {dtype} cannot hold: its training ran away")
        self._initializers.append(numpy_helper.from_array(stored, name))
        return name if dtype == "float32" else self._add("Cast", [name], f"{name}.f32", to=TensorProto.FLOAT)

    def _constant(self, name: str, values: list[int]) -> str:
        self._initializers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _add(self, kind: str, inputs: list[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def _skip_norm(self, at: str, x: str, residual: str, norm: str, bias: str = "") -> tuple[str, str]:
        """Add x and its bias to the residual stream; gives the normalised sum, and the sum."""
        inputs = [x, residual, self._names[f"{norm}.weight"], self._names[f"{norm}.bias"]]
        inputs += [self._names[bias]] if bias else []
        outputs = (f"{at}.norm", "", "", f"{at}.residual")
        self._add("SkipLayerNormalization", inputs, *outputs, domain=MICROSOFT, epsilon=EPSILON)
        return outputs[0], outputs[3]

    def embedding(self) -> tuple[str, str]:
        """Token and position; gives the input of the first block, normalised and not."""
        token = self._add("Gather", [self._names["wte.weight"], "input_ids"], "wte")
        position = self._add("Gather", [self._names["wpe.weight"], "position_ids"], "wpe")
        return self._skip_norm("embedding", token, position, "h.0.ln_1")

    def block(self, layer: int, x: str, residual: str) -> tuple[str, str]:
        """One block; gives its output, normalised for the next, and the residual stream."""
        at = f"h.{layer}"
        x, residual = self._skip_norm(
            f"{at}.attn", self._attention(layer, x), residual, f"{at}.ln_2", f"{at}.attn.c_proj.bias"
        )
        fc = self._add("MatMul", [x, self._names[f"{at}.mlp.c_fc.weight"]], f"{at}.fc")
        fc = self._add("FastGelu", [fc, self._names[f"{at}.mlp.c_fc.bias"]], f"{at}.gelu", domain=MICROSOFT)
        out = self._add("MatMul", [fc, self._names[f"{at}.mlp.c_proj.weight"]], f"{at}.mlp")
        bias = f"{at}.mlp.c_proj.bias"
        if layer + 1 < self._shape.n_layer:
            return self._skip_norm(f"{at}.end", out, residual, f"h.{layer + 1}.ln_1", bias)
        # Past the last block only the wanted positions go on: norm and head are most of the work of a long prompt.
        return self._skip_norm("end", self._wanted(out, "mlp"), self._wanted(residual, "residual"), "ln_f", bias)

    def _attention(self, layer: int, x: str) -> str:
        at, shape = f"h.{layer}.attn", self._shape
        qkv = self._add("MatMul", [x, self._names[f"{at}.c_attn.weight"]], f"{at}.matmul")
        qkv = self._add("Add", [qkv, self._names[f"{at}.c_attn.bias"]], f"{at}.qkv")
        mixed = self._add(
            "GroupQueryAttention",
            [qkv, "", "", f"past_key_{layer}", f"past_value_{layer}", "seqlens_k", "total_seq"],
            f"{at}.mixed",
            f"present_key_{layer}",
            f"present_value_{layer}",
            domain=MICROSOFT,
            num_heads=shape.n_head,
            kv_num_heads=shape.n_head,
            scale=1.0 / math.sqrt(shape.head_size),
            do_rotary=0,
        )
        return self._add("MatMul", [mixed, self._names[f"{at}.c_proj.weight"]], f"{at}.proj")

    def _wanted(self, x: str, name: str) -> str:
        """x [1, S, D] at the positions in `last` -> [1, N, D]."""
        if "last.index" not in self._names:
            axis = self._constant("last.axis", [-1])
            self._names["last.index"] = self._add("Unsqueeze", ["last", axis], "last.index")
        return self._add("GatherND", [x, self._names["last.index"]], f"last.{name}", batch_dims=1)

    def head(self, x: str) -> None:
        """Logits of the normalised hidden state [1, N, D]; the head is the embedding, which Gemm itself turns round."""
        rows = self._add("Reshape", [x, self._constant("head.rows", [-1, self._shape.n_embd])], "head.in")
        flat = self._add("Gemm", [rows, self._names["wte.weight"]], "head.out", transB=1)
        shape = self._constant("head.shape", [1, -1, self._shape.vocab_size])
        self._add("Reshape", [flat, shape], "logits")

    def proto(self) -> onnx.GraphProto:
        shape, cache = self._shape, []
        size = [1, shape.n_head, shape.n_positions, shape.head_size]
        for kind, layer in ((kind, layer) for layer in range(shape.n_layer) for kind in ("key", "value")):
            cache.append((f"{kind}_{layer}", size))
        integers = {"input_ids": [1, "S"], "position_ids": [1, "S"], "last": [1, "N"]}
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name, dims in integers.items()]
        inputs += [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [1])]
        inputs += [helper.make_tensor_value_info("total_seq", TensorProto.INT32, [])]
        inputs += [helper.make_tensor_value_info(f"past_{name}", TensorProto.FLOAT, dims) for name, dims in cache]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "N", shape.vocab_size])]
        outputs += [helper.make_tensor_value_info(f"present_{name}", TensorProto.FLOAT, dims) for name, dims in cache]
        return helper.make_graph(self._nodes, "gpt2", inputs, outputs, self._initializers)
