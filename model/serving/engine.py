"""A model that is loaded for many lines: its slots, its words, and what alphabets an answer may be kept to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from model import store, tokenizer
from model.base import Ask, Provider, Shape
from model.errors import ModelDamaged, NoSuchAlphabet, NoSuchToken
from model.local import LINES, Words
from model.mask import Mask
from model.serving.passes import Slots
from model.serving.turn import Turn

SHARE = 4  # caches at most for each row: its own, and those of people who think, type and read meanwhile

Alphabets = Mapping[str, Callable[[str], bool]]


@dataclass(frozen=True, slots=True)
class Engine:
    """A model that is loaded; `size` is how many numbers it gives for a token, its words and those to spare."""

    slots: Slots
    tokenizer: Words
    size: int
    device: str = ""


def load(
    folder: Path, *, rows: int, memory: int, context: int = 0, threads: int = 0, device: Provider = "auto"
) -> Engine:
    """Verify a model's files and load them, with as many caches as `memory` holds. Raises ModelError."""
    from model import session
    from model.serving import slots

    manifest = store.read_manifest(folder)
    store.verify(folder)
    words = tokenizer.from_json((folder / store.TOKENIZER).read_text("utf-8"))
    graph = session.load(folder / store.GRAPH, threads, device)
    shape = session.shape_of(graph)
    if shape != manifest.shape or words.size > shape.vocab_size:
        raise ModelDamaged(f"{folder}: its graph, its tokenizer and its manifest are not of one model; fetch it again")
    number = graph.inputs["past_key_0"].dtype.itemsize
    count = slots_in(memory, shape, context, rows, number)
    made = slots.Slots(graph, count=count, context=context)
    return Engine(made, words, shape.vocab_size, made.provider)


def slots_in(memory: int, shape: Shape, context: int, rows: int, number: int = 4) -> int:
    """How many caches, of numbers of so many bytes, there is room for: one at least, no more than can be of use."""
    each = 2 * shape.n_layer * shape.n_embd * ((context or shape.n_positions) + 1) * number
    return min(max(1, memory // each), SHARE * rows)


class Speller:
    """What one needs to know of the model to make a turn of an ask. Any thread may ask."""

    def __init__(self, engine: Engine, alphabets: Alphabets) -> None:
        self.context = engine.slots.context
        self._words, self._size = engine.tokenizer, engine.size
        self._ids_of = lru_cache(LINES)(engine.tokenizer.encode_lines)
        spelled = [engine.tokenizer.bytes_of(token) for token in range(engine.size)] if alphabets else []
        self._masks: dict[str, Mask | None] = {"": None}
        for name, kept in alphabets.items():
            self._masks[name] = Mask(spelled, engine.tokenizer.end_of_text, kept)

    def count(self, text: str) -> int:
        return len(self.ids(text)) - 1

    def ids(self, prompt: str) -> list[int]:
        lines = prompt.splitlines(keepends=True)
        return [self._words.end_of_text, *(token for line in lines for token in self._ids_of(line))]

    def turn(self, ask: Ask, arrived: float) -> Turn:
        """Raises PromptTooLong, NoSuchAlphabet and NoSuchToken."""
        if ask.said and not 0 <= min(ask.said) <= max(ask.said) < self._size:
            raise NoSuchToken(f"said: tokens of another model; this one has {self._size:,}")
        if ask.alphabet not in self._masks:
            known = ", ".join(filter(None, self._masks)) or "none"
            raise NoSuchAlphabet(f"no alphabet {ask.alphabet!r}; this model knows: {known}")
        mask = self._masks[ask.alphabet]
        return Turn(ask, self.ids(ask.prompt), self._words, mask, context=self.context, arrived=arrived)
