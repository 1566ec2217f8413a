"""A model that is loaded for many lines: its slots, its words, and what alphabets an answer may be kept to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from model.errors import ModelDamaged, NoSuchAlphabet, NoSuchToken
from model.generate.local_model import CACHED_LINES, LineTokenizer
from model.generate.token_mask import TokenMask
from model.interface import CompletionRequest, DeviceChoice, GPT2Config
from model.onnx import tokenizer
from model.server.engine.sequence import BatchSequence
from model.server.engine.timed_engine import SlotSession
from model.store import store

SLOTS_PER_ROW = 4  # caches at most for each row: its own, and those of people who think, type and read meanwhile

Alphabets = Mapping[str, Callable[[str], bool]]


@dataclass(frozen=True, slots=True)
class BatchEngine:
    """A model that is loaded; `size` is how many numbers it gives for a token, its words and those to spare."""

    session: SlotSession
    tokenizer: LineTokenizer
    vocab_size: int
    device: str = ""


def load_engine(
    folder: Path, *, batch_size: int, memory: int, context: int = 0, threads: int = 0, device: DeviceChoice = "auto"
) -> BatchEngine:
    """Verify a model's files and load them, with as many caches as `memory` holds. Raises ModelError."""
    from model.onnx import session
    from model.server.engine import batched_session

    manifest = store.read_manifest(folder)
    store.verify_model(folder)
    words = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    graph = session.load_graph(folder / store.GRAPH_FILE, threads, device)
    shape = session.read_shape(graph)
    if shape != manifest.shape or words.vocab_size > shape.vocab_size:
        raise ModelDamaged(f"{folder}: its graph, its tokenizer and its manifest are not of one model; fetch it again")
    number = graph.inputs["past_key_0"].dtype.itemsize
    count = count_slots(memory, shape, context, batch_size, number)
    made = batched_session.BatchedSession(graph, count=count, context=context)
    return BatchEngine(made, words, shape.vocab_size, made.provider)


def count_slots(memory: int, shape: GPT2Config, context: int, batch_size: int, bytes_per_number: int = 4) -> int:
    """How many caches, of numbers of so many bytes, there is room for: one at least, no more than can be of use."""
    each = 2 * shape.n_layer * shape.n_embd * ((context or shape.n_positions) + 1) * bytes_per_number
    return min(max(1, memory // each), SLOTS_PER_ROW * batch_size)


class RequestEncoder:
    """What one needs to know of the model to make a turn of an ask. Any thread may ask."""

    def __init__(self, engine: BatchEngine, alphabets: Alphabets) -> None:
        self.context = engine.session.context
        self._tokenizer, self._vocab_size = engine.tokenizer, engine.vocab_size
        self._encode_line = lru_cache(CACHED_LINES)(engine.tokenizer.encode_lines)
        spelled = [engine.tokenizer.bytes_of(token) for token in range(engine.vocab_size)] if alphabets else []
        self._masks: dict[str, TokenMask | None] = {"": None}
        for name, kept in alphabets.items():
            self._masks[name] = TokenMask(spelled, engine.tokenizer.end_of_text, kept)

    def count_tokens(self, text: str) -> int:
        return len(self.encode_prompt(text)) - 1

    def encode_prompt(self, prompt: str) -> list[int]:
        lines = prompt.splitlines(keepends=True)
        return [self._tokenizer.end_of_text, *(token for line in lines for token in self._encode_line(line))]

    def make_sequence(self, request: CompletionRequest, arrived_at: float) -> BatchSequence:
        """Raises PromptTooLong, NoSuchAlphabet and NoSuchToken."""
        if (
            request.resume_tokens
            and not 0 <= min(request.resume_tokens) <= max(request.resume_tokens) < self._vocab_size
        ):
            raise NoSuchToken(f"said: tokens of another model; this one has {self._vocab_size:,}")
        if request.alphabet not in self._masks:
            known = ", ".join(filter(None, self._masks)) or "none"
            raise NoSuchAlphabet(f"no alphabet {request.alphabet!r}; this model knows: {known}")
        mask = self._masks[request.alphabet]
        return BatchSequence(
            request,
            self.encode_prompt(request.prompt),
            self._tokenizer,
            mask,
            context=self.context,
            arrived_at=arrived_at,
        )
