"""Small models for tests: random GPT-2 weights, folders in the store's format, a session with a scripted text."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fakes_batch_engine import ByteVocabulary, Floats

from model.build import graph, onnx_io
from model.generate.local_model import LocalEngine
from model.interface import GPT2Config
from model.onnx import tokenizer
from model.onnx.tokenizer import Tokenizer
from model.store import store
from model.store.manifest import Manifest

TEXT = """The operator sat down at the machine and typed a line. It answered at once, ten characters a second.
“Is anyone there?” he asked. Nobody spoke; the motor hummed, the paper moved, and the bell rang twice.
"""
TINY = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=2)


@cache
def tiny_tokenizer() -> Tokenizer:
    return tokenizer.train_tokenizer(TEXT.splitlines(keepends=True), TINY.vocab_size)


def tiny_weights(shape: GPT2Config = TINY, seed: int = 33) -> dict[str, Floats]:
    """Returns weights with a larger spread than a new model's, so that an error in the graph changes the logits."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, size in graph.weight_shapes(shape).items():
        mean = 1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0
        weights[name] = (mean + 0.3 * random.standard_normal(size)).astype(np.float32)
    weights["wte.weight"][-1] = 0  # makes the end of text unlikely
    return weights


def tiny_folder(parent: Path, name: str = "tiny", shape: GPT2Config = TINY) -> Path:
    """Writes a model that passes verification; its text is noise."""
    onnx_bytes = graph.build_gpt2(tiny_weights(shape), shape)
    training, card = {"bits_per_byte": 7.5}, f"# {name}\n\nRandom numbers.\n"
    write_model(parent / name, onnx_bytes, shape=shape, training=training, card=card)
    return parent / name


def write_model(folder: Path, onnx_bytes: bytes, **fields: Any) -> Manifest:
    """Writes a model whose graph contains its weights. `fields` are those of `commit_draft`, by default TINY's."""
    defaults = {"name": folder.name, "shape": TINY, "tokenizer_json": tiny_tokenizer().to_json()}
    with store.open_draft(folder) as draft:
        (draft / store.GRAPH_FILE).write_bytes(onnx_bytes)
        return store.commit_draft(draft, folder, **(defaults | {"training": {}, "card": ""} | fields))


def tiny_folder_with_data(parent: Path, name: str = "tiny") -> Path:
    """Writes the same model with external weights, as `asr33 model make` and training do."""
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


class ScriptedSession(ByteVocabulary):
    """A session and its vocabulary: after any prompt it writes the text, then the end of text.

    It counts its passes and their ids; the passes wait while `gate` is cleared.
    """

    def __init__(self, text: str | bytes, context: int = 1_000_000) -> None:
        self.script = [*(text if isinstance(text, bytes) else text.encode()), self.end_of_text]
        self.context = context
        self.length = self.passes = 0
        self.script_index: int | None = None  # of the last logits, while the caller appends the scripted tokens
        self.cached_ids: list[int] = []
        self.pass_sizes: list[int] = []  # the number of ids in each pass
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.threads: set[str] = set()

    def forward(self, ids: Sequence[int]) -> Floats:
        self.entered.set()
        assert self.gate.wait(60), "the test forgot to open the gate"
        self.threads.add(threading.current_thread().name)
        continues = self.script_index is not None and list(ids) == [self.script[self.script_index]]
        self.script_index = self.script_index + 1 if self.script_index is not None and continues else 0
        self.passes += 1
        self.pass_sizes.append(len(ids))
        self.length += len(ids)
        self.cached_ids += ids
        assert self.length <= self.context
        logits = np.zeros(257, np.float32)
        logits[self.script[self.script_index]] = 9.0
        return logits

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self.length
        self.length, self.script_index = length, None
        del self.cached_ids[length:]

    def make_engine(self) -> LocalEngine:
        return LocalEngine(self, self)
