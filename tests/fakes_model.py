"""Small models for tests: random GPT-2 weights, a folder as the store writes it, a session that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.build import graph, onnx_io
from model.generate.local_model import LocalEngine
from model.interface import GPT2Config
from model.onnx import tokenizer
from model.onnx.tokenizer import Tokenizer
from model.store import store

Floats = NDArray[np.float32]

TEXT = """The operator sat down at the machine and typed a line. It answered at once, ten characters a second.
“Is anyone there?” he asked. Nobody spoke; the motor hummed, the paper moved, and the bell rang twice.
"""
TINY = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=2)


@cache
def tiny_tokenizer() -> Tokenizer:
    return tokenizer.train_tokenizer(TEXT.splitlines(keepends=True), TINY.vocab_size)


def tiny_weights(shape: GPT2Config = TINY, seed: int = 33) -> dict[str, Floats]:
    """Weights far livelier than a fresh model's, so that a wrong graph cannot hide."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, size in graph.weight_shapes(shape).items():
        around = 1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0
        weights[name] = (around + 0.3 * random.standard_normal(size)).astype(np.float32)
    weights["wte.weight"][-1] = 0  # the end of text is never likely, so that a text goes on
    return weights


def tiny_folder(parent: Path, name: str = "tiny", shape: GPT2Config = TINY) -> Path:
    """A model on disk, whole and verified; its text is noise."""
    folder = parent / name
    store.write_model(
        folder,
        name=name,
        shape=shape,
        onnx_bytes=graph.build_gpt2(tiny_weights(shape), shape),
        tokenizer_json=tiny_tokenizer().to_json(),
        training={"bits_per_byte": 7.5},
        card=f"# {name}\n\nRandom numbers.\n",
    )
    return folder


def tiny_folder_with_data(parent: Path, name: str = "tiny") -> Path:
    """The same with its weights beside the graph, as whatever makes a model writes it."""
    folder = parent / name
    with store.open_draft(folder) as draft:
        onnx_io.write_graph(draft, tiny_weights(), TINY)
        store.commit_draft(
            draft,
            folder,
            name=name,
            shape=TINY,
            tokenizer_json=tiny_tokenizer().to_json(),
            training={},
            card=f"# {name}\n",
        )
    return folder


class ScriptedSession:
    """A session and its vocabulary of the 256 bytes: whatever the prompt, it says the text, then ends it.

    It counts its passes and their ids; while `gate` is cleared they wait.
    """

    end_of_text = 256
    max_token_bytes = 1

    def __init__(self, text: str | bytes, context: int = 1_000_000) -> None:
        self.script = [*(text if isinstance(text, bytes) else text.encode()), self.end_of_text]
        self.context = context
        self.length = self.passes = 0
        self.last_said: int | None = None  # what was said last, while nothing else went in
        self.seen: list[int] = []
        self.counts: list[int] = []  # how many ids each pass got
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.threads: set[str] = set()

    def forward(self, ids: Sequence[int]) -> Floats:
        self.entered.set()
        assert self.gate.wait(60), "the test forgot to open the gate"
        self.threads.add(threading.current_thread().name)
        goes_on = self.last_said is not None and list(ids) == [self.script[self.last_said]]
        self.last_said = self.last_said + 1 if self.last_said is not None and goes_on else 0
        self.passes += 1
        self.counts.append(len(ids))
        self.length += len(ids)
        self.seen += ids
        assert self.length <= self.context
        logits = np.zeros(257, np.float32)
        logits[self.script[self.last_said]] = 9.0
        return logits

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self.length
        self.length, self.last_said = length, None
        del self.seen[length:]

    def bytes_of(self, token: int) -> bytes:
        return bytes([token]) if token < self.end_of_text else b""

    def encode_lines(self, text: str) -> list[int]:
        return list(text.encode())

    def engine(self) -> LocalEngine:
        return LocalEngine(self, self)
