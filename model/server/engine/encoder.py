"""Loads a model for the batch engine, and encodes requests into sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from model.errors import InvalidParameter, ModelDamaged
from model.generate.local_model import CACHED_LINES, LineTokenizer
from model.generate.token_mask import TokenMask
from model.interface import END_OF_TEXT, CompletionRequest, DeviceChoice, GPT2Config
from model.onnx import tokenizer
from model.server.engine.sequence import BatchSequence
from model.server.engine.timed_engine import SlotSession
from model.store import store

SLOTS_PER_ROW = 4  # at most: one for the row, the others for conversations between two turns

Alphabets = Mapping[str, Callable[[str], bool]]  # by name, whether a character is allowed


@dataclass(frozen=True, slots=True)
class BatchEngine:
    """A loaded model. `vocab_size` is the number of its logits, which may exceed the tokenizer's vocabulary."""

    session: SlotSession
    tokenizer: LineTokenizer
    vocab_size: int
    device: str = ""


def load_engine(
    folder: Path, *, batch_size: int, memory: int, context: int = 0, threads: int = 0, device: DeviceChoice = "auto"
) -> BatchEngine:
    """Verifies a model's files and loads them, with as many caches as `memory` bytes hold. Raises ModelError."""
    from model.onnx import session
    from model.server.engine import batched_session

    manifest = store.read_manifest(folder)
    store.verify_model(folder)
    vocabulary = tokenizer.read_file(folder / store.TOKENIZER_FILE)
    graph = session.load_graph(folder / store.GRAPH_FILE, threads, device)
    shape = session.read_shape(graph)
    if shape != manifest.shape or vocabulary.vocab_size > shape.vocab_size:
        raise ModelDamaged(f"{folder}: its graph, its tokenizer and its manifest are not of one model; fetch it again")
    bytes_per_number = graph.inputs["past_key_0"].dtype.itemsize
    count = count_slots(memory, shape, context, batch_size, bytes_per_number)
    slots = batched_session.BatchedSession(graph, count=count, context=context)
    return BatchEngine(slots, vocabulary, shape.vocab_size, slots.device_label)


def count_slots(memory: int, shape: GPT2Config, context: int, batch_size: int, bytes_per_number: int = 4) -> int:
    """The number of caches that fit in `memory` bytes: at least 1, at most SLOTS_PER_ROW for each row."""
    slot_bytes = 2 * shape.n_layer * shape.n_embd * ((context or shape.n_positions) + 1) * bytes_per_number
    return min(max(1, memory // slot_bytes), SLOTS_PER_ROW * batch_size)


class RequestEncoder:
    """Turns completion requests into sequences with token ids and a token mask. Any thread may use it."""

    def __init__(self, engine: BatchEngine, alphabets: Alphabets) -> None:
        self.context = engine.session.context
        self._tokenizer, self._vocab_size = engine.tokenizer, engine.vocab_size
        self._encode_line = lru_cache(CACHED_LINES)(engine.tokenizer.encode_lines)
        token_bytes = [engine.tokenizer.bytes_of(token) for token in range(engine.vocab_size)] if alphabets else []
        self._masks: dict[str, TokenMask | None] = {"": None}
        for name, is_allowed in alphabets.items():
            self._masks[name] = TokenMask(token_bytes, engine.tokenizer.end_of_text, is_allowed)

    def count_tokens(self, text: str) -> int:
        return len(self.encode_prompt(text)) - 1

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token; the end of text has its name, which no text contains."""
        is_end = token == self._tokenizer.end_of_text
        return END_OF_TEXT.encode() if is_end else self._tokenizer.bytes_of(token)

    def encode_prompt(self, prompt: str) -> list[int]:
        """An end-of-text token and the tokens of the prompt."""
        lines = prompt.splitlines(keepends=True)
        return [self._tokenizer.end_of_text, *(token for line in lines for token in self._encode_line(line))]

    def make_sequence(self, request: CompletionRequest, arrived_at: float) -> BatchSequence:
        """Raises PromptTooLong and InvalidParameter."""
        resumed, vocab_size = request.resume_tokens, self._vocab_size
        if resumed and not 0 <= min(resumed) <= max(resumed) < vocab_size:
            message = f"said: tokens of another model; this one has {vocab_size:,}: send the text"
            raise InvalidParameter(message, "said")
        if request.alphabet not in self._masks:
            known = ", ".join(filter(None, self._masks)) or "none"
            raise InvalidParameter(f"no alphabet {request.alphabet!r}; this model knows: {known}", "alphabet")
        mask, prompt = self._masks[request.alphabet], self.encode_prompt(request.prompt)
        return BatchSequence(request, prompt, self._tokenizer, mask, context=self.context, arrived_at=arrived_at)
