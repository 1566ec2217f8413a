"""One GPT-2 with its cache: ids in, logits out, for a graph that `model.build.graph` built.

The cache is one buffer a layer, as long as the context, bound as past and as present at once: attention writes the
new rows in place and nothing is ever copied. So to forget the last tokens is to count fewer of them. Whether its
numbers are float32 or float16, and where it lies, is the graph's and the runtime's affair.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.errors import EngineFailed, ModelDamaged, PromptTooLong
from model.interface import SHAPE_KEY, DeviceChoice, GPT2Config
from model.onnx import external_data
from model.onnx.runtime import OnnxModel

if TYPE_CHECKING:
    from model.onnx.hf_session import HfOnnxSession

Logits = NDArray[np.float32]

GRAPH_INPUTS = {"input_ids", "position_ids", "last", "seqlens_k", "total_seq"}


def open_session(
    model: Path | bytes, *, threads: int = 0, device: DeviceChoice = "auto", shape: GPT2Config | None = None
) -> OnnxSession | HfOnnxSession:
    """Load a graph of ours, or one from elsewhere with a cache that grows.

    `shape` is what is known of the model; a graph from elsewhere does not tell how long its context is. Raises what
    Session raises; a graph that takes what nobody knows is a ModelDamaged that names it.
    """
    external_data.check_external_data(model)
    loaded = OnnxModel(model, threads=threads, device=device)
    if SHAPE_KEY not in loaded.metadata:
        from model.onnx.hf_session import HfOnnxSession, is_hf_graph

        if is_hf_graph(loaded):
            return HfOnnxSession(loaded, shape)
    return OnnxSession(on_supported_device(loaded, model, threads, device))


class OnnxSession:
    """A model and one text in its cache, `length` tokens long so far; `provider` says where it runs."""

    def __init__(self, model: Path | bytes | OnnxModel, *, threads: int = 0, device: DeviceChoice = "auto") -> None:
        """Load a graph that `model.build.graph.build` made.

        `threads` 0 takes one for each core, eight at most; `provider` auto takes a GPU where there is one for this
        graph. Raises ModelNotFound, ModelDamaged, EngineFailed where memory or threads do not suffice, and
        EngineMissing where what was asked for cannot be had.
        """
        loaded = model if isinstance(model, OnnxModel) else load_graph(model, threads, device)
        self._onnx_model = loaded
        self.device_label = loaded.device_label
        self.shape = read_shape(loaded)
        self.context = self.shape.n_positions
        self.length = 0
        # Held here, with their memory: not every onnxruntime keeps alive what is bound.
        self._cache: list[tuple[NDArray[Any] | None, Any]] = []
        self._bind_cache()
        self._single_token_inputs = _RunInputs(loaded, 1, 1, self.shape.vocab_size)

    def forward(self, ids: Sequence[int]) -> Logits:
        """Take ids after those in the cache; the logits [V] of the last. Good until the next call."""
        logits: Logits = self.forward_from(ids, len(ids) - 1)[0]
        return logits

    def forward_from(self, ids: Sequence[int], first: int) -> Logits:
        """The same with the logits [len(ids) - first, V] of all ids from index `first` on."""
        if self.length + len(ids) > self.context:
            raise PromptTooLong(f"{self.length + len(ids)} tokens do not fit the context of {self.context}")
        wanted = len(ids) - first
        inputs = (
            self._single_token_inputs
            if len(ids) == 1
            else _RunInputs(self._onnx_model, len(ids), wanted, self.shape.vocab_size)
        )
        inputs.fill(ids, self.length, first)
        inputs.bind()
        self._onnx_model.run()
        self.length += len(ids)
        logits: Logits = inputs.logits[0].astype(np.float32, copy=False)
        return logits

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} of {self.length} tokens")
        self.length = length

    def _bind_cache(self) -> None:
        size = (1, self.shape.n_head, self.shape.n_positions, self.shape.head_size)
        dtype = self._onnx_model.inputs["past_key_0"].dtype
        for layer in range(self.shape.n_layer):
            for kind in ("key", "value"):
                # Zeros, not whatever was in memory: a NaN there would survive a weight of zero.
                memory, buffer = self._onnx_model.allocate_zeros(size, dtype)
                self._cache.append((memory, buffer))
                self._onnx_model.binding.bind_ortvalue_input(f"past_{kind}_{layer}", buffer)
                self._onnx_model.binding.bind_ortvalue_output(f"present_{kind}_{layer}", buffer)


class _RunInputs:
    """What one run reads and writes but for the cache; onnxruntime sees the arrays' own memory."""

    def __init__(self, onnx_model: OnnxModel, token_count: int, logits_count: int, vocab_size: int) -> None:
        self._binding = onnx_model.binding
        self.ids = np.zeros((1, token_count), np.int64)
        self.positions = np.zeros((1, token_count), np.int64)
        self.last = np.zeros((1, logits_count), np.int64)
        self.seqlens_k = np.zeros(1, np.int32)
        self.total_seq = np.zeros((), np.int32)
        self.logits = np.zeros((1, logits_count, vocab_size), onnx_model.outputs["logits"].dtype)
        named: dict[str, NDArray[Any]] = {"input_ids": self.ids, "position_ids": self.positions, "last": self.last}
        named |= {"seqlens_k": self.seqlens_k, "total_seq": self.total_seq}
        self._values = {name: onnx_model.ort_value(array) for name, array in named.items()}
        self._logits = onnx_model.ort_value(self.logits)

    def fill(self, ids: Sequence[int], past: int, first: int) -> None:
        count = len(ids)
        self.ids[0] = ids
        self.positions[0] = range(past, past + count)
        self.last[0] = range(first, count)
        self.seqlens_k[0] = past + count - 1
        self.total_seq[()] = past + count

    def bind(self) -> None:
        """After `set`: a GPU takes its copy now."""
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output("logits", self._logits)


def load_graph(model: Path | bytes, threads: int, device: DeviceChoice) -> OnnxModel:
    """A graph of ours where it can stay. Raises what Session raises."""
    external_data.check_external_data(model)
    return on_supported_device(OnnxModel(model, threads=threads, device=device), model, threads, device)


def on_supported_device(onnx_model: OnnxModel, model: Path | bytes, threads: int, device: DeviceChoice) -> OnnxModel:
    """The graph where it can stay: back on the CPU if no GPU has its attention. Raises EngineFailed if told to one."""
    cache = onnx_model.inputs.get("past_key_0")
    # GroupQueryAttention takes half precision alone on CUDA: OperatorKernels.md of onnxruntime 1.31.
    if onnx_model.device == "cpu" or cache is None or cache.dtype == np.float16:
        return onnx_model
    if device == "cuda":
        raise EngineFailed(
            f"{onnx_model.name}: its attention is {cache.dtype}, CUDA has float16 alone; run it on the CPU"
        )
    return OnnxModel(model, threads=threads, device="cpu")


def read_shape(onnx_model: OnnxModel) -> GPT2Config:
    """What it says of itself. Raises ModelDamaged for a graph that is not ours."""
    stored = onnx_model.metadata.get(SHAPE_KEY)
    takes = {name for name in onnx_model.inputs if not name.startswith("past_")}
    if strange := ", ".join(sorted(takes - GRAPH_INPUTS)):
        raise ModelDamaged(f"{onnx_model.name}: it takes {strange}, which asr33 does not know how to give")
    if stored is None or takes != GRAPH_INPUTS:
        raise ModelDamaged(f"{onnx_model.name}: not a model that asr33 made; take one from: asr33 model list")
    try:
        shape = GPT2Config(**json.loads(stored))
    except (ValueError, TypeError) as error:
        raise ModelDamaged(f"{onnx_model.name}: its shape cannot be read ({error}); fetch it again") from None
    if len(onnx_model.inputs) - len(takes) != 2 * shape.n_layer or "past_key_0" not in onnx_model.inputs:
        raise ModelDamaged(f"{onnx_model.name}: its cache is not that of {shape.n_layer} layers; fetch it again")
    return shape
