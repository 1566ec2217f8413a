"""Measures what share of a model's own texts it copies word for word from its training text.

A word counts as copied if it is in a run of eight or more words that the corpus contains. Only hashes of the generated
texts are kept, and the corpus is read one document at a time, so memory does not grow with it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.generate.context_window import Vocabulary
from model.generate.generate import generate
from model.generate.prefix_cache import DecoderSession
from model.interface import Sampling
from model.words import RUN_MULTIPLIER, hash_word, split_words

RUN_LENGTH = 8  # words: two authors seldom write the same eight words, except for common phrases
MAX_BLANK_TEXTS = 20  # blank texts in a row after which a model counts as silent

Hashes = NDArray[np.uint64]
OnWords = Callable[[int, int], None]  # gets (words written, words in all)


@dataclass(frozen=True, slots=True)
class NgramOverlap:
    """The number of words, and of those in a run that the corpus contains."""

    words: int
    copied: int

    @property
    def percent(self) -> float:
        return 100 * self.copied / self.words if self.words else 0.0


@dataclass(frozen=True, slots=True)
class Memorisation:
    """The overlap of the model's texts with the training text, and that of the held-out texts for comparison."""

    model: NgramOverlap
    held_out: NgramOverlap | None


def measure_memorisation(
    session: DecoderSession,
    vocabulary: Vocabulary,
    word_count: int,
    train: Sequence[str],
    held_out: Sequence[str],
    seed: int,
    on_progress: OnWords | None = None,
) -> Memorisation:
    """Lets the model write `word_count` words with default sampling, and looks for them in its training text."""
    texts = write_sample_texts(session, vocabulary, word_count, Sampling(seed=seed), on_progress)
    model, people = measure_overlap([texts, held_out], train)
    return Memorisation(model, people if held_out else None)


def write_sample_texts(
    session: DecoderSession,
    vocabulary: Vocabulary,
    word_count: int,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    on_progress: OnWords | None = None,
) -> list[str]:
    """Texts of `word_count` words in all, each from the start of a document; fewer words if the model is silent."""
    texts: list[str] = []
    done = number = blank = 0
    while done < word_count and blank < MAX_BLANK_TEXTS:
        text_sampling = replace(sampling, seed=sampling.seed + number)
        text, number = "", number + 1
        for step in generate(session, [vocabulary.end_of_text], text_sampling, vocabulary):
            text += step.text
            if step.text[-1:].isspace() and done + len(split_words(text)) >= word_count:
                break
            if on_progress is not None:
                on_progress(min(word_count, done + text.count(" ")), word_count)
        done += len(split_words(text))
        blank = 0 if text.strip() else blank + 1
        texts.append(text)
    return texts


def measure_overlap(
    groups: Sequence[Sequence[str]], corpus: Iterable[str], run_length: int = RUN_LENGTH
) -> list[NgramOverlap]:
    """Counts, for each group of texts, the words in a run that the corpus contains."""
    hasher = WordHasher()
    group_runs = [[hash_runs(hasher.hash_words(split_words(text)), run_length) for text in texts] for texts in groups]
    all_runs = [runs for texts in group_runs for runs in texts]
    known = np.unique(np.concatenate(all_runs)) if all_runs else np.empty(0, np.uint64)
    is_found = np.zeros(len(known), np.bool_)
    for document in corpus:
        document_runs = hash_runs(hasher.hash_words(split_words(document)), run_length)
        is_found[np.flatnonzero(np.isin(known, document_runs))] = True
    return [
        NgramOverlap(
            sum(len(split_words(text)) for text in texts),
            sum(_count_covered(is_found[np.searchsorted(known, runs)], run_length) for runs in hashed),
        )
        for texts, hashed in zip(groups, group_runs, strict=True)
    ]


class WordHasher:
    """Hashes words through a cache. A full cache is cleared, because a corpus always has more rare words."""

    MAX_WORDS = 1_000_000

    def __init__(self, key: bytes = b"") -> None:
        self._key = key
        self._cache: dict[str, int] = {}

    def hash_words(self, words: Sequence[str]) -> Hashes:
        if len(self._cache) > self.MAX_WORDS:
            self._cache.clear()
        return np.fromiter(map(self._hash_word, words), np.uint64, len(words))

    def _hash_word(self, word: str) -> int:
        if (number := self._cache.get(word)) is None:
            number = self._cache[word] = hash_word(word, self._key)
        return number


def hash_runs(hashes: Hashes, run_length: int) -> Hashes:
    """The hash of each run of `run_length` words, by the index of its first word."""
    count = max(0, len(hashes) - run_length + 1)
    total = np.zeros(count, np.uint64)
    for at in range(run_length):
        total = total * np.uint64(RUN_MULTIPLIER) + hashes[at : at + count]
    return total


def _count_covered(is_found: NDArray[np.bool_], run_length: int) -> int:
    """Counts the words in a run that was found; `is_found[i]` is for the run that begins at word i."""
    if not len(is_found):
        return 0
    counts = np.convolve(is_found.astype(np.int64), np.ones(run_length, np.int64))
    return int(np.count_nonzero(counts))
