"""Slots without a model: what comes next is a function of all that is in a slot's cache, and of nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.base import Ask, Piece, Sampling
from model.loop import generate
from model.mask import Mask
from model.serving.engine import Engine

Floats = NDArray[np.float32]

WORDS = b"the of and to in that it was he on with as his for at by had not but from or they all we "
POISON = -1  # what a slot was never given, or was given for nothing


class Bytes:
    """A vocabulary of the 256 bytes; every other token is likely to be a letter."""

    end_of_text = 256
    longest = 1

    def bytes_of(self, token: int) -> bytes:
        return bytes([token]) if token < self.end_of_text else b""

    def encode_lines(self, text: str) -> list[int]:
        return list(text.encode())


def logits_after(ids: Sequence[int]) -> Floats:
    """Letters, blanks, now and then a line feed or the end; all of it follows from all ids before."""
    digest = blake2b(np.asarray(ids, np.int16).tobytes(), digest_size=32).digest()
    logits = np.full(257, -9.0, np.float32)
    for at, byte in enumerate(digest):
        logits[WORDS[(byte * 5 + at) % len(WORDS)]] += 1 + byte / 32
    logits[10] += digest[0] / 24
    logits[0xE2] += digest[1] / 40  # half a character, which a mask has to end
    logits[0x80] += digest[2] / 40
    return logits


class FakeSlots:
    """As `model.serving.slots.Slots`; it finds out whoever mixes up slots or lengths.

    `takes(rows, tokens)` is told of each pass, so that a clock may jump; `fails` names a pass that breaks.
    """

    def __init__(self, count: int, context: int, takes: Callable[[int, int], None] = lambda rows, tokens: None) -> None:
        self.count, self.context = count, context
        self.takes = takes
        self.held = [[POISON] * (context + 1) for _ in range(count)]
        self.passes: list[list[tuple[int, ...]]] = []  # of each what its wanted rows had in their caches
        self.copies = 0
        self.fails = -1
        self.gate = threading.Event()
        self.gate.set()

    def read(self, slot: int, past: int, ids: Sequence[int]) -> Floats:
        assert ids
        assert past + len(ids) <= self.context
        self.held[slot][past : past + len(ids)] = ids
        self._pass(1, len(ids), [self._used(slot, past + len(ids))])
        return logits_after(self._used(slot, past + len(ids)))

    def step(self, first: int, past: Sequence[int], ids: Sequence[int], wanted: Sequence[int]) -> Floats:
        assert len(past) == len(ids)
        assert list(wanted) == sorted(set(wanted))
        assert wanted[0] == 0
        assert wanted[-1] == len(ids) - 1
        for at, (length, token) in enumerate(zip(past, ids, strict=True)):
            assert 0 <= length <= self.context
            assert at not in wanted or length < self.context
            self.held[first + at][length] = token if at in wanted else POISON
        used = [self._used(first + at, past[at] + 1) for at in wanted]
        self._pass(len(ids), len(ids), used)
        return np.array([logits_after(ids) for ids in used])

    def copy(self, source: int, target: int, length: int) -> None:
        assert source != target
        assert 0 < length <= self.context
        self.copies += 1
        self.held[target][:length] = self._used(source, length)

    def _used(self, slot: int, length: int) -> list[int]:
        used = self.held[slot][:length]
        assert POISON not in used, "a cache is used that nobody has filled"
        return used

    def _pass(self, rows: int, tokens: int, used: list[list[int]]) -> None:
        assert self.gate.wait(60), "the test forgot to open the gate"
        self.takes(rows, tokens)
        if len(self.passes) == self.fails:
            raise MemoryError("no more memory")
        self.passes.append([tuple(ids) for ids in used])


class Alone:
    """A session with the same model, for `model.loop`."""

    def __init__(self, context: int) -> None:
        self.context = context
        self._ids: list[int] = []

    def forward(self, ids: Sequence[int]) -> Floats:
        self._ids += ids
        assert len(self._ids) <= self.context
        return logits_after(self._ids)

    def rewind(self, length: int) -> None:
        del self._ids[length:]


Told = tuple[str, tuple[int, ...], int, str | None, tuple[float, ...]]


def alone(ask: Ask, context: int, mask: Mask | None = None) -> Iterator[Piece]:
    """The pieces of an answer that nobody else shares the engine with, a piece for each step that gave something."""
    words = Bytes()
    prompt = [words.end_of_text, *words.encode_lines(ask.prompt)]
    for step in generate(Alone(context), prompt, ask.sampling, words, said=ask.said, mask=mask):
        yield Piece(step.text, step.tokens, 0.0, step.finish, step.logprobs, step.forgotten)


def whole(pieces: Sequence[Piece]) -> Told:
    """What the pieces come to, however it was cut."""
    return (
        "".join(piece.text for piece in pieces),
        tuple(token for piece in pieces for token in piece.tokens),
        sum(piece.forgotten for piece in pieces),
        pieces[-1].finish if pieces else None,
        tuple(number for piece in pieces for number in piece.logprobs),
    )


def engine(slots: FakeSlots) -> Engine:
    return Engine(slots, Bytes(), 257, "numpy")


def ask(prompt: str = "Hello", *, tokens: int = 40, seed: int = 33, **more: Any) -> Ask:
    return replace(Ask(prompt, Sampling(max_tokens=tokens, seed=seed, top_k=5), pace=10.0), **more)
