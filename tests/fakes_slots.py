"""Slots without a model: what comes next is a function of all that is in a slot's cache, and of nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.generate.generate import generate
from model.generate.token_mask import TokenMask
from model.interface import CompletionRequest, Sampling, TextChunk
from model.server.engine.encoder import BatchEngine

Floats = NDArray[np.float32]

WORDS = b"the of and to in that it was he on with as his for at by had not but from or they all we "
UNWRITTEN = -1  # what a slot was never given, or was given for nothing


class ByteVocabulary:
    """A vocabulary of the 256 bytes; every other token is likely to be a letter."""

    end_of_text = 256
    max_token_bytes = 1

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


class FakeBatchedSession:
    """As `model.server.engine.batched_session.Slots`; it finds out whoever mixes up slots or lengths.

    `takes(rows, tokens)` is told of each pass, so that a clock may jump; `fails` names a pass that breaks.
    """

    def __init__(
        self, count: int, context: int, on_pass: Callable[[int, int], None] = lambda rows, tokens: None
    ) -> None:
        self.count, self.context = count, context
        self.on_pass = on_pass
        self.held = [[UNWRITTEN] * (context + 1) for _ in range(count)]
        self.passes: list[list[tuple[int, ...]]] = []  # of each what its wanted rows had in their caches
        self.copies = 0
        self.failing_pass = -1
        self.may_run = threading.Event()
        self.may_run.set()

    def prefill(self, slot: int, past_length: int, token_ids: Sequence[int]) -> Floats:
        assert token_ids
        assert past_length + len(token_ids) <= self.context
        self.held[slot][past_length : past_length + len(token_ids)] = token_ids
        self._record_pass(1, len(token_ids), [self._cached(slot, past_length + len(token_ids))])
        return logits_after(self._cached(slot, past_length + len(token_ids)))

    def decode_step(
        self, first_slot: int, past_lengths: Sequence[int], token_ids: Sequence[int], wanted: Sequence[int]
    ) -> Floats:
        assert len(past_lengths) == len(token_ids)
        assert list(wanted) == sorted(set(wanted))
        assert wanted[0] == 0
        assert wanted[-1] == len(token_ids) - 1
        for at, (length, token) in enumerate(zip(past_lengths, token_ids, strict=True)):
            assert 0 <= length <= self.context
            assert at not in wanted or length < self.context
            self.held[first_slot + at][length] = token if at in wanted else UNWRITTEN
        used = [self._cached(first_slot + at, past_lengths[at] + 1) for at in wanted]
        self._record_pass(len(token_ids), len(token_ids), used)
        return np.array([logits_after(ids) for ids in used])

    def copy_cache(self, source: int, target: int, length: int) -> None:
        assert source != target
        assert 0 < length <= self.context
        self.copies += 1
        self.held[target][:length] = self._cached(source, length)

    def _cached(self, slot: int, length: int) -> list[int]:
        used = self.held[slot][:length]
        assert UNWRITTEN not in used, "a cache is used that nobody has filled"
        return used

    def _record_pass(self, rows: int, tokens: int, used: list[list[int]]) -> None:
        assert self.may_run.wait(60), "the test forgot to open the gate"
        self.on_pass(rows, tokens)
        if len(self.passes) == self.failing_pass:
            raise MemoryError("no more memory")
        self.passes.append([tuple(ids) for ids in used])


class SingleSession:
    """A session with the same model, for `model.generate.generate`."""

    def __init__(self, context: int) -> None:
        self.context = context
        self._ids: list[int] = []

    def forward(self, ids: Sequence[int]) -> Floats:
        self._ids += ids
        assert len(self._ids) <= self.context
        return logits_after(self._ids)

    def rewind(self, length: int) -> None:
        del self._ids[length:]


WholeAnswer = tuple[str, tuple[int, ...], int, str | None, tuple[float, ...]]


def generate_alone(ask: CompletionRequest, context: int, mask: TokenMask | None = None) -> Iterator[TextChunk]:
    """The pieces of an answer that nobody else shares the engine with, a piece for each step that gave something."""
    words = ByteVocabulary()
    prompt = [words.end_of_text, *words.encode_lines(ask.prompt)]
    for step in generate(
        SingleSession(context), prompt, ask.sampling, words, resume_tokens=ask.resume_tokens, mask=mask
    ):
        yield TextChunk(step.text, step.tokens, 0.0, step.finish_reason, step.logprobs, step.dropped_chars)


def join_chunks(pieces: Sequence[TextChunk]) -> WholeAnswer:
    """What the pieces come to, however it was cut."""
    return (
        "".join(piece.text for piece in pieces),
        tuple(token for piece in pieces for token in piece.tokens),
        sum(piece.dropped_chars for piece in pieces),
        pieces[-1].finish_reason if pieces else None,
        tuple(number for piece in pieces for number in piece.logprobs),
    )


def make_engine(slots: FakeBatchedSession) -> BatchEngine:
    return BatchEngine(slots, ByteVocabulary(), 257, "numpy")


def make_request(prompt: str = "Hello", *, tokens: int = 40, seed: int = 33, **more: Any) -> CompletionRequest:
    return replace(
        CompletionRequest(prompt, Sampling(max_tokens=tokens, seed=seed, top_k=5), chars_per_second=10.0), **more
    )
