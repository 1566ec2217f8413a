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

RUN = 8  # words: two strangers seldom write as many alike, but for phrases that nobody owns
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word of a run is lost when it is multiplied

Hashes = NDArray[np.uint64]
_WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True, slots=True)
class Copied:
    """`copied` of so many `words` stand in a run that the corpus has too."""

    words: int
    copied: int

    @property
    def percent(self) -> float:
        return 100 * self.copied / self.words if self.words else 0.0


def words(text: str) -> list[str]:
    """Without case and punctuation, and with one apostrophe."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def copied(groups: Sequence[Sequence[str]], corpus: Iterable[str], run: int = RUN) -> list[Copied]:
    """Of each group of texts, how much is copied from the documents of the corpus."""
    lexicon = _Lexicon()
    wanted = [[_runs(lexicon.hashes(words(text)), run) for text in texts] for texts in groups]
    flat = [runs for texts in wanted for runs in texts]
    known = np.unique(np.concatenate(flat)) if flat else np.empty(0, np.uint64)
    found = np.zeros(len(known), np.bool_)
    for document in corpus:
        there = _runs(lexicon.hashes(words(document)), run)
        found[np.flatnonzero(np.isin(known, there))] = True
    return [
        Copied(
            sum(len(words(text)) for text in texts),
            sum(_covered(found[np.searchsorted(known, runs)], run) for runs in hashed),
        )
        for texts, hashed in zip(groups, wanted, strict=True)
    ]


class _Lexicon:
    """Words and their hashes; a language has few words, and what is no word is not remembered for ever."""

    MOST = 1_000_000

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def hashes(self, text: Sequence[str]) -> Hashes:
        if len(self._known) > self.MOST:
            self._known.clear()
        return np.fromiter(map(self._hash, text), np.uint64, len(text))

    def _hash(self, word: str) -> int:
        if (found := self._known.get(word)) is None:
            digest = blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            found = self._known[word] = int.from_bytes(digest, "little")
        return found


def _runs(hashes: Hashes, run: int) -> Hashes:
    """The hash of each run of so many words, by where it begins."""
    count = max(0, len(hashes) - run + 1)
    total = np.zeros(count, np.uint64)
    for at in range(run):
        total = total * FACTOR + hashes[at : at + count]
    return total


def _covered(found: NDArray[np.bool_], run: int) -> int:
    """How many words are part of a run that was found; found[i] begins at word i."""
    if not len(found):
        return 0
    counts = np.convolve(found.astype(np.int64), np.ones(run, np.int64))
    return int(np.count_nonzero(counts))
