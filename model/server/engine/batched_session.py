"""One GPT-2 and the caches of many texts, side by side: a step takes one token of each of some that are neighbours.

Each layer has one buffer for the keys and one for the values of all texts, and a step is bound to the part of it that
it is for: nothing is copied. A cache has one place more than the context, since a row that is in a step only because
its neighbours are writes somewhere too, also where its text is full. Who has which slot, and how much of it is worth
keeping, it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged, PromptTooLong
from model.interface import DeviceChoice
from model.onnx.runtime import OnnxModel
from model.onnx.session import Logits, load_graph, read_shape

if TYPE_CHECKING:
    from model.build.graph_builder import Precision


class BatchedSession:
    """`count` caches of `context` tokens each; `provider` says where they run. How long each text is, the caller knows.

    Logits are good until the next call.
    """

    def __init__(
        self,
        model: Path | bytes | OnnxModel,
        *,
        count: int,
        context: int = 0,
        threads: int = 0,
        provider: DeviceChoice = "auto",
    ) -> None:
        """Load a graph that `model.build.graph.build` made; `context` 0 is the model's.

        Raises what Session raises, and ModelDamaged for a graph of one text.
        """
        loaded = model if isinstance(model, OnnxModel) else load_graph(model, threads, provider)
        self._model = loaded
        self.shape = read_shape(loaded)
        _require_batched_graph(loaded)
        self.provider, self.count = loaded.device_label, count
        self.context = min(context or self.shape.n_positions, self.shape.n_positions)
        self._cache = [_LayerCache(loaded, f"{kind}_{layer}", self._cache_shape) for layer, kind in self._cache_parts()]
        self._bound_slots = (0, 0)
        self._logits = np.empty((0, self.shape.vocab_size), loaded.outputs["logits"].dtype)
        self._copy_model: OnnxModel | None = None

    def prefill(self, slot: int, past_length: int, token_ids: Sequence[int]) -> Logits:
        """Take ids behind the first `past` tokens of a slot; the logits [V] of the last."""
        after = past_length + len(token_ids)
        self._require_slots(slot, 1)
        self._require_room(after)
        self._bind(slot, 1)
        logits: Logits = self._run(token_ids, range(past_length, after), [after - 1], after, [len(token_ids) - 1])[0]
        return logits

    def decode_step(
        self, first_slot: int, past_lengths: Sequence[int], token_ids: Sequence[int], wanted: Sequence[int]
    ) -> Logits:
        """Take one id behind the first past[i] tokens of each slot from `first` on; the logits [W, V] of those wanted.

        `wanted` are indices in ids. What is not wanted is written behind its text, and may be written over.
        """
        self._require_slots(first_slot, len(token_ids))
        if not wanted:
            return np.empty((0, self.shape.vocab_size), np.float32)
        self._require_room(max(past_lengths[index] for index in wanted) + 1)
        self._require_room(max(past_lengths))
        self._bind(first_slot, len(token_ids))
        last = self.shape.n_positions - 1  # of a full row that is not wanted the position does not matter
        return self._run(
            token_ids, [min(length, last) for length in past_lengths], past_lengths, max(past_lengths) + 1, wanted
        )

    def copy_cache(self, source: int, target: int, length: int) -> None:
        """The first `length` tokens of a slot into another."""
        self._require_slots(source, 1)
        self._require_slots(target, 1)
        self._require_room(length)
        for buffers in self._cache:
            if buffers.memory is None:
                self._copy_on_device(buffers, source, target)
            else:
                buffers.memory[target, :, :length] = buffers.memory[source, :, :length]

    @property
    def _cache_shape(self) -> tuple[int, ...]:
        return self.count, self.shape.n_head, self.context + 1, self.shape.head_size

    def _cache_parts(self) -> Iterable[tuple[int, str]]:
        return ((layer, kind) for layer in range(self.shape.n_layer) for kind in ("key", "value"))

    def _require_slots(self, first: int, count: int) -> None:
        if count < 1 or not 0 <= first <= self.count - count:
            raise ValueError(f"slots {first} to {first + count - 1} of {self.count}")

    def _require_room(self, length: int) -> None:
        if length > self.context:
            raise PromptTooLong(f"{length} tokens do not fit the context of {self.context}")

    def _bind(self, first: int, count: int) -> None:
        if self._bound_slots != (first, count):
            self._bound_slots = (0, 0)
            for buffers in self._cache:
                past, present = f"past_{buffers.name}", f"present_{buffers.name}"
                self._model.bind_slice(buffers.value, first, count, input_name=past, output_name=present)
            self._bound_slots = (first, count)

    def _run(
        self,
        token_ids: Sequence[int],
        positions: Sequence[int],
        past_lengths: Sequence[int],
        total_length: int,
        wanted: Sequence[int],
    ) -> Logits:
        """`behind` has, for each slot that is bound, how many tokens are before its last new one."""
        given: dict[str, NDArray[Any]] = {
            "input_ids": np.array([token_ids], np.int64),
            "position_ids": np.array([positions], np.int64),
            "last": np.array([wanted], np.int64).reshape(1, -1),
            "seqlens_k": np.array(past_lengths, np.int32),
            "total_seq": np.array(total_length, np.int32),
        }
        values = {name: self._model.ort_value(array) for name, array in given.items()}
        for name, value in values.items():
            self._model.binding.bind_ortvalue_input(name, value)
        if len(self._logits) < len(wanted):  # kept: memory that is new each time costs as much as the head
            self._logits = np.empty((len(wanted), self.shape.vocab_size), self._logits.dtype)
        found = self._model.ort_value(self._logits[None, : len(wanted)])
        self._model.binding.bind_ortvalue_output("logits", found)
        self._model.run()
        logits: Logits = self._logits[: len(wanted)].astype(np.float32, copy=False)
        return logits

    def _copy_on_device(self, buffers: _LayerCache, source: int, target: int) -> None:
        """On a GPU: a whole slot, for its memory is not ours to look into."""
        if self._copy_model is None:
            from model.build.graph_builder import build_copy_graph  # needs onnx

            kind: Precision = "float16" if buffers.dtype == np.float16 else "float32"
            self._copy_model = OnnxModel(build_copy_graph(kind), threads=1, device=self._model.device)
        self._copy_model.bind_slice(buffers.value, source, 1, input_name="source")
        self._copy_model.bind_slice(buffers.value, target, 1, output_name="target")
        self._copy_model.run()


class _LayerCache:
    """The keys, or the values, of one layer; `memory` is None where they are on a GPU."""

    def __init__(self, loaded: OnnxModel, name: str, size: Sequence[int]) -> None:
        self.name, self.dtype = name, loaded.inputs[f"past_{name}"].dtype
        # Zeros, not whatever was in memory: a NaN there would survive a weight of zero.
        self.memory, self.value = loaded.allocate_zeros(size, self.dtype)


def _require_batched_graph(loaded: OnnxModel) -> None:
    if isinstance(loaded.inputs["seqlens_k"].dims[0], int):
        raise ModelDamaged(
            f"{loaded.name}: it takes one text at a time; make it again with: asr33 model make, or asr33 model pull"
        )
