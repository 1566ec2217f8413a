"""Texts that are there already, and texts that are none. Pure; it remembers eight bytes of each text it has seen."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator
from hashlib import blake2b

from tools.corpus.cleaning.counts import StepCount
from tools.corpus.record import Record

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
_INVISIBLE_CHARACTERS = frozenset(
    "\ufe0e\ufe0f\ufffc\u3164\u115f\u1160\u2800"
)  # selectors, objects lost, blanks called letters


def is_empty(record: Record) -> bool:
    """Nothing in it would leave a mark on a screen."""
    return all(c in _INVISIBLE_CHARACTERS or unicodedata.category(c) in _INVISIBLE_CATEGORIES for c in record.text)


def drop_duplicates(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    """A tweet or a page comes once. A message that is said twice stays: only one written by the same person in the
    same second is the same, from two exports."""
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
    """A set of texts in eight bytes each: a table of their hashes, at most two thirds full.

    Of ten million texts two are taken for one another with a chance of one in four hundred thousand.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 << 10))
        self._count = 0

    def add_if_new(self, text: str) -> bool:
        """Whether it is here for the first time; from now on it is not."""
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
        """Where it is, or the free place where it belongs."""
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
