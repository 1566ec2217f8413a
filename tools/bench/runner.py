"""The interface of an engine that can be measured, and the module of each engine.

A worker may run in another Python environment than asr33. So this file and the four runners need only numpy and the
library itself, and import both late.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]

_RUNNER_MODULES = {
    "ours": "tools.bench.asr33_runner",
    "ctranslate2": "tools.bench.peers.ctranslate2_runner",
    "llama.cpp": "tools.bench.peers.llama_runner",
    "transformers": "tools.bench.peers.transformers_runner",
}


class Runner(Protocol):
    """A loaded model, which measures its own times."""

    version: str

    def time_first_token(self, ids: Sequence[int]) -> float:
        """Returns the seconds from a prompt to its first token, with an empty cache."""
        ...

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        """Returns the seconds of `tokens` decode steps, without the prefill of the prompt."""
        ...

    def logits(self, ids: Sequence[int]) -> Logits:
        """Returns the logits [len(ids), V] of all positions."""
        ...


class StepRunner(ABC):
    """The times of a runner that computes one pass at a time."""

    @abstractmethod
    def prefill(self, ids: Sequence[int]) -> int:
        """Clears the cache, and returns the most likely token after the prompt."""

    @abstractmethod
    def decode_step(self, token: int) -> int:
        """Adds the token to the cache, and returns the most likely token after it."""

    def time_first_token(self, ids: Sequence[int]) -> float:
        started_at = time.perf_counter()
        self.prefill(ids)
        return time.perf_counter() - started_at

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        token = self.prefill(ids)
        started_at = time.perf_counter()
        for _ in range(tokens):
            token = self.decode_step(token)
        return time.perf_counter() - started_at


class RunnerModule(Protocol):
    """The module of one engine."""

    def write_model(self, weights: Path, form: str, block: int, folder: Path) -> None:
        """Writes the shared weights to the folder, in the engine's format and in this form."""
        ...

    def Runner(self, folder: Path, form: str, threads: int) -> Runner: ...


def load_runner_module(engine: str) -> RunnerModule:
    module: RunnerModule = importlib.import_module(_RUNNER_MODULES[engine])
    return module


def require_modules(modules: Sequence[str]) -> None:
    """Raises ImportError with the name of the first module that is missing."""
    for name in modules:
        importlib.import_module(name)
