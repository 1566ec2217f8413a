"""GPT-2's weights -> one ONNX graph that reads prompts and makes steps; of files it knows nothing.

Running a model needs nothing of this: the session reads what it must know from the file's own metadata.

Inputs, with B texts side by side of S new tokens each, which are R = B * S rows, H heads of size D, and T places in
the cache of each text. A prompt that goes on, S > 1 behind what is in the cache, comes alone (B = 1).
  input_ids, position_ids  int64 [1, R]    the rows of a text lie together
  last                     int64 [1, N]    the indices in R whose logits are wanted
  seqlens_k                int32 [B]       tokens in the cache + S - 1
  total_seq                int32 []        tokens in the cache + S, of the longest
  past_key_i, past_value_i [B, H, T, D]    float, or signed bytes with a scale for each head and number in the graph
Outputs: logits float [1, N, V]; present_key_i, present_value_i, to be bound to the buffers of the past.

All rows are one matrix; only attention sees which of them are one text.

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
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.interface import SHAPE_KEY, GPT2Config
from model.build.graph_builder import IR_VERSION, MICROSOFT_DOMAIN, OPSET, GraphBuilder, MakeTensor
from model.build.graph_builder import Precision as Precision
from model.build.quantised_matmul import MatMulEmitter, gelu_shifted_bias, is_replaced
from model.build.quantised_matmul import QuantisedWeights as QuantisedWeights
from model.build.gpt2_weights import LM_HEAD, TOKEN_EMBEDDING, Weights, select_weights
from model.build.gpt2_weights import weight_shapes as weight_shapes

CacheScales = Mapping[str, NDArray[np.float32]]

INT8_CACHE_ATTRIBUTES: dict[str, Any] = {
    "k_quant_type": "PER_CHANNEL",
    "v_quant_type": "PER_CHANNEL",
    "kv_cache_bit_width": 8,
}
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
    """A serialised model, under 2 GiB. With float16 the matrices are stored so, and cast once when the session loads.

    `packed` has rounded matrices [out, in] to take instead of those of the same names: linear layers, `wte.weight` for
    the embedding and HEAD for the head. `cache` has a scale [D] for `h.0.attn.key`, `h.0.attn.value` and so on: then
    the cache has signed bytes. With `compute` float16 all is worked out in half precision, cache and logits too, as
    attention on CUDA must have it; that goes with neither. Raises ModelDamaged where a weight is missing, has other
    dimensions, or numbers that float16 cannot hold.
    """
    if compute == "float16" and (quantised or cache_scales):
        raise ValueError("what is rounded to few bits is worked out in float32")
    graph = _Gpt2Graph(
        weights, shape, store_as, quantised or {}, GraphBuilder(make_tensor, compute), cache_scales or {}
    )
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
    """GPT-2, part by part; each method adds nodes and returns the names of what they give."""

    def __init__(
        self,
        weights: Weights,
        shape: GPT2Config,
        store_as: Precision,
        quantised: QuantisedWeights,
        builder: GraphBuilder,
        cache_scales: CacheScales,
    ) -> None:
        self._shape, self._quantised, self._builder, self._cache_scales = shape, quantised, builder, cache_scales
        self._names, self._matmuls = builder.output_names, MatMulEmitter(builder, quantised)
        for name, value in select_weights(weights, shape).items():
            if not is_replaced(quantised, name, LM_HEAD):
                # Vectors are few, and what a norm multiplies by is worth its 32 bits.
                kind: Precision = store_as if value.ndim > 1 else "float32"
                self._names[name] = builder.add_weight(name, gelu_shifted_bias(quantised, name, value), kind)

    def _add_norm(self, at: str, x: str, residual: str, norm: str, bias: str = "") -> tuple[str, str]:
        """Add x and its bias to the residual stream; gives the normalised sum, and the sum.

        Three nodes, for SkipLayerNormalization's one takes four times as long (onnxruntime 1.31 on x86).
        """
        add = self._builder.add_node
        if bias:
            x = add("Add", [x, self._names[bias]], f"{at}.biased")
        total = add("Add", [x, residual], f"{at}.residual")
        norms = [self._names[f"{norm}.weight"], self._names[f"{norm}.bias"]]
        return add("LayerNormalization", [total, *norms], f"{at}.norm", epsilon=LAYER_NORM_EPSILON), total

    def add_embedding(self) -> tuple[str, str]:
        """Token and position; gives the input of the first block, normalised and not."""
        if (table := self._quantised.get(TOKEN_EMBEDDING)) is None:
            token = self._builder.add_node("Gather", [self._names[TOKEN_EMBEDDING], "input_ids"], "wte")
        else:
            token = self._matmuls.add_embedding_lookup(table)
        position = self._builder.add_node("Gather", [self._names["wpe.weight"], "position_ids"], "wpe")
        return self._add_norm("embedding", token, position, "h.0.ln_1")

    def add_block(self, layer: int, x: str, residual: str) -> tuple[str, str]:
        """One block; gives its output, normalised for the next, and the residual stream."""
        at, is_last = f"h.{layer}", layer + 1 == self._shape.n_layer
        linear, rest = self._matmuls.add_linear, self._matmuls.pending_bias
        mixed = self._add_attention(layer, x)
        if is_last:
            # Nobody attends to what comes behind: of a long prompt only the wanted positions go on.
            mixed, residual = self._gather_last(mixed, "mixed"), self._gather_last(residual, "residual")
        x = linear(f"{at}.attn.c_proj", mixed, f"{at}.attn.proj")
        x, residual = self._add_norm(f"{at}.attn", x, residual, f"{at}.ln_2", rest(f"{at}.attn.c_proj"))
        fc = [linear(f"{at}.mlp.c_fc", x, f"{at}.fc")]
        fc += [self._names[bias] for bias in [rest(f"{at}.mlp.c_fc")] if bias]
        gelu = self._builder.add_node("FastGelu", fc, f"{at}.gelu", domain=MICROSOFT_DOMAIN)
        out = linear(f"{at}.mlp.c_proj", gelu, f"{at}.mlp")
        after = ("end", "ln_f") if is_last else (f"{at}.end", f"h.{layer + 1}.ln_1")
        return self._add_norm(after[0], out, residual, after[1], rest(f"{at}.mlp.c_proj"))

    def _add_attention(self, layer: int, x: str) -> str:
        at, shape, add = f"h.{layer}.attn", self._shape, self._builder.add_node
        qkv = self._matmuls.add_linear(f"{at}.c_attn", x, f"{at}.matmul")
        if bias := self._matmuls.pending_bias(f"{at}.c_attn"):
            qkv = add("Add", [qkv, self._names[bias]], f"{at}.qkv")
        texts = add("Reshape", [qkv, self._batch_dims()], f"{at}.texts")
        scales = self._cache_scale_inputs(at)
        mixed = add(
            "GroupQueryAttention",
            [texts, "", "", f"past_key_{layer}", f"past_value_{layer}", "seqlens_k", "total_seq", *scales],
            f"{at}.mixed",
            f"present_key_{layer}",
            f"present_value_{layer}",
            domain=MICROSOFT_DOMAIN,
            num_heads=shape.n_head,
            kv_num_heads=shape.n_head,
            scale=1.0 / math.sqrt(shape.head_size),
            do_rotary=0,
            **(INT8_CACHE_ATTRIBUTES if scales else {}),
        )
        return add("Reshape", [mixed, "texts.none"], f"{at}.rows")

    def _cache_scale_inputs(self, at: str) -> list[str]:
        """What attention takes behind its other inputs, where its cache has bytes."""
        if not self._cache_scales:
            return []
        size = (1, self._shape.n_head, 1, self._shape.head_size)
        names = [(name, f"{name}.scales") for name in (f"{at}.key", f"{at}.value")]
        return [""] * 5 + [
            self._builder.add_constant(called, self._cache_scales[name].reshape(size)) for name, called in names
        ]

    def _batch_dims(self) -> str:
        """The dimensions [B, S, 3 D] of the rows of B texts; `texts.none` are those of one matrix of rows."""
        if "texts" not in self._names:
            add, constant, width = self._builder.add_node, self._builder.add_constant, self._shape.n_embd
            constant("texts.none", np.array([1, -1, width]))
            sizes = [add("Shape", ["seqlens_k"], "texts.count"), constant("texts.rows", np.array([-1, 3 * width]))]
            self._names["texts"] = add("Concat", sizes, "texts", axis=0)
        return self._names["texts"]

    def _gather_last(self, x: str, name: str) -> str:
        """x [1, R, D] at the rows in `last` -> [1, N, D]."""
        if "last.index" not in self._names:
            axis = self._builder.add_constant("last.axis", np.array([-1]))
            self._names["last.index"] = self._builder.add_node("Unsqueeze", ["last", axis], "last.index")
            self._matmuls.row_source = "last"
        return self._builder.add_node("GatherND", [x, self._names["last.index"]], f"last.{name}", batch_dims=1)

    def add_head(self, x: str) -> None:
        """Logits of the normalised hidden state [1, N, D]; the head is the embedding, which Gemm itself turns round."""
        if (matrix := self._quantised.get(LM_HEAD)) is not None:
            self._matmuls.add_quantised(matrix, LM_HEAD, x, "logits")
            return
        add, constant, shape = self._builder.add_node, self._builder.add_constant, self._shape
        rows = add("Reshape", [x, constant("head.rows", np.array([-1, shape.n_embd]))], "head.in")
        flat = add("Gemm", [rows, self._names[TOKEN_EMBEDDING]], "head.out", transB=1)
        add("Reshape", [flat, constant("head.shape", np.array([1, -1, shape.vocab_size]))], "logits")

    def to_proto(self) -> onnx.GraphProto:
        shape, floats = self._shape, self._builder.float_info
        size: list[int | str] = ["B", shape.n_head, "T", shape.head_size]
        cache = [f"{kind}_{layer}" for layer in range(shape.n_layer) for kind in ("key", "value")]
        integers = {"input_ids": [1, "R"], "position_ids": [1, "R"], "last": [1, "N"]}
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name, dims in integers.items()]
        inputs += [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["B"])]
        inputs += [helper.make_tensor_value_info("total_seq", TensorProto.INT32, [])]
        kept: Callable[..., onnx.ValueInfoProto] = floats
        if self._cache_scales:
            kept = partial(helper.make_tensor_value_info, elem_type=TensorProto.INT8)
        inputs += [kept(f"past_{name}", shape=size) for name in cache]
        outputs = [floats("logits", [1, "N", shape.vocab_size])]
        outputs += [kept(f"present_{name}", shape=size) for name in cache]
        return self._builder.to_proto(inputs, outputs)
