"""Builds one ONNX graph from GPT-2's weights, for prompts and for decode steps. It knows no files.

Running a model does not need this module, because a session reads the shape from the file's metadata.

Dimensions: B sequences of S new tokens each, in R = B * S rows; H heads of size D; T places in each sequence's cache.
A prompt with S > 1 after cached tokens must be alone (B = 1).
  input_ids, position_ids  int64 [1, R]    the rows of one sequence are adjacent
  last                     int64 [1, N]    the indices in R whose logits are needed
  seqlens_k                int32 [B]       tokens in the cache + S - 1
  total_seq                int32 []        tokens in the cache + S, of the longest sequence
  past_key_i, past_value_i [B, H, T, D]    float, or int8 with one scale for each head and number, stored in the graph
Outputs: logits float [1, N, V]; present_key_i, present_value_i, to be bound to the buffers of the past.

All rows form one matrix; only attention separates the sequences.

Initializers have the names of the Hugging Face hub (`h.0.attn.c_attn.weight`, stored [in, out]). The head is
`wte.weight`, stored once, so a float file can be trained further. A quantised file cannot: a matrix in blocks is stored
as MatMulNBits reads it, [out, in / block, bytes], with `.scales` and perhaps `.zeros`; a matrix with one scale a row is
stored as int8 [in, out] with `.scales`. Its head is stored apart from the embedding, because onnxruntime repacks
the matrices that it multiplies by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.build.gpt2_weights import LM_HEAD, TOKEN_EMBEDDING, Weights, select_weights
from model.build.gpt2_weights import weight_shapes as weight_shapes
from model.build.graph_builder import IR_VERSION, MICROSOFT_DOMAIN, OPSET, GraphBuilder, MakeTensor
from model.build.graph_builder import Precision as Precision
from model.build.quantised_matmul import MatMulEmitter, gelu_shifted_bias, is_replaced
from model.build.quantised_matmul import QuantisedWeights as QuantisedWeights
from model.interface import SHAPE_KEY, GPT2Config

CacheScales = Mapping[str, NDArray[np.float32]]

INT8_CACHE: dict[str, Any] = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
LAYER_NORM_EPSILON = 1e-5  # of every layer normalisation in GPT-2


def build_gpt2(
    weights: Weights,
    shape: GPT2Config,
    store_as: Precision = "float16",
    quantised: QuantisedWeights | None = None,
    make_tensor: MakeTensor = numpy_helper.from_array,
    compute: Precision = "float32",
    cache_scales: CacheScales | None = None,
) -> bytes:
    """Returns a serialised model, under 2 GiB. Matrices stored as float16 are cast once, when the session loads.

    `quantised` has matrices [out, in] that replace the float ones of the same names: the linear layers, `wte.weight`
    (the embedding) and LM_HEAD. `cache_scales` has a scale [D] for `h.0.attn.key`, `h.0.attn.value` and so on; with it
    the cache is int8. `compute` float16 computes everything in half precision, cache and logits too, as attention on
    CUDA requires; it excludes `quantised` and `cache_scales`. Raises ModelDamaged if a weight is missing, has other
    dimensions, or has numbers that float16 cannot hold.
    """
    if compute == "float16" and (quantised or cache_scales):
        raise ValueError("quantised weights and caches are computed in float32")
    graph = _Gpt2Graph(weights, shape, store_as, quantised or {}, GraphBuilder(make_tensor, compute), cache_scales)
    hidden = graph.add_embedding()
    for layer in range(shape.n_layer):
        hidden = graph.add_block(layer, *hidden)
    graph.add_head(hidden[0])
    model = helper.make_model(
        graph.to_proto(),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT_DOMAIN, 1)],
        producer_name="asr33",
    )
    helper.set_model_props(model, {SHAPE_KEY: json.dumps(asdict(shape))})
    serialised: bytes = model.SerializeToString()
    return serialised


class _Gpt2Graph:
    """Adds the parts of GPT-2; each method returns the names of its outputs."""

    def __init__(
        self,
        weights: Weights,
        shape: GPT2Config,
        store_as: Precision,
        quantised: QuantisedWeights,
        builder: GraphBuilder,
        cache_scales: CacheScales | None,
    ) -> None:
        self._shape, self._quantised, self._builder, self._cache_scales = shape, quantised, builder, cache_scales or {}
        self._names, self._matmuls = builder.output_names, MatMulEmitter(builder, quantised)
        for name, value in select_weights(weights, shape).items():
            if not is_replaced(quantised, name):
                # Vectors are small, and a norm's gain needs its 32 bits.
                dtype: Precision = store_as if value.ndim > 1 else "float32"
                self._names[name] = builder.add_weight(name, gelu_shifted_bias(quantised, name, value), dtype)

    def _add_norm(self, at: str, x: str, residual: str, norm: str, bias: str = "") -> tuple[str, str]:
        """Adds x and its bias to the residual stream; returns the normalised sum, and the sum.

        Three nodes: the single node SkipLayerNormalization takes four times as long (onnxruntime 1.31 on x86).
        """
        add = self._builder.add_node
        if bias:
            x = add("Add", [x, self._names[bias]], f"{at}.biased")
        total = add("Add", [x, residual], f"{at}.residual")
        norms = [self._names[f"{norm}.weight"], self._names[f"{norm}.bias"]]
        return add("LayerNormalization", [total, *norms], f"{at}.norm", epsilon=LAYER_NORM_EPSILON), total

    def add_embedding(self) -> tuple[str, str]:
        """Adds token and position embedding; returns the input of the first block, normalised and not."""
        if (table := self._quantised.get(TOKEN_EMBEDDING)) is None:
            token = self._builder.add_node("Gather", [self._names[TOKEN_EMBEDDING], "input_ids"], "wte")
        else:
            token = self._matmuls.add_embedding_lookup(table)
        position = self._builder.add_node("Gather", [self._names["wpe.weight"], "position_ids"], "wpe")
        return self._add_norm("embedding", token, position, "h.0.ln_1")

    def add_block(self, layer: int, x: str, residual: str) -> tuple[str, str]:
        """Adds one block; returns its output, normalised for the next block, and the residual stream."""
        at, is_last = f"h.{layer}", layer + 1 == self._shape.n_layer
        linear, pending = self._matmuls.add_linear, self._matmuls.pending_bias
        mixed = self._add_attention(layer, x)
        if is_last:
            # No later block attends to these rows: only the positions in `last` continue.
            mixed, residual = self._gather_last(mixed, "mixed"), self._gather_last(residual, "residual")
        x = linear(f"{at}.attn.c_proj", mixed, f"{at}.attn.proj")
        x, residual = self._add_norm(f"{at}.attn", x, residual, f"{at}.ln_2", pending(f"{at}.attn.c_proj"))
        fc = [linear(f"{at}.mlp.c_fc", x, f"{at}.fc")]
        fc += [self._names[bias] for bias in [pending(f"{at}.mlp.c_fc")] if bias]
        gelu = self._builder.add_node("FastGelu", fc, f"{at}.gelu", domain=MICROSOFT_DOMAIN)
        out = linear(f"{at}.mlp.c_proj", gelu, f"{at}.mlp")
        after = ("end", "ln_f") if is_last else (f"{at}.end", f"h.{layer + 1}.ln_1")
        return self._add_norm(after[0], out, residual, after[1], pending(f"{at}.mlp.c_proj"))

    def _add_attention(self, layer: int, x: str) -> str:
        at, shape, add = f"h.{layer}.attn", self._shape, self._builder.add_node
        qkv = self._matmuls.add_linear(f"{at}.c_attn", x, f"{at}.matmul")
        if bias := self._matmuls.pending_bias(f"{at}.c_attn"):
            qkv = add("Add", [qkv, self._names[bias]], f"{at}.qkv")
        sequences = add("Reshape", [qkv, self._batch_dims()], f"{at}.texts")
        scales = self._cache_scale_inputs(at)
        mixed = add(
            "GroupQueryAttention",
            [sequences, "", "", f"past_key_{layer}", f"past_value_{layer}", "seqlens_k", "total_seq", *scales],
            f"{at}.mixed",
            f"present_key_{layer}",
            f"present_value_{layer}",
            domain=MICROSOFT_DOMAIN,
            num_heads=shape.n_head,
            kv_num_heads=shape.n_head,
            scale=1.0 / math.sqrt(shape.head_size),
            do_rotary=0,
            **(INT8_CACHE if scales else {}),
        )
        return add("Reshape", [mixed, "texts.none"], f"{at}.rows")

    def _cache_scale_inputs(self, at: str) -> list[str]:
        """The last inputs of attention, if the cache is int8."""
        if not self._cache_scales:
            return []
        size = (1, self._shape.n_head, 1, self._shape.head_size)
        scales = [(f"{name}.scales", self._cache_scales[name]) for name in (f"{at}.key", f"{at}.value")]
        return [""] * 5 + [self._builder.add_constant(name, value.reshape(size)) for name, value in scales]

    def _batch_dims(self) -> str:
        """The dimensions [B, S, 3 D] of B sequences. The constant `texts.none` has those of one matrix of rows."""
        if "texts" not in self._names:
            add, constant, width = self._builder.add_node, self._builder.add_constant, self._shape.n_embd
            constant("texts.none", np.array([1, -1, width]))
            sizes = [add("Shape", ["seqlens_k"], "texts.count"), constant("texts.rows", np.array([-1, 3 * width]))]
            self._names["texts"] = add("Concat", sizes, "texts", axis=0)
        return self._names["texts"]

    def _gather_last(self, x: str, name: str) -> str:
        """Selects the rows in `last`: x [1, R, D] -> [1, N, D]."""
        if "last.index" not in self._names:
            axis = self._builder.add_constant("last.axis", np.array([-1]))
            self._names["last.index"] = self._builder.add_node("Unsqueeze", ["last", axis], "last.index")
            self._matmuls.row_source = "last"
        return self._builder.add_node("GatherND", [x, self._names["last.index"]], f"last.{name}", batch_dims=1)

    def add_head(self, x: str) -> None:
        """Adds the logits of the normalised hidden state [1, N, D]. Gemm transposes the embedding, the float head."""
        if (matrix := self._quantised.get(LM_HEAD)) is not None:
            self._matmuls.add_quantised(matrix, LM_HEAD, x, "logits")
            return
        add, constant, shape = self._builder.add_node, self._builder.add_constant, self._shape
        rows = add("Reshape", [x, constant("head.rows", np.array([-1, shape.n_embd]))], "head.in")
        flat = add("Gemm", [rows, self._names[TOKEN_EMBEDDING]], "head.out", transB=1)
        add("Reshape", [flat, constant("head.shape", np.array([1, -1, shape.vocab_size]))], "logits")

    def to_proto(self) -> onnx.GraphProto:
        shape, float_info = self._shape, self._builder.float_info
        size: list[int | str] = ["B", shape.n_head, "T", shape.head_size]
        cache = [f"{part}_{layer}" for layer in range(shape.n_layer) for part in ("key", "value")]
        integers = {"input_ids": [1, "R"], "position_ids": [1, "R"], "last": [1, "N"]}
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name, dims in integers.items()]
        inputs += [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["B"])]
        inputs += [helper.make_tensor_value_info("total_seq", TensorProto.INT32, [])]
        cache_info: Callable[..., onnx.ValueInfoProto] = float_info
        if self._cache_scales:
            cache_info = partial(helper.make_tensor_value_info, elem_type=TensorProto.INT8)
        inputs += [cache_info(f"past_{name}", shape=size) for name in cache]
        outputs = [float_info("logits", [1, "N", shape.vocab_size])]
        outputs += [cache_info(f"present_{name}", shape=size) for name in cache]
        return self._builder.to_proto(inputs, outputs)
