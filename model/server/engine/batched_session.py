"""Runs a GPT-2 with the KV caches of many texts side by side; a decode step computes a token for neighbouring slots.

Each layer has one buffer for the keys and one for the values of all slots. A step binds a slice of each, so nothing is
copied. A cache has one place more than the context, because a padding row of a full text writes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged, PromptTooLong
from model.onnx.runtime import OnnxModel
from model.onnx.session import Logits, load_graph, read_shape

Ints = Sequence[int]


class BatchedSession:
    """A model with `count` caches of `context` tokens each. `device_label` is for the log.

    The caller knows the length of each text. Logits are valid until the next call.
    """

    def __init__(self, model: Path | bytes | OnnxModel, *, count: int, context: int = 0, threads: int = 0) -> None:
        """`model` is a graph of `model.build.graph`. `context` 0 means the model's. Raises ModelError."""
        loaded = model if isinstance(model, OnnxModel) else load_graph(model, threads, "auto")
        self._model = loaded
        self.shape = read_shape(loaded)
        _require_batched_graph(loaded)
        self.device_label, self.count = loaded.device_label, count
        self.context = min(context or self.shape.n_positions, self.shape.n_positions)
        size = (count, self.shape.n_head, self.context + 1, self.shape.head_size)
        layers = range(self.shape.n_layer)
        self._cache = [_LayerCache(loaded, f"{kind}_{layer}", size) for layer in layers for kind in ("key", "value")]
        self._bound_slots = (0, 0)
        self._logits = np.empty((0, self.shape.vocab_size), loaded.outputs["logits"].dtype)
        self._copy_model: OnnxModel | None = None

    def prefill(self, slot: int, past_length: int, token_ids: Ints) -> Logits:
        """Appends tokens to the first `past_length` tokens of a slot. Returns the logits [V] of the last token."""
        end = past_length + len(token_ids)
        self._require_slots(slot, 1)
        self._require_room(end)
        self._bind_slots(slot, 1)
        logits: Logits = self._run_graph(token_ids, range(past_length, end), [end - 1], end, [len(token_ids) - 1])[0]
        return logits

    def decode_step(self, first_slot: int, past_lengths: Ints, token_ids: Ints, wanted: Ints) -> Logits:
        """Appends token i to the first past_lengths[i] tokens of slot first_slot + i.

        Returns the logits [W, V] of the W rows in `wanted`, which are indices into `token_ids`. The other rows are
        padding: their token is written after the text, and the next call may overwrite it.
        """
        self._require_slots(first_slot, len(token_ids))
        if not wanted:
            return np.empty((0, self.shape.vocab_size), np.float32)
        self._require_room(max(past_lengths[index] for index in wanted) + 1)
        self._require_room(max(past_lengths))
        self._bind_slots(first_slot, len(token_ids))
        last = self.shape.n_positions - 1  # for a padding row of a full text, whose position does not matter
        positions = [min(length, last) for length in past_lengths]
        return self._run_graph(token_ids, positions, past_lengths, max(past_lengths) + 1, wanted)

    def copy_cache(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` tokens of a slot to another."""
        self._require_slots(source, 1)
        self._require_slots(target, 1)
        self._require_room(length)
        for buffers in self._cache:
            if buffers.memory is None:
                self._copy_on_device(buffers, source, target)
            else:
                buffers.memory[target, :, :length] = buffers.memory[source, :, :length]

    def _require_slots(self, first: int, count: int) -> None:
        if count < 1 or not 0 <= first <= self.count - count:
            raise ValueError(f"slots {first} to {first + count - 1} of {self.count}")

    def _require_room(self, length: int) -> None:
        if length > self.context:
            raise PromptTooLong(f"{length} tokens do not fit the context of {self.context}")

    def _bind_slots(self, first: int, count: int) -> None:
        if self._bound_slots != (first, count):
            self._bound_slots = (0, 0)
            for buffers in self._cache:
                past, present = f"past_{buffers.name}", f"present_{buffers.name}"
                self._model.bind_slice(buffers.value, first, count, input_name=past, output_name=present)
            self._bound_slots = (first, count)

    def _run_graph(
        self, token_ids: Ints, positions: Ints, past_lengths: Ints, total_length: int, wanted: Ints
    ) -> Logits:
        """`past_lengths` has for each bound slot the number of tokens before its last new token."""
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": np.array([token_ids], np.int64),
            "position_ids": np.array([positions], np.int64),
            "last": np.array([wanted], np.int64).reshape(1, -1),
            "seqlens_k": np.array(past_lengths, np.int32),
            "total_seq": np.array(total_length, np.int32),
        }
        values = {name: self._model.ort_value(array) for name, array in inputs.items()}
        for name, value in values.items():
            self._model.binding.bind_ortvalue_input(name, value)
        if len(self._logits) < len(wanted):  # reused, because new memory costs as much time as the output layer
            self._logits = np.empty((len(wanted), self.shape.vocab_size), self._logits.dtype)
        output = self._model.ort_value(self._logits[None, : len(wanted)])
        self._model.binding.bind_ortvalue_output("logits", output)
        self._model.run()
        logits: Logits = self._logits[: len(wanted)].astype(np.float32, copy=False)
        return logits

    def _copy_on_device(self, buffers: _LayerCache, source: int, target: int) -> None:
        """Copies a whole slot on a GPU, whose memory numpy cannot reach."""
        if self._copy_model is None:
            graph = _build_copy_graph(is_float16=buffers.dtype == np.float16)
            self._copy_model = OnnxModel(graph, threads=1, device=self._model.device)
        self._copy_model.bind_slice(buffers.value, source, 1, input_name="source")
        self._copy_model.bind_slice(buffers.value, target, 1, output_name="target")
        self._copy_model.run()


class _LayerCache:
    """The keys or the values of one layer, for all slots; `memory` is None if they are on a GPU."""

    def __init__(self, loaded: OnnxModel, name: str, size: Sequence[int]) -> None:
        self.name, self.dtype = name, loaded.inputs[f"past_{name}"].dtype
        # Zeros, because a NaN in uninitialised memory would survive an attention weight of zero.
        self.memory, self.value = loaded.allocate_zeros(size, self.dtype)


def _build_copy_graph(*, is_float16: bool) -> bytes:
    """A graph that copies `source` [1, H, T, D] to `target`. onnxruntime has no other way to copy a GPU's memory."""
    from onnx import TensorProto, helper

    dtype = TensorProto.FLOAT16 if is_float16 else TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, dtype, [1, "H", "T", "D"]) for name in ("source", "target")]
    nodes = [helper.make_node("Identity", ["source"], ["target"])]
    graph = helper.make_graph(nodes, "copy", ends[:1], ends[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    serialised: bytes = model.SerializeToString()
    return serialised


def _require_batched_graph(loaded: OnnxModel) -> None:
    if isinstance(loaded.inputs["seqlens_k"].dims[0], int):
        cure = "make it again with: asr33 model make, or asr33 model pull"
        raise ModelDamaged(f"{loaded.name}: it takes one text at a time; {cure}")
