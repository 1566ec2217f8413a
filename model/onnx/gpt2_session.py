"""The common part of the sessions: the length of one text in the KV cache, and its limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.errors import PromptTooLong
from model.interface import GPT2Config
from model.onnx.runtime import OnnxModel

Logits = NDArray[np.float32]


class GPT2Session(ABC):
    """A model and its KV cache with the `length` tokens of one text. `device_label` is for the log."""

    def __init__(self, onnx_model: OnnxModel, shape: GPT2Config) -> None:
        self._onnx_model = onnx_model
        self.device_label = onnx_model.device_label
        self.shape = shape
        self.context = shape.n_positions
        self.length = 0

    def forward(self, ids: Sequence[int]) -> Logits:
        """Appends ids to the cache; returns the logits [V] of the last, valid until the next call."""
        logits: Logits = self.forward_from(ids, len(ids) - 1)[0]
        return logits

    def forward_from(self, ids: Sequence[int], first: int) -> Logits:
        """Appends ids to the cache; returns the logits [len(ids) - first, V] of the ids from index `first` on."""
        if self.length + len(ids) > self.context:
            raise PromptTooLong(f"{self.length + len(ids)} tokens do not fit the context of {self.context}")
        return self._forward_from(ids, first)

    def rewind(self, length: int) -> None:
        """Keeps the first `length` tokens."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} of {self.length} tokens")
        self.length = length

    @abstractmethod
    def _forward_from(self, ids: Sequence[int], first: int) -> Logits: ...
