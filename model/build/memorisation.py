"""What share of a text stands word for word in another: runs of eight words and more. Pure.

The texts that are asked about are held as hashes, and the corpus goes past them one document at a time, so that
memory is that of the texts and of one document, however large the corpus is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

RUN_LENGTH = 8  # words: two strangers seldom write as many alike, but for phrases that nobody owns
HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word of a run is lost when it is multiplied

Hashes = NDArray[np.uint64]
_WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True, slots=True)
class NgramOverlap:
    """`copied` of so many `words` stand in a run that the corpus has too."""

    words: int
    copied: int

    @property
    def percent(self) -> float:
        return 100 * self.copied / self.words if self.words else 0.0


def split_words(text: str) -> list[str]:
    """Without case and punctuation, and with one apostrophe."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def measure_overlap(
    groups: Sequence[Sequence[str]], corpus: Iterable[str], run_length: int = RUN_LENGTH
) -> list[NgramOverlap]:
    """Of each group of texts, how much is copied from the documents of the corpus."""
    lexicon = _WordHasher()
    wanted = [[_hash_runs(lexicon.hash_words(split_words(text)), run_length) for text in texts] for texts in groups]
    flat = [runs for texts in wanted for runs in texts]
    known = np.unique(np.concatenate(flat)) if flat else np.empty(0, np.uint64)
    found = np.zeros(len(known), np.bool_)
    for document in corpus:
        there = _hash_runs(lexicon.hash_words(split_words(document)), run_length)
        found[np.flatnonzero(np.isin(known, there))] = True
    return [
        NgramOverlap(
            sum(len(split_words(text)) for text in texts),
            sum(_count_covered(found[np.searchsorted(known, runs)], run_length) for runs in hashed),
        )
        for texts, hashed in zip(groups, wanted, strict=True)
    ]


class _WordHasher:
    """Words and their hashes; a language has few words, and what is no word is not remembered for ever."""

    MAX_WORDS = 1_000_000

    def __init__(self) -> None:
        self._cache: dict[str, int] = {}

    def hash_words(self, words: Sequence[str]) -> Hashes:
        if len(self._cache) > self.MAX_WORDS:
            self._cache.clear()
        return np.fromiter(map(self._hash_word, words), np.uint64, len(words))

    def _hash_word(self, word: str) -> int:
        if (found := self._cache.get(word)) is None:
            digest = blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            found = self._cache[word] = int.from_bytes(digest, "little")
        return found


def _hash_runs(hashes: Hashes, run_length: int) -> Hashes:
    """The hash of each run of so many words, by where it begins."""
    count = max(0, len(hashes) - run_length + 1)
    total = np.zeros(count, np.uint64)
    for at in range(run_length):
        total = total * HASH_MULTIPLIER + hashes[at : at + count]
    return total


def _count_covered(is_found: NDArray[np.bool_], run_length: int) -> int:
    """How many words are part of a run that was found; found[i] begins at word i."""
    if not len(is_found):
        return 0
    counts = np.convolve(is_found.astype(np.int64), np.ones(run_length, np.int64))
    return int(np.count_nonzero(counts))
