"""Drops duplicates and empty texts. Pure; it remembers eight bytes of each text."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator
from hashlib import blake2b

from tools.corpus.cleaning.counts import StepCount
from tools.corpus.record import Record

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
# Variation selectors, object replacement, blank letters.
_INVISIBLE_CHARACTERS = frozenset("\ufe0e\ufe0f\ufffc\u3164\u115f\u1160\u2800")


def is_empty(record: Record) -> bool:
    """Whether all characters of the text are invisible."""
    return all(c in _INVISIBLE_CHARACTERS or unicodedata.category(c) in _INVISIBLE_CATEGORIES for c in record.text)


def drop_duplicates(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    """Drops tweets and pages that occurred before.

    A repeated message stays, unless the same person wrote it in the same second: then it comes from two exports.
    """
    seen = TextHashSet()
    for record in records:
        key = _duplicate_key(record)
        if key and not seen.add_if_new(key):
            count.count_drop(record.text)
        else:
            yield record


def _duplicate_key(record: Record) -> str:
    text = " ".join(unicodedata.normalize("NFKC", record.text).split())
    if record.kind != "message":
        return f"{record.kind}\0{text}"
    return "" if record.when is None else f"{record.who}\0{int(record.when)}\0{text}"


class TextHashSet:
    """A hash table with eight bytes for each text, at most two thirds full.

    For ten million texts the probability of any collision is 1 in 400,000.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 << 10))
        self._count = 0

    def add_if_new(self, text: str) -> bool:
        """Adds a text; returns whether it was new."""
        key = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) or 1
        at = self._find_slot(key)
        if self._table[at]:
            return False
        self._table[at] = key
        self._count += 1
        if 3 * self._count > 2 * len(self._table):
            self._grow()
        return True

    def _find_slot(self, key: int) -> int:
        """Returns the slot of the key, or the free slot for it."""
        mask = len(self._table) - 1
        at = key & mask
        while self._table[at] not in (0, key):
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        keys = self._table
        self._table = array("Q", bytes(2 * len(keys) * keys.itemsize))
        for key in keys:
            if key:
                self._table[self._find_slot(key)] = key
