"""GPT-2's weights -> one ONNX graph that does prefill and step; of files it knows nothing.

Running a model needs nothing of this: the session reads what it must know from the file's own metadata.

Inputs, with S new tokens after P that are in the cache, T the context, H heads of size D:
  input_ids, position_ids  int64 [1, S]
  last                     int64 [1, N]    the indices in S whose logits are wanted
  seqlens_k                int32 [1]       P + S - 1
  total_seq                int32 []        P + S
  past_key_i, past_value_i float [1, H, T, D]
Outputs: logits float [1, N, V]; present_key_i, present_value_i, to be bound to the buffers of the past.

Initializers have the names of the Hugging Face hub (`h.0.attn.c_attn.weight`, stored [in, out]) and the head is
`wte.weight`, stored once: so the file that runs is also the base for more training. A file of few bits is not: each of
its matrices is MatMulNBits' own [out, in / block, bytes], with `.scales` and maybe `.zeros` beside it, or, where a row
of 8 bits has one scale, signed bytes [in, out] with `.scales`; and the head is stored apart from the embedding, since
onnxruntime packs anew what it multiplies by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.base import SHAPE_KEY, Shape
from model.errors import ModelDamaged
from model.quantise import Quantised
from model.weights import EMBEDDING, HEAD, Weights, fitting
from model.weights import weight_shapes as weight_shapes

Store = Literal["float16", "float32"]
Packed = Mapping[str, Quantised]
Keep = Callable[[NDArray[Any], str], onnx.TensorProto]  # where a tensor is kept, and what the graph says of it

OPSET, IR_VERSION = 21, 10
EPSILON = 1e-5  # of every layer normalisation in GPT-2
MICROSOFT = "com.microsoft"
BENT = "mlp.c_proj"  # the layer that multiplies what GELU gave
LIFT = np.float32(0.1701)  # GELU never goes further below zero
TABLE = "embedding"  # the rounded embedding, which is never multiplied by
INTEGERS = 4  # MatMulNBits' accuracy_level that rounds the activations too, block by block; 8 bit is slow without


def build(
    weights: Weights,
    shape: Shape,
    store_as: Store = "float16",
    packed: Packed | None = None,
    keep: Keep = numpy_helper.from_array,
) -> bytes:
    """A serialised model, under 2 GiB. With float16 the matrices are stored so, and cast once when the session loads.

    `packed` has rounded matrices [out, in] to take instead of those of the same names: linear layers, `wte.weight` for
    the embedding and HEAD for the head. Raises ModelDamaged where a weight is missing, has other dimensions, or numbers
    that float16 cannot hold.
    """
    graph = _Graph(weights, shape, store_as, packed or {}, keep)
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


class _Graph:
    """The graph as it grows; each method adds nodes and returns the names of what they give."""

    def __init__(self, weights: Weights, shape: Shape, store_as: Store, packed: Packed, keep: Keep) -> None:
        self._shape, self._packed, self._keep = shape, packed, keep
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._names: dict[str, str] = {}
        self._rows = "input_ids"  # what has as many entries as there are rows at this point of the graph
        for name, value in fitting(weights, shape).items():
            if name in packed and (name != EMBEDDING or HEAD in packed):
                continue
            if (bent := packed.get(name.replace(".bias", ".weight"))) and bent.whole and name.endswith(f"{BENT}.bias"):
                value = value - LIFT * bent.dequantised().sum(axis=1)
            # Vectors are few, and what a norm multiplies by is worth its 32 bits.
            self._names[name] = self._store(name, value, store_as if value.ndim > 1 else "float32")

    def _store(self, name: str, value: NDArray[np.float32], dtype: Store) -> str:
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(value, dtype)
        if not np.isfinite(stored).all():
            raise ModelDamaged(f"the weight {name} has numbers that {dtype} cannot hold: its training ran away")
        self._initializers.append(self._keep(stored, name))
        return name if dtype == "float32" else self._add("Cast", [name], f"{name}.f32", to=TensorProto.FLOAT)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._initializers.append(self._keep(value, name))
        return name

    def _add(self, kind: str, inputs: list[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def _added_norm(self, at: str, x: str, residual: str, norm: str, bias: str = "") -> tuple[str, str]:
        """Add x and its bias to the residual stream; gives the normalised sum, and the sum.

        Three nodes, for SkipLayerNormalization's one takes four times as long (onnxruntime 1.31 on x86).
        """
        if bias:
            x = self._add("Add", [x, self._names[bias]], f"{at}.biased")
        total = self._add("Add", [x, residual], f"{at}.residual")
        norms = [self._names[f"{norm}.weight"], self._names[f"{norm}.bias"]]
        return self._add("LayerNormalization", [total, *norms], f"{at}.norm", epsilon=EPSILON), total

    def embedding(self) -> tuple[str, str]:
        """Token and position; gives the input of the first block, normalised and not."""
        token = self._tokens()
        position = self._add("Gather", [self._names["wpe.weight"], "position_ids"], "wpe")
        return self._added_norm("embedding", token, position, "h.0.ln_1")

    def _tokens(self) -> str:
        if (table := self._packed.get(EMBEDDING)) is None:
            return self._add("Gather", [self._names[EMBEDDING], "input_ids"], "wte")
        data, scales, zeros = self._stored(table, TABLE)
        size = {"bits": table.bits, "block_size": table.block, "gather_axis": 0, "quantize_axis": 1}
        inputs = [data, "input_ids", scales] + ([zeros] if zeros else [])
        return self._add("GatherBlockQuantized", inputs, "wte", domain=MICROSOFT, **size)

    def _linear(self, name: str, x: str, output: str) -> str:
        """x through a matrix; with the bias where that costs nothing, else the caller's next node adds it."""
        weight = f"{name}.weight"
        if (matrix := self._packed.get(weight)) is None:
            return self._add("MatMul", [x, self._names[weight]], output)
        if matrix.whole:
            return self._multiply_rows(matrix, weight, x, output, bent=name.endswith(BENT))
        return self._multiply_blocks(matrix, weight, x, output, self._names[f"{name}.bias"])

    def _rest(self, name: str) -> str:
        """The bias that `_linear` did not add."""
        matrix = self._packed.get(f"{name}.weight")
        return f"{name}.bias" if matrix is None or matrix.whole else ""

    def _multiply_blocks(self, matrix: Quantised, weight: str, x: str, output: str, bias: str = "") -> str:
        rows, width = matrix.codes.shape
        size = {"N": rows, "K": width, "bits": matrix.bits, "block_size": matrix.block, "accuracy_level": INTEGERS}
        inputs = [x, *self._stored(matrix, weight), "", bias]
        while not inputs[-1]:
            inputs.pop()
        return self._add("MatMulNBits", inputs, output, domain=MICROSOFT, **size)

    def _multiply_rows(self, matrix: Quantised, weight: str, x: str, output: str, *, bent: bool) -> str:
        """One scale for each row of x and of the matrix: the fastest for long prompts, and rows do not mix.

        The codes of x are unsigned around 128, since onnxruntime has no quick way to multiply signed by signed on x86;
        what GELU has bent is lifted above zero, where it has all 255 to itself, and the bias takes the lift back.
        """
        codes = (matrix.codes.astype(np.int16) - 128).astype(np.int8).T
        stored = self._constant(weight, np.ascontiguousarray(codes))
        scales = self._constant(f"{weight}.scales", np.ascontiguousarray(matrix.scales[:, 0]))
        zeros = self._zeros(bent=bent)
        size = x = self._add("Add", [x, "rows.lift"], f"{x}.lifted") if bent else x
        if not bent:
            size = self._add("Abs", [x], f"{x}.size")
        size = self._add("ReduceMax", [size, "rows.axis"], f"{x}.largest", keepdims=1)
        size = self._add("Mul", [size, "rows.step.bent" if bent else "rows.step"], f"{x}.step")
        size = self._add("Max", [size, "rows.least"], f"{x}.scale")
        flat = self._add("Reshape", [size, "rows.axis"], f"{x}.scales")
        near = self._add("QuantizeLinear", [x, flat, zeros], f"{x}.codes", axis=1)
        sums = [near, stored, "rows.one", scales, "rows.zero.bent" if bent else "rows.zero"]
        product = self._add("MatMulIntegerToFloat", sums, f"{output}.sums", domain=MICROSOFT)
        return self._add("Mul", [product, size], output)

    def _zeros(self, *, bent: bool) -> str:
        """A zero point for each row that is still there, all alike."""
        name = f"rows.zeros.{self._rows}" + (".bent" if bent else "")
        if name not in self._names:
            if "rows.axis" not in self._names:
                self._ready_for_rows()
            count = self._add("Shape", [self._rows], f"{name}.count", start=1)
            self._names[name] = self._add("Expand", ["rows.zero.each" + (".bent" if bent else ""), count], name)
        return self._names[name]

    def _ready_for_rows(self) -> None:
        values: dict[str, Any] = {"axis": np.array([-1]), "least": np.float32(1e-12), "one": np.float32(1)}
        values |= {"lift": LIFT, "step": np.float32(1 / 127), "step.bent": np.float32(1 / 255)}
        values |= {"zero": np.uint8(128), "zero.bent": np.uint8(0)}
        values |= {"zero.each": np.array([128], np.uint8), "zero.each.bent": np.array([0], np.uint8)}
        for name, value in values.items():
            self._names[f"rows.{name}"] = self._constant(f"rows.{name}", np.asarray(value))

    def _stored(self, matrix: Quantised, name: str) -> tuple[str, str, str]:
        """The names of its codes, scales and zero points."""
        codes = matrix.packed()
        # GatherBlockQuantized reads rows, MatMulNBits blocks.
        self._constant(name, codes.reshape(len(codes), -1) if name == TABLE else codes)
        self._constant(f"{name}.scales", matrix.scales)
        zeros = matrix.packed_zeros()
        return name, f"{name}.scales", "" if zeros is None else self._constant(f"{name}.zeros", zeros)

    def block(self, layer: int, x: str, residual: str) -> tuple[str, str]:
        """One block; gives its output, normalised for the next, and the residual stream."""
        at, is_last = f"h.{layer}", layer + 1 == self._shape.n_layer
        mixed = self._attention(layer, x)
        if is_last:
            # Nobody attends to what comes behind: of a long prompt only the wanted positions go on.
            mixed, residual = self._wanted(mixed, "mixed"), self._wanted(residual, "residual")
        x = self._linear(f"{at}.attn.c_proj", mixed, f"{at}.attn.proj")
        x, residual = self._added_norm(f"{at}.attn", x, residual, f"{at}.ln_2", self._rest(f"{at}.attn.c_proj"))
        fc = [self._linear(f"{at}.mlp.c_fc", x, f"{at}.fc")]
        fc += [self._names[bias] for bias in [self._rest(f"{at}.mlp.c_fc")] if bias]
        gelu = self._add("FastGelu", fc, f"{at}.gelu", domain=MICROSOFT)
        out = self._linear(f"{at}.mlp.c_proj", gelu, f"{at}.mlp")
        after = ("end", "ln_f") if is_last else (f"{at}.end", f"h.{layer + 1}.ln_1")
        return self._added_norm(after[0], out, residual, after[1], self._rest(f"{at}.mlp.c_proj"))

    def _attention(self, layer: int, x: str) -> str:
        at, shape = f"h.{layer}.attn", self._shape
        qkv = self._linear(f"{at}.c_attn", x, f"{at}.matmul")
        if bias := self._rest(f"{at}.c_attn"):
            qkv = self._add("Add", [qkv, self._names[bias]], f"{at}.qkv")
        return self._add(
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

    def _wanted(self, x: str, name: str) -> str:
        """x [1, S, D] at the positions in `last` -> [1, N, D]."""
        if "last.index" not in self._names:
            axis = self._constant("last.axis", np.array([-1]))
            self._names["last.index"] = self._add("Unsqueeze", ["last", axis], "last.index")
            self._rows = "last"
        return self._add("GatherND", [x, self._names["last.index"]], f"last.{name}", batch_dims=1)

    def head(self, x: str) -> None:
        """Logits of the normalised hidden state [1, N, D]; the head is the embedding, which Gemm itself turns round."""
        if (matrix := self._packed.get(HEAD)) is not None:
            self._multiply_blocks(matrix, HEAD, x, "logits")
            return
        rows = self._add("Reshape", [x, self._constant("head.rows", np.array([-1, self._shape.n_embd]))], "head.in")
        flat = self._add("Gemm", [rows, self._names[EMBEDDING]], "head.out", transB=1)
        shape = self._constant("head.shape", np.array([1, -1, self._shape.vocab_size]))
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
