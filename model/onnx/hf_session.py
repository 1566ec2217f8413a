"""Runs GPT-2 graphs that Hugging Face tools exported. Each run takes the KV cache and returns a longer copy.

The graph's inputs tell what it needs. The graph does not tell the length of its context.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged, ModelError
from model.interface import GPT2Config
from model.onnx.gpt2_session import GPT2Session, Logits
from model.onnx.runtime import OnnxModel

REQUIRED_INPUTS = {"input_ids", "attention_mask"}
KNOWN_INPUTS = REQUIRED_INPUTS | {"position_ids", "use_cache_branch"}
PAST_INPUT = re.compile(r"past_key_values\.(\d+)\.(?:key|value)")
GPT2_CONTEXT = 1024  # tokens, in every published GPT-2
LOGITS_TOLERANCE = 0.1  # share of the logits' standard deviation: above rounding errors, below a wrong mask's effect


def is_hf_graph(onnx_model: OnnxModel) -> bool:
    """Whether a Hugging Face tool exported the graph; HfOnnxSession checks whether asr33 can run it."""
    return "attention_mask" in onnx_model.inputs or any(map(PAST_INPUT.fullmatch, onnx_model.inputs))


class HfOnnxSession(GPT2Session):
    """A session of an exported graph."""

    def __init__(self, onnx_model: OnnxModel, shape: GPT2Config | None = None) -> None:
        """`shape` has the sizes that the graph does not tell. Raises ModelDamaged, which names unknown inputs."""
        self._past_names = _past_names(onnx_model)
        super().__init__(onnx_model, _read_shape(onnx_model, len(self._past_names) // 2, shape))
        self._dtype = onnx_model.inputs[self._past_names[0]].dtype
        self._past_values: list[tuple[NDArray[Any] | None, Any]] = []
        self._past_length = 0
        self._takes_several_ids: bool | None = None

    def _forward_from(self, ids: Sequence[int], first: int) -> Logits:
        if len(ids) > 1 and self._takes_several_ids is None:
            self._takes_several_ids = self._test_several_ids()
        if len(ids) == 1 or self._takes_several_ids:
            return self._run(ids)[first:]
        length = self.length
        try:
            return np.concatenate([self._run([token]) for token in ids])[first:]
        except ModelError:
            self.length = length  # all ids are appended, or none
            raise

    def _run(self, ids: Sequence[int]) -> Logits:
        """Runs the graph once; returns the logits [S, V]."""
        model, count, total = self._onnx_model, len(ids), self.length + len(ids)
        binding, is_merged = model.binding, "use_cache_branch" in model.inputs
        self._fit_past_to_length(dummy=is_merged and not self.length)
        inputs: dict[str, NDArray[Any]] = {"input_ids": np.array([ids], np.int64)}
        inputs["attention_mask"] = np.ones((1, total), np.int64)
        inputs["position_ids"] = np.arange(self.length, total, dtype=np.int64)[None]
        inputs["use_cache_branch"] = np.array([self.length > 0])
        inputs = {name: array for name, array in inputs.items() if name in model.inputs}  # the run reads their memory
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, model.ort_value(array))
        for name, (_, value) in zip(self._past_names, self._past_values, strict=True):
            binding.bind_ortvalue_input(name, value)
        binding.clear_binding_outputs()
        binding.bind_output("logits")
        for name in self._past_names:
            binding.bind_output(_present_name(name), model.device)
        model.run()
        logits, *past = binding.get_outputs()
        self._past_values, self._past_length, self.length = [(None, value) for value in past], total, total
        rows: Logits = logits.numpy()[0, -count:].astype(np.float32, copy=False)
        return rows

    def _fit_past_to_length(self, dummy: bool) -> None:
        """Cuts the cache to the length of the text, or makes an empty cache.

        A merged graph ignores the cache at the start of a text, but needs one row: `dummy` adds it.
        """
        if not self.length:
            size = (1, self.shape.n_head, int(dummy), self.shape.head_size)
            self._past_values = [self._onnx_model.allocate_zeros(size, self._dtype) for _ in self._past_names]
        elif self._past_length != self.length:
            cut = [np.ascontiguousarray(value.numpy()[:, :, : self.length]) for _, value in self._past_values]
            self._past_values = [(array, self._onnx_model.ort_value_on_device(array)) for array in cut]
        self._past_length = self.length

    def _test_several_ids(self) -> bool:
        """Whether several ids in one run give the logits of single runs; some exports were traced with one id."""
        before = self._past_values, self._past_length, self.length
        ids = [token % self.shape.vocab_size for token in (1, 2, 3, 4)]
        try:
            self.length = 0
            single = np.concatenate([self._run([token]) for token in ids])
            self.length = 0
            together = np.concatenate([self._run(ids[:2]), self._run(ids[2:])])
        except ModelDamaged:
            return False
        finally:
            self._past_values, self._past_length, self.length = before
        return bool(np.abs(single - together).max() <= LOGITS_TOLERANCE * single.std())


def _past_names(onnx_model: OnnxModel) -> list[str]:
    """The names of the cache inputs in order: key and value of each layer."""
    unknown = [name for name in onnx_model.inputs if name not in KNOWN_INPUTS and not PAST_INPUT.fullmatch(name)]
    if unknown:
        raise ModelDamaged(f"{onnx_model.name}: its inputs {', '.join(unknown)} are unknown to asr33")
    layers = {int(match[1]) for match in map(PAST_INPUT.fullmatch, onnx_model.inputs) if match}
    names = [f"past_key_values.{layer}.{kind}" for layer in range(len(layers)) for kind in ("key", "value")]
    if not names:
        raise ModelDamaged(f"{onnx_model.name}: it has no cache; take the graph decoder_model_merged.onnx")
    inputs, outputs = REQUIRED_INPUTS | set(names), {"logits", *map(_present_name, names)}
    if missing := sorted(inputs - onnx_model.inputs.keys()) or sorted(outputs - onnx_model.outputs.keys()):
        problem = f"it lacks {', '.join(missing[:3])}, so it is no GPT-2 that asr33 can run"
        raise ModelDamaged(f"{onnx_model.name}: {problem}")
    return names


def _present_name(past: str) -> str:
    return past.replace("past_key_values", "present")


def _read_shape(onnx_model: OnnxModel, layers: int, known: GPT2Config | None) -> GPT2Config:
    """The sizes of the graph's dimensions; `known` replaces open dimensions and gives the context."""
    _, heads, _, size = (*onnx_model.inputs["past_key_values.0.key"].dims, None, None, None, None)[:4]
    vocabulary = onnx_model.outputs["logits"].dims[-1]
    if known is not None:
        heads = heads if isinstance(heads, int) else known.n_head
        size = size if isinstance(size, int) else known.head_size
        vocabulary = vocabulary if isinstance(vocabulary, int) else known.vocab_size
    if not (isinstance(heads, int) and isinstance(size, int) and isinstance(vocabulary, int)):
        raise ModelDamaged(f"{onnx_model.name}: its sizes are open; it needs a manifest that has them")
    context = known.n_positions if known else GPT2_CONTEXT
    try:
        shape = GPT2Config(vocabulary, n_positions=context, n_embd=heads * size, n_layer=layers, n_head=heads)
    except ValueError as error:
        raise ModelDamaged(f"{onnx_model.name}: {error}; fetch it again") from None
    onnx_model.require_weights_for(shape)
    return shape
