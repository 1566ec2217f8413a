"""One GPT-2 in onnxruntime, with its cache: ids in, logits out; the only file that knows onnxruntime.

The cache is one buffer a layer, as long as the context, bound as past and as present at once: attention writes the
new rows in place and nothing is ever copied. So to forget the last tokens is to count fewer of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from model.base import SHAPE_KEY, Shape
from model.errors import EngineFailed, EngineMissing, ModelDamaged, ModelNotFound, PromptTooLong

Logits = NDArray[np.float32]

PROVIDER = "CPUExecutionProvider"
INPUTS = {"input_ids", "position_ids", "last", "seqlens_k", "total_seq"}
MOST_THREADS = 8  # a step waits for memory; more cores than this do not make it come sooner
FATAL = 4  # onnxruntime's own log level; what matters comes as an exception

_FAULTS = (
    faults.EPFail,
    faults.EngineError,
    faults.Fail,
    faults.InvalidArgument,
    faults.InvalidGraph,
    faults.InvalidProtobuf,
    faults.NoModel,
    faults.NotImplemented,
    faults.RuntimeException,
)


class Session:
    """A model and one text in its cache, `length` tokens long so far."""

    def __init__(self, model: Path | bytes, *, threads: int = 0) -> None:
        """Load a graph that `model.graph.build` made.

        `threads` 0 takes one for each core, eight at most. Raises ModelNotFound, ModelDamaged, EngineFailed where
        memory or threads do not suffice, and EngineMissing where onnxruntime cannot use the CPU.
        """
        self._name = "the model" if isinstance(model, bytes) else str(model)
        self._engine = _engine(model, self._name, threads)
        self.shape = _shape(self._engine, self._name)
        self.context = self.shape.n_positions
        self.length = 0
        self._binding = self._engine.io_binding()
        # Held here, with their memory: not every onnxruntime keeps alive what is bound.
        self._cache: list[tuple[Logits, ort.OrtValue]] = []
        self._bind_cache()
        self._step = _Inputs(1, 1, self.shape.vocab_size)

    def forward(self, ids: Sequence[int]) -> Logits:
        """Take ids after those in the cache; the logits [V] of the last. Good until the next call."""
        logits: Logits = self.forward_from(ids, len(ids) - 1)[0]
        return logits

    def forward_from(self, ids: Sequence[int], first: int) -> Logits:
        """The same with the logits [len(ids) - first, V] of all ids from index `first` on."""
        if self.length + len(ids) > self.context:
            raise PromptTooLong(f"{self.length + len(ids)} tokens do not fit the context of {self.context}")
        wanted = len(ids) - first
        inputs = self._step if len(ids) == 1 else _Inputs(len(ids), wanted, self.shape.vocab_size)
        inputs.set(ids, self.length, first)
        inputs.bind(self._binding)
        try:
            self._engine.run_with_iobinding(self._binding)
        except (*_FAULTS, RuntimeError) as error:
            raise ModelDamaged(f"{self._name}: it cannot be run ({_first_line(error)})") from None
        self.length += len(ids)
        logits: Logits = inputs.logits[0]
        return logits

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} of {self.length} tokens")
        self.length = length

    def _bind_cache(self) -> None:
        size = (1, self.shape.n_head, self.shape.n_positions, self.shape.head_size)
        for layer in range(self.shape.n_layer):
            for kind in ("key", "value"):
                # Zeros, not whatever was in memory: a NaN there would survive a weight of zero.
                try:
                    memory = np.zeros(size, np.float32)
                except MemoryError as error:
                    raise _too_little(self._name, error) from None
                buffer = ort.OrtValue.ortvalue_from_numpy(memory)
                self._cache.append((memory, buffer))
                self._binding.bind_ortvalue_input(f"past_{kind}_{layer}", buffer)
                self._binding.bind_ortvalue_output(f"present_{kind}_{layer}", buffer)


class _Inputs:
    """What one run reads and writes but for the cache; onnxruntime sees the arrays' own memory."""

    def __init__(self, count: int, wanted: int, vocabulary: int) -> None:
        self.ids = np.zeros((1, count), np.int64)
        self.positions = np.zeros((1, count), np.int64)
        self.last = np.zeros((1, wanted), np.int64)
        self.seqlens_k = np.zeros(1, np.int32)
        self.total = np.zeros((), np.int32)
        self.logits = np.zeros((1, wanted, vocabulary), np.float32)
        named: dict[str, NDArray[Any]] = {"input_ids": self.ids, "position_ids": self.positions, "last": self.last}
        named |= {"seqlens_k": self.seqlens_k, "total_seq": self.total}
        self._values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in named.items()}
        self._logits = ort.OrtValue.ortvalue_from_numpy(self.logits)

    def set(self, ids: Sequence[int], past: int, first: int) -> None:
        count = len(ids)
        self.ids[0] = ids
        self.positions[0] = range(past, past + count)
        self.last[0] = range(first, count)
        self.seqlens_k[0] = past + count - 1
        self.total[()] = past + count

    def bind(self, binding: ort.IOBinding) -> None:
        for name, value in self._values.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output("logits", self._logits)


def _engine(model: Path | bytes, name: str, threads: int) -> ort.InferenceSession:
    ort.set_default_logger_severity(FATAL)
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    # Never onnxruntime's own default: it ties each thread to a core, and the wheel's clock may need that one.
    options.intra_op_num_threads = threads or min(_cores(), MOST_THREADS)
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Idle threads that wait by turning burn 36 ms of CPU a step, against 2 ms, and are no faster: measured with a
    # step every 50 ms on two threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        engine = ort.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=[PROVIDER])
    except faults.NoSuchFile:
        raise ModelNotFound(f"{name}: no such file; see what there is with: asr33 model list") from None
    except _FAULTS as error:
        raise ModelDamaged(f"{name}: onnxruntime cannot load it ({_first_line(error)}); fetch it again") from None
    except (MemoryError, RuntimeError) as error:
        raise _too_little(name, error) from None
    # What onnxruntime falls back to when a provider fails, it says nowhere that a caller could see.
    if engine.get_providers() != [PROVIDER]:
        raise EngineMissing(f"asked for {PROVIDER}, got {engine.get_providers()}: pip install '.[cpu]' anew")
    return engine


def _shape(engine: ort.InferenceSession, name: str) -> Shape:
    stored = engine.get_modelmeta().custom_metadata_map.get(SHAPE_KEY)
    foreign = {entry.name for entry in engine.get_inputs() if not entry.name.startswith("past_")} ^ INPUTS
    if stored is None or foreign:
        raise ModelDamaged(f"{name}: not a model that asr33 made; take one from: asr33 model list")
    try:
        return Shape(**json.loads(stored))
    except (ValueError, TypeError) as error:
        raise ModelDamaged(f"{name}: its shape cannot be read ({error}); fetch it again") from None


def _too_little(name: str, error: Exception) -> EngineFailed:
    why = _first_line(error) or "too little memory"
    return EngineFailed(f"{name}: this machine cannot load it ({why}); free memory, or give fewer --threads")


def _cores() -> int:
    """Those that this process may use, where the system tells; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
