"""Runs GPT-2 graphs of `model.build.graph` with a KV cache: ids in, logits out.

The cache has two buffers a layer with the length of the context. Each is bound as past and as present, so attention
writes new rows in place and copies nothing; rewinding only lowers the length. The graph decides between float32 and
float16, the runtime decides on the device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import EngineFailed, ModelDamaged
from model.interface import SHAPE_KEY, DeviceChoice, GPT2Config
from model.onnx.gpt2_session import GPT2Session
from model.onnx.gpt2_session import Logits as Logits
from model.onnx.runtime import OnnxModel

POSITION_EMBEDDING = "wpe.weight"
GRAPH_INPUTS = {"input_ids", "position_ids", "last", "seqlens_k", "total_seq"}


def open_session(
    model: Path | bytes, *, threads: int = 0, device: DeviceChoice = "auto", shape: GPT2Config | None = None
) -> GPT2Session:
    """Loads a graph of asr33, or a Hugging Face export. Raises the errors of OnnxSession.

    `shape` has the manifest's sizes: an export does not tell the length of its context.
    """
    onnx_model = OnnxModel(model, threads=threads, device=device)
    if SHAPE_KEY not in onnx_model.metadata:
        from model.onnx.hf_session import HfOnnxSession, is_hf_graph

        if is_hf_graph(onnx_model):
            return HfOnnxSession(onnx_model, shape)
    return OnnxSession(_reload_if_unsupported(onnx_model, model, threads, device))


class OnnxSession(GPT2Session):
    """A session of a graph that asr33 made."""

    def __init__(self, model: Path | bytes | OnnxModel, *, threads: int = 0, device: DeviceChoice = "auto") -> None:
        """Loads a graph of `model.build.graph`.

        `threads` 0 means one for each core, 8 at most; `device` auto means a GPU if it can run this graph. Raises
        ModelNotFound, ModelDamaged, EngineFailed if memory or threads do not suffice, and EngineMissing if the device
        cannot be used.
        """
        onnx_model = model if isinstance(model, OnnxModel) else load_graph(model, threads, device)
        super().__init__(onnx_model, read_shape(onnx_model))
        # These references keep the memory alive: some versions of onnxruntime do not, for bound tensors.
        self._cache: list[tuple[NDArray[Any] | None, Any]] = []
        self._bind_cache()
        self._single_token_inputs = _RunInputs(onnx_model, 1, 1, self.shape.vocab_size)

    def _forward_from(self, ids: Sequence[int], first: int) -> Logits:
        inputs = self._single_token_inputs
        if len(ids) > 1:
            inputs = _RunInputs(self._onnx_model, len(ids), len(ids) - first, self.shape.vocab_size)
        inputs.bind(ids, self.length, first)
        self._onnx_model.run()
        self.length += len(ids)
        logits: Logits = inputs.logits[0].astype(np.float32, copy=False)
        return logits

    def _bind_cache(self) -> None:
        size = (1, self.shape.n_head, self.shape.n_positions, self.shape.head_size)
        dtype = self._onnx_model.inputs["past_key_0"].dtype
        for layer in range(self.shape.n_layer):
            for kind in ("key", "value"):
                # Zeros, since a NaN in unused memory would survive an attention weight of zero.
                memory, buffer = self._onnx_model.allocate_zeros(size, dtype)
                self._cache.append((memory, buffer))
                self._onnx_model.binding.bind_ortvalue_input(f"past_{kind}_{layer}", buffer)
                self._onnx_model.binding.bind_ortvalue_output(f"present_{kind}_{layer}", buffer)


class _RunInputs:
    """The inputs and logits of one run; onnxruntime uses the memory of these arrays."""

    def __init__(self, onnx_model: OnnxModel, token_count: int, logits_count: int, vocab_size: int) -> None:
        self._binding = onnx_model.binding
        self._inputs: dict[str, NDArray[Any]] = {
            "input_ids": np.zeros((1, token_count), np.int64),
            "position_ids": np.zeros((1, token_count), np.int64),
            "last": np.zeros((1, logits_count), np.int64),
            "seqlens_k": np.zeros(1, np.int32),
            "total_seq": np.zeros((), np.int32),
        }
        self.logits = np.zeros((1, logits_count, vocab_size), onnx_model.outputs["logits"].dtype)
        self._values = {name: onnx_model.ort_value(array) for name, array in self._inputs.items()}
        self._logits = onnx_model.ort_value(self.logits)

    def bind(self, ids: Sequence[int], past: int, first: int) -> None:
        """Fills and binds the inputs, in this order: a GPU copies an input when it is bound."""
        total = past + len(ids)
        numbers = {"input_ids": ids, "position_ids": range(past, total), "last": range(first, len(ids))}
        for name, value in (numbers | {"seqlens_k": total - 1, "total_seq": total}).items():
            self._inputs[name][...] = value
            self._binding.bind_ortvalue_input(name, self._values[name])
        self._binding.bind_ortvalue_output("logits", self._logits)


def load_graph(model: Path | bytes, threads: int, device: DeviceChoice) -> OnnxModel:
    """Loads a graph of asr33 on a device that supports it. Raises the errors of OnnxSession."""
    return _reload_if_unsupported(OnnxModel(model, threads=threads, device=device), model, threads, device)


def _reload_if_unsupported(onnx_model: OnnxModel, model: Path | bytes, threads: int, device: DeviceChoice) -> OnnxModel:
    """Reloads the graph on the CPU if the GPU lacks its attention. Raises EngineFailed if `device` is cuda then."""
    cache = onnx_model.inputs.get("past_key_0")
    # On CUDA, GroupQueryAttention has only float16: OperatorKernels.md of onnxruntime 1.31.
    if onnx_model.device == "cpu" or cache is None or cache.dtype == np.float16:
        return onnx_model
    if device == "cuda":
        problem = f"its attention is {cache.dtype}, CUDA has float16 alone"
        raise EngineFailed(f"{onnx_model.name}: {problem}; run it on the CPU")
    return OnnxModel(model, threads=threads, device="cpu")


def read_shape(onnx_model: OnnxModel) -> GPT2Config:
    """The shape in the graph's metadata. Raises ModelDamaged if asr33 did not make the graph."""
    stored = onnx_model.metadata.get(SHAPE_KEY)
    inputs = {name for name in onnx_model.inputs if not name.startswith("past_")}
    if unknown := ", ".join(sorted(inputs - GRAPH_INPUTS)):
        raise ModelDamaged(f"{onnx_model.name}: its inputs {unknown} are unknown to asr33")
    if stored is None or inputs != GRAPH_INPUTS:
        raise ModelDamaged(f"{onnx_model.name}: not a model that asr33 made; take one from: asr33 model list")
    try:
        shape = GPT2Config(**json.loads(stored))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelDamaged(f"{onnx_model.name}: its shape cannot be read ({error}); fetch it again") from None
    if len(onnx_model.inputs) - len(inputs) != 2 * shape.n_layer or "past_key_0" not in onnx_model.inputs:
        raise ModelDamaged(f"{onnx_model.name}: its cache is not that of {shape.n_layer} layers; fetch it again")
    _require_sizes(onnx_model, shape)
    return shape


def _require_sizes(onnx_model: OnnxModel, shape: GPT2Config) -> None:
    """Raises ModelDamaged unless the graph has the sizes that its metadata tells, before a cache is made for them."""
    onnx_model.require_weights_for(shape)
    positions = onnx_model.weights.dims.get(POSITION_EMBEDDING, (0,))[0]
    past = [info.dims for name, info in onnx_model.inputs.items() if name.startswith("past_")]
    logits = onnx_model.outputs["logits"].dims if "logits" in onnx_model.outputs else ()
    if (
        positions != shape.n_positions
        or logits[-1:] != (shape.vocab_size,)
        or any(dims[1::2] != (shape.n_head, shape.head_size) for dims in past)
    ):
        raise ModelDamaged(f"{onnx_model.name}: its weights are not those of {shape}; fetch it again")
