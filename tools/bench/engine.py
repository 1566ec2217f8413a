"""What an engine must do to be measured, and which file knows each; the libraries are loaded when one is made.

A worker may live in another environment than asr33: nothing here or in the four files needs more than numpy and the
library itself.
"""

from __future__ import annotations

import importlib
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
    """A model that is loaded. Times are those of the runner's own clock."""

    version: str

    def time_first_token(self, ids: Sequence[int]) -> float:
        """Seconds from a prompt, with nothing of it in the cache, to its first token."""
        ...

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        """Seconds of `tokens` single steps after a prompt's first token."""
        ...

    def logits(self, ids: Sequence[int]) -> Logits:
        """The logits [len(ids), V] of every position."""
        ...


class RunnerModule(Protocol):
    """One of the four files."""

    def write_model(self, weights: Path, form: str, block: int, folder: Path) -> None:
        """Write the weights in that form to the folder `to`."""
        ...

    def Runner(self, folder: Path, form: str, threads: int) -> Runner: ...


def load_runner_module(engine: str) -> RunnerModule:
    module: RunnerModule = importlib.import_module(_RUNNER_MODULES[engine])
    return module


def require_modules(modules: Sequence[str]) -> None:
    """Raises ImportError, with the library's name, where one cannot be had."""
    for name in modules:
        importlib.import_module(name)
