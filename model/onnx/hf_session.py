"""A GPT-2 graph from elsewhere, as the Hugging Face hub has them: a cache that is handed in and comes back longer.

The same ids in and logits out as `model.onnx.session`, at the price of a copy of the cache a step. What such a graph takes
is told by its inputs; how long its context is it does not tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged, ModelError, PromptTooLong
from model.interface import GPT2Config
from model.onnx.runtime import OnnxModel

Logits = NDArray[np.float32]

REQUIRED_INPUTS = {"input_ids", "attention_mask"}
KNOWN_INPUTS = REQUIRED_INPUTS | {"position_ids", "use_cache_branch"}
PAST_INPUT = re.compile(r"past_key_values\.(\d+)\.(?:key|value)")
GPT2_CONTEXT = 1024  # of every GPT-2 that was published
LOGITS_TOLERANCE = 0.1  # of the spread of the logits: more than rounding does, less than one token too many to look at


def is_hf_graph(onnx_model: OnnxModel) -> bool:
    """Whether the graph is of this kind at all; what is wrong with it Foreign says."""
    return "attention_mask" in onnx_model.inputs or any(map(PAST_INPUT.fullmatch, onnx_model.inputs))


class HfOnnxSession:
    """A model and one text in its cache, `length` tokens long so far; `provider` says where it runs."""

    def __init__(self, onnx_model: OnnxModel, shape: GPT2Config | None = None) -> None:
        """`shape` is for what the graph does not tell. Raises ModelDamaged, naming the inputs that are not known."""
        self._onnx_model = onnx_model
        self.device_label = onnx_model.device_label
        self._past_names = _past_names(onnx_model)
        self.shape = _read_shape(onnx_model, len(self._past_names) // 2, shape)
        self.context = self.shape.n_positions
        self.length = 0
        self._dtype = onnx_model.inputs[self._past_names[0]].dtype
        self._past_values: list[tuple[NDArray[Any] | None, Any]] = []
        self._past_length = 0
        self._takes_several_ids: bool | None = None

    def forward(self, ids: Sequence[int]) -> Logits:
        """Take ids after those in the cache; the logits [V] of the last."""
        logits: Logits = self.forward_from(ids, len(ids) - 1)[0]
        return logits

    def forward_from(self, ids: Sequence[int], first: int) -> Logits:
        """The same with the logits [len(ids) - first, V] of all ids from index `first` on."""
        if self.length + len(ids) > self.context:
            raise PromptTooLong(f"{self.length + len(ids)} tokens do not fit the context of {self.context}")
        if len(ids) > 1 and self._takes_several_ids is None:
            self._takes_several_ids = self._test_several_ids()
        if len(ids) == 1 or self._takes_several_ids:
            return self._run(ids)[first:]
        before = self.length
        try:
            return np.concatenate([self._run([token]) for token in ids])[first:]
        except ModelError:
            self.length = before  # those that went before the one that failed are not asked for singly
            raise

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} of {self.length} tokens")
        self.length = length

    def _run(self, ids: Sequence[int]) -> Logits:
        """One run; the logits [S, V]."""
        loaded, count, total = self._onnx_model, len(ids), self.length + len(ids)
        merged = "use_cache_branch" in loaded.inputs
        self._fit_past_to_length(dummy=merged and not self.length)
        given: dict[str, NDArray[Any]] = {"input_ids": np.array([ids], np.int64)}
        given["attention_mask"] = np.ones((1, total), np.int64)
        given["position_ids"] = np.arange(self.length, total, dtype=np.int64)[None]
        given["use_cache_branch"] = np.array([self.length > 0])
        given = {name: array for name, array in given.items() if name in loaded.inputs}
        for name, array in given.items():
            loaded.binding.bind_ortvalue_input(name, loaded.ort_value(array))
        for name, (_, value) in zip(self._past_names, self._past_values, strict=True):
            loaded.binding.bind_ortvalue_input(name, value)
        loaded.binding.clear_binding_outputs()
        loaded.binding.bind_output("logits")
        for name in self._past_names:
            loaded.binding.bind_output(_present_name(name), loaded.device)
        loaded.run()
        logits, *past = loaded.binding.get_outputs()
        self._past_values, self._past_length, self.length = [(None, value) for value in past], total, total
        rows: Logits = logits.numpy()[0, -count:].astype(np.float32, copy=False)
        return rows

    def _fit_past_to_length(self, dummy: bool) -> None:
        """Make the cache as long as the text: cut, or made anew where it is empty.

        A merged graph looks at none for a prompt; it is handed one row, as by those who export it.
        """
        if not self.length:
            size = (1, self.shape.n_head, int(dummy), self.shape.head_size)
            self._past_values = [self._onnx_model.allocate_zeros(size, self._dtype) for _ in self._past_names]
        elif self._past_length != self.length:
            cut = [np.ascontiguousarray(value.numpy()[:, :, : self.length]) for _, value in self._past_values]
            self._past_values = [(array, self._onnx_model.ort_value_on_device(array)) for array in cut]
        self._past_length = self.length

    def _test_several_ids(self) -> bool:
        """Whether several ids at once give what they give one by one; an export may have seen single steps alone."""
        before, ids = (
            (self._past_values, self._past_length, self.length),
            [token % self.shape.vocab_size for token in (1, 2, 3, 4)],
        )
        try:
            self.length = 0
            singly = np.concatenate([self._run([token]) for token in ids])
            self.length = 0
            together = np.concatenate([self._run(ids[:2]), self._run(ids[2:])])
        except ModelDamaged:
            return False
        finally:
            self._past_values, self._past_length, self.length = before
        return bool(np.abs(singly - together).max() <= LOGITS_TOLERANCE * singly.std())


def _past_names(onnx_model: OnnxModel) -> list[str]:
    """The inputs of the cache, a key and a value for each layer, in order."""
    strange = [name for name in onnx_model.inputs if name not in KNOWN_INPUTS and not PAST_INPUT.fullmatch(name)]
    if strange:
        raise ModelDamaged(f"{onnx_model.name}: it takes {', '.join(strange)}, which asr33 does not know how to give")
    layers = {int(match[1]) for match in map(PAST_INPUT.fullmatch, onnx_model.inputs) if match}
    names = [f"past_key_values.{layer}.{kind}" for layer in range(len(layers)) for kind in ("key", "value")]
    if not names:
        raise ModelDamaged(f"{onnx_model.name}: it keeps no cache; take the one called decoder_model_merged.onnx")
    wanted = REQUIRED_INPUTS | set(names)
    if missing := sorted(wanted - onnx_model.inputs.keys()) or sorted(
        {"logits", *map(_present_name, names)} - onnx_model.outputs.keys()
    ):
        raise ModelDamaged(
            f"{onnx_model.name}: it lacks {', '.join(missing[:3])}, so it is no GPT-2 that asr33 can run"
        )
    return names


def _present_name(past: str) -> str:
    return past.replace("past_key_values", "present")


def _read_shape(onnx_model: OnnxModel, layers: int, known: GPT2Config | None) -> GPT2Config:
    """What the graph's own dimensions tell, and `known` for the rest."""
    _, heads, _, size = (*onnx_model.inputs["past_key_values.0.key"].dims, None, None, None, None)[:4]
    vocabulary = onnx_model.outputs["logits"].dims[-1]
    if known is not None:
        heads = heads if isinstance(heads, int) else known.n_head
        size = size if isinstance(size, int) else known.head_size
        vocabulary = vocabulary if isinstance(vocabulary, int) else known.vocab_size
    if not (isinstance(heads, int) and isinstance(size, int) and isinstance(vocabulary, int)):
        raise ModelDamaged(f"{onnx_model.name}: it does not tell its size; it needs a manifest that does")
    context = known.n_positions if known else GPT2_CONTEXT
    return GPT2Config(vocabulary, n_positions=context, n_embd=heads * size, n_layer=layers, n_head=heads)
