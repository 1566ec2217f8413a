"""Turns documents into tokens and tokens into batches. The batch of a step depends on seed and step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.onnx.tokenizer import Tokenizer

TokenIds = NDArray[np.int32]
OnAdvance = Callable[[int], None]  # gets the number of characters done since the last call

LINES_AT_ONCE = 2048  # some hundred KB: enough for the tokenizer's threads, and the progress still moves


def iter_lines(documents: Sequence[str], advance: OnAdvance) -> Iterator[str]:
    """The lines of all documents, each with its line feed."""
    for document in documents:
        for line in document.splitlines(keepends=True):
            advance(len(line))
            yield line


def encode_documents(
    documents: Sequence[str], tokenizer: Tokenizer, advance: OnAdvance = lambda _: None, times: Sequence[int] = ()
) -> TokenIds:
    """All documents in one row, each after an end of text, and document i `times[i]` times.

    Encodes line by line, as the machine does.
    """
    rows: list[TokenIds] = []
    for document, often in zip(documents, times or [1] * len(documents), strict=True):
        first_row = len(rows)
        rows.append(np.array([tokenizer.end_of_text], dtype=np.int32))
        lines = document.splitlines(keepends=True)
        for start in range(0, len(lines), LINES_AT_ONCE):
            part = lines[start : start + LINES_AT_ONCE]
            encoded = tokenizer.encode_many(part)
            rows.append(np.fromiter((token for line in encoded for token in line), dtype=np.int32))
            advance(sum(map(len, part)))
        rows += rows[first_row:] * (often - 1)
    return np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)


def require_windows(ids: TokenIds, context: int, batch: int) -> int:
    """The number of windows in an epoch. Raises ModelError if they do not fill a batch."""
    windows = (len(ids) - 1 - context) // context
    if windows < batch:
        fault = f"{len(ids)} tokens to train on are too few for {batch} windows of {context}"
        raise ModelError(f"{fault}: add text, or lower --batch or --context", "damaged")
    return windows


def iter_batches(ids: TokenIds, context: int, batch: int, seed: int, start: int = 0) -> Iterator[TokenIds]:
    """Endless batches [batch, context + 1], from step `start` on.

    Each epoch cuts the row again, from a random offset, and shuffles the windows.
    """
    windows = require_windows(ids, context, batch)
    per_epoch = windows // batch
    step = start
    while True:
        epoch, first = divmod(step, per_epoch)
        random = np.random.default_rng([seed, epoch])
        offset = int(random.integers(context))
        order = random.permutation(windows)
        for number in range(first, per_epoch):
            rows = order[number * batch : (number + 1) * batch] * context + offset
            yield np.stack([ids[row : row + context + 1] for row in rows])
            step += 1


def cut_windows(windows: TokenIds, context: int) -> TokenIds:
    """Windows [N, T + 1] cut into parts [N * T / context, context + 1]; `context` divides T."""
    length = windows.shape[1] - 1
    return np.concatenate([windows[:, at : at + context + 1] for at in range(0, length, context)])


def sample_windows(ids: TokenIds, context: int, count: int) -> TokenIds | None:
    """`count` windows [count, context + 1], evenly spread, for a quick evaluation; None if the row is too short."""
    last = len(ids) - context - 1
    if last < 0:
        return None
    return np.stack([ids[at : at + context + 1] for at in np.linspace(0, last, count).astype(int)])
