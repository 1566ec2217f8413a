"""One GPT-2 with its cache: ids in, logits out, for a graph that `model.graph` built.

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

from model import beside
from model.base import SHAPE_KEY, Provider, Shape
from model.errors import EngineFailed, ModelDamaged, PromptTooLong
from model.runtime import Loaded

if TYPE_CHECKING:
    from model.foreign import Foreign

Logits = NDArray[np.float32]

INPUTS = {"input_ids", "position_ids", "last", "seqlens_k", "total_seq"}


def open_session(
    model: Path | bytes, *, threads: int = 0, provider: Provider = "auto", shape: Shape | None = None
) -> Session | Foreign:
    """Load a graph of ours, or one from elsewhere with a cache that grows.

    `shape` is what is known of the model; a graph from elsewhere does not tell how long its context is. Raises what
    Session raises; a graph that takes what nobody knows is a ModelDamaged that names it.
    """
    beside.require_plain(model)
    loaded = Loaded(model, threads=threads, provider=provider)
    if SHAPE_KEY not in loaded.metadata:
        from model.foreign import Foreign, knows

        if knows(loaded):
            return Foreign(loaded, shape)
    return Session(settled(loaded, model, threads, provider))


class Session:
    """A model and one text in its cache, `length` tokens long so far; `provider` says where it runs."""

    def __init__(self, model: Path | bytes | Loaded, *, threads: int = 0, provider: Provider = "auto") -> None:
        """Load a graph that `model.graph.build` made.

        `threads` 0 takes one for each core, eight at most; `provider` auto takes a GPU where there is one for this
        graph. Raises ModelNotFound, ModelDamaged, EngineFailed where memory or threads do not suffice, and
        EngineMissing where what was asked for cannot be had.
        """
        loaded = model if isinstance(model, Loaded) else load(model, threads, provider)
        self._loaded = loaded
        self.provider = loaded.provider
        self.shape = shape_of(loaded)
        self.context = self.shape.n_positions
        self.length = 0
        # Held here, with their memory: not every onnxruntime keeps alive what is bound.
        self._cache: list[tuple[NDArray[Any] | None, Any]] = []
        self._bind_cache()
        self._step = _Inputs(loaded, 1, 1, self.shape.vocab_size)

    def forward(self, ids: Sequence[int]) -> Logits:
        """Take ids after those in the cache; the logits [V] of the last. Good until the next call."""
        logits: Logits = self.forward_from(ids, len(ids) - 1)[0]
        return logits

    def forward_from(self, ids: Sequence[int], first: int) -> Logits:
        """The same with the logits [len(ids) - first, V] of all ids from index `first` on."""
        if self.length + len(ids) > self.context:
            raise PromptTooLong(f"{self.length + len(ids)} tokens do not fit the context of {self.context}")
        wanted = len(ids) - first
        inputs = self._step if len(ids) == 1 else _Inputs(self._loaded, len(ids), wanted, self.shape.vocab_size)
        inputs.set(ids, self.length, first)
        inputs.bind()
        self._loaded.run()
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
        dtype = self._loaded.inputs["past_key_0"].dtype
        for layer in range(self.shape.n_layer):
            for kind in ("key", "value"):
                # Zeros, not whatever was in memory: a NaN there would survive a weight of zero.
                memory, buffer = self._loaded.resident(size, dtype)
                self._cache.append((memory, buffer))
                self._loaded.binding.bind_ortvalue_input(f"past_{kind}_{layer}", buffer)
                self._loaded.binding.bind_ortvalue_output(f"present_{kind}_{layer}", buffer)


class _Inputs:
    """What one run reads and writes but for the cache; onnxruntime sees the arrays' own memory."""

    def __init__(self, loaded: Loaded, count: int, wanted: int, vocabulary: int) -> None:
        self._binding = loaded.binding
        self.ids = np.zeros((1, count), np.int64)
        self.positions = np.zeros((1, count), np.int64)
        self.last = np.zeros((1, wanted), np.int64)
        self.seqlens_k = np.zeros(1, np.int32)
        self.total = np.zeros((), np.int32)
        self.logits = np.zeros((1, wanted, vocabulary), loaded.outputs["logits"].dtype)
        named: dict[str, NDArray[Any]] = {"input_ids": self.ids, "position_ids": self.positions, "last": self.last}
        named |= {"seqlens_k": self.seqlens_k, "total_seq": self.total}
        self._values = {name: loaded.value(array) for name, array in named.items()}
        self._logits = loaded.value(self.logits)

    def set(self, ids: Sequence[int], past: int, first: int) -> None:
        count = len(ids)
        self.ids[0] = ids
        self.positions[0] = range(past, past + count)
        self.last[0] = range(first, count)
        self.seqlens_k[0] = past + count - 1
        self.total[()] = past + count

    def bind(self) -> None:
        """After `set`: a GPU takes its copy now."""
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output("logits", self._logits)


def load(model: Path | bytes, threads: int, provider: Provider) -> Loaded:
    """A graph of ours where it can stay. Raises what Session raises."""
    beside.require_plain(model)
    return settled(Loaded(model, threads=threads, provider=provider), model, threads, provider)


def settled(loaded: Loaded, model: Path | bytes, threads: int, provider: Provider) -> Loaded:
    """The graph where it can stay: back on the CPU if no GPU has its attention. Raises EngineFailed if told to one."""
    cache = loaded.inputs.get("past_key_0")
    # GroupQueryAttention takes half precision alone on CUDA: OperatorKernels.md of onnxruntime 1.31.
    if loaded.device == "cpu" or cache is None or cache.dtype == np.float16:
        return loaded
    if provider == "cuda":
        raise EngineFailed(f"{loaded.name}: its attention is {cache.dtype}, CUDA has float16 alone; run it on the CPU")
    return Loaded(model, threads=threads, provider="cpu")


def shape_of(loaded: Loaded) -> Shape:
    """What it says of itself. Raises ModelDamaged for a graph that is not ours."""
    stored = loaded.metadata.get(SHAPE_KEY)
    takes = {name for name in loaded.inputs if not name.startswith("past_")}
    if strange := ", ".join(sorted(takes - INPUTS)):
        raise ModelDamaged(f"{loaded.name}: it takes {strange}, which asr33 does not know how to give")
    if stored is None or takes != INPUTS:
        raise ModelDamaged(f"{loaded.name}: not a model that asr33 made; take one from: asr33 model list")
    try:
        shape = Shape(**json.loads(stored))
    except (ValueError, TypeError) as error:
        raise ModelDamaged(f"{loaded.name}: its shape cannot be read ({error}); fetch it again") from None
    if len(loaded.inputs) - len(takes) != 2 * shape.n_layer or "past_key_0" not in loaded.inputs:
        raise ModelDamaged(f"{loaded.name}: its cache is not that of {shape.n_layer} layers; fetch it again")
    return shape
