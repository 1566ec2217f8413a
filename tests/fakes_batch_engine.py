"""A batch engine without a model: its logits depend on all tokens in a slot's cache, and on nothing else."""

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
Integers = Sequence[int]
OnPass = Callable[[int, int], None]

LETTERS = b"the of and to in that it was he on with as his for at by had not but from or they all we "
UNWRITTEN = -1  # a place in a cache that was never written, or only by a padding row


class ByteVocabulary:
    """A vocabulary of the 256 bytes and an end of text."""

    end_of_text = 256
    max_token_bytes = 1

    def bytes_of(self, token: int) -> bytes:
        return bytes([token]) if token < self.end_of_text else b""

    def encode_lines(self, text: str) -> list[int]:
        return list(text.encode())


def logits_after(ids: Integers) -> Floats:
    """Returns logits [257]: letters and blanks are likely, sometimes a line feed or half a character."""
    digest = blake2b(np.asarray(ids, np.int16).tobytes(), digest_size=32).digest()
    logits = np.full(257, -9.0, np.float32)
    for at, byte in enumerate(digest):
        logits[LETTERS[(byte * 5 + at) % len(LETTERS)]] += 1 + byte / 32
    logits[10] += digest[0] / 24
    logits[0xE2] += digest[1] / 40  # half a character, which a mask has to complete
    logits[0x80] += digest[2] / 40
    return logits


class FakeBatchedSession:
    """Replaces `BatchedSession`, and asserts that slots and lengths are right.

    Each pass calls `on_pass(rows, tokens)`, so that a clock can jump. The pass with the index `failing_pass` fails.
    """

    def __init__(self, count: int, context: int, on_pass: OnPass = lambda rows, tokens: None) -> None:
        self.count, self.context = count, context
        self.on_pass = on_pass
        self.caches = [[UNWRITTEN] * (context + 1) for _ in range(count)]
        self.passes: list[list[tuple[int, ...]]] = []  # for each pass the caches of its wanted rows
        self.copies = 0
        self.failing_pass = -1
        self.may_run = threading.Event()
        self.may_run.set()

    def prefill(self, slot: int, past_length: int, token_ids: Integers) -> Floats:
        assert token_ids
        end = past_length + len(token_ids)
        assert end <= self.context
        self.caches[slot][past_length:end] = token_ids
        self._record_pass(1, len(token_ids), [self._cached(slot, end)])
        return logits_after(self._cached(slot, end))

    def decode_step(self, first_slot: int, past_lengths: Integers, token_ids: Integers, wanted: Integers) -> Floats:
        assert len(past_lengths) == len(token_ids)
        assert list(wanted) == sorted(set(wanted))
        assert wanted[0] == 0
        assert wanted[-1] == len(token_ids) - 1
        for row, (length, token) in enumerate(zip(past_lengths, token_ids, strict=True)):
            assert 0 <= length <= self.context
            assert row not in wanted or length < self.context
            self.caches[first_slot + row][length] = token if row in wanted else UNWRITTEN
        caches = [self._cached(first_slot + row, past_lengths[row] + 1) for row in wanted]
        self._record_pass(len(token_ids), len(token_ids), caches)
        return np.array([logits_after(ids) for ids in caches])

    def copy_cache(self, source: int, target: int, length: int) -> None:
        assert source != target
        assert 0 < length <= self.context
        self.copies += 1
        self.caches[target][:length] = self._cached(source, length)

    def _cached(self, slot: int, length: int) -> list[int]:
        cached = self.caches[slot][:length]
        assert UNWRITTEN not in cached, "the engine uses a part of a cache that was never written"
        return cached

    def _record_pass(self, rows: int, tokens: int, caches: list[list[int]]) -> None:
        assert self.may_run.wait(60), "the test forgot to set may_run"
        self.on_pass(rows, tokens)
        if len(self.passes) == self.failing_pass:
            raise MemoryError("no more memory")
        self.passes.append([tuple(ids) for ids in caches])


class FakeSingleSession:
    """A session for one text with the logits of `FakeBatchedSession`, for `model.generate.generate`."""

    def __init__(self, context: int) -> None:
        self.context = context
        self._ids: list[int] = []

    def forward(self, ids: Integers) -> Floats:
        self._ids += ids
        assert len(self._ids) <= self.context
        return logits_after(self._ids)

    def rewind(self, length: int) -> None:
        del self._ids[length:]


WholeAnswer = tuple[str, tuple[int, ...], int, str | None, tuple[float, ...]]


def generate_alone(request: CompletionRequest, context: int, mask: TokenMask | None = None) -> Iterator[TextChunk]:
    """Yields the chunks of an answer without other rows: the reference for the batch."""
    words = ByteVocabulary()
    prompt, resumed = [words.end_of_text, *words.encode_lines(request.prompt)], request.resume_tokens
    for step in generate(FakeSingleSession(context), prompt, request.sampling, words, resume_tokens=resumed, mask=mask):
        yield TextChunk(step.text, step.tokens, 0.0, step.finish_reason, step.logprobs, step.dropped_chars)


def join_chunks(chunks: Sequence[TextChunk]) -> WholeAnswer:
    """Returns the whole answer, however it was split into chunks."""
    return (
        "".join(chunk.text for chunk in chunks),
        tuple(token for chunk in chunks for token in chunk.tokens),
        sum(chunk.dropped_chars for chunk in chunks),
        chunks[-1].finish_reason if chunks else None,
        tuple(number for chunk in chunks for number in chunk.logprobs),
    )


def make_engine(session: FakeBatchedSession) -> BatchEngine:
    return BatchEngine(session, ByteVocabulary(), 257, "numpy")


def make_request(
    prompt: str = "Hello", *, tokens: int = 40, seed: int = 33, speed: float = 10.0, **fields: Any
) -> CompletionRequest:
    """`speed` is in characters a second; `fields` are further fields of the request."""
    sampling = Sampling(max_tokens=tokens, seed=seed, top_k=5)
    return replace(CompletionRequest(prompt, sampling, chars_per_second=speed), **fields)
