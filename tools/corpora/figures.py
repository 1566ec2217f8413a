"""A corpus in figures, and what looks wrong in them. Pure: data in, data out; it knows no file and no vocabulary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from tools.corpora.record import Record
from tools.corpora.rendering import documents

LOOKED_AT = 4 << 20  # characters in which letters are counted: enough to tell capitals from a slip
NAMED = 10  # people in the figures

_LETTERS = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-z]")
_COMMA = re.compile("[,،、，;；]")
_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]|ð[\u009fŸ]|\ufffd")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d{1,6});")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of what is kept. `texts` are records, `documents` what the model sees; lengths are in characters.

    `people` and `threads` are the largest, with their share of all characters; `median` and `longest` are of messages
    and tweets, and `long` is how many of these are far longer than the others.
    """

    texts: int = 0
    documents: int = 0
    characters: int = 0
    bytes: int = 0
    words: int = 0
    lines: int = 0
    median: int = 0
    longest: int = 0
    long: int = 0
    people: tuple[tuple[str, int, float], ...] = ()  # name, texts, share
    people_count: int = 0
    thread: tuple[str, float] = ("", 0.0)
    threads: int = 0
    commas: int = 0
    latin: int = 0
    capitals: float = 0.0  # of the letters that have a case
    mojibake: int = 0
    entities: int = 0


@dataclass(slots=True)
class _Tally:
    texts: int = 0
    all_texts: int = 0  # characters, without tags
    documents: int = 0
    characters: int = 0
    bytes: int = 0
    words: int = 0
    lines: int = 0
    commas: int = 0
    latin: int = 0
    upper: int = 0
    cased: int = 0
    looked_at: int = 0
    mojibake: int = 0
    entities: int = 0
    said: Counter[int] = field(default_factory=Counter)  # how often each length
    people: Counter[str] = field(default_factory=Counter)
    weights: Counter[str] = field(default_factory=Counter)  # characters of each of them
    threads: Counter[str] = field(default_factory=Counter)


class Measure:
    """Draw its `documents`, and `figures` has what went by."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._tally = _Tally()
        self._records = records

    def documents(self) -> Iterator[str]:
        tally = self._tally
        for text in documents(self._seen()):
            tally.documents += 1
            tally.bytes += len(text.encode())
            tally.characters += len(text)
            tally.words += len(text.split())
            tally.lines += text.count("\n") + 1
            yield text

    def _seen(self) -> Iterator[Record]:
        for record in self._records:
            self._look(record)
            yield record

    def _look(self, record: Record) -> None:
        tally, text = self._tally, record.text
        tally.texts += 1
        tally.commas += len(_COMMA.findall(text))
        tally.mojibake += not text.isascii() and _MOJIBAKE.search(text) is not None
        tally.entities += "&" in text and _ENTITY.search(text) is not None
        if record.kind != "document":
            tally.said[len(text)] += 1
        if record.who:
            tally.people[record.who] += 1
            tally.weights[record.who] += len(text)
        tally.all_texts += len(text)
        if record.thread:
            tally.threads[record.thread] += len(text)
        if tally.looked_at < LOOKED_AT:
            tally.looked_at += len(text)
            letters = "".join(_LETTERS.findall(text[:LOOKED_AT]))
            tally.latin += len(_LATIN.findall(letters))
            tally.upper += sum(map(str.isupper, letters))
            tally.cased += sum(map(str.isupper, letters)) + sum(map(str.islower, letters))

    def figures(self) -> Figures:
        tally = self._tally
        median, whole = _median(tally.said), max(1, tally.all_texts)
        people = tuple((who, tally.people[who], weight / whole) for who, weight in tally.weights.most_common(NAMED))
        thread, weight = max(tally.threads.items(), key=lambda item: item[1], default=("", 0))
        return Figures(
            texts=tally.texts,
            documents=tally.documents,
            characters=tally.characters,
            bytes=tally.bytes,
            words=tally.words,
            lines=tally.lines,
            median=median,
            longest=max(tally.said, default=0),
            long=sum(number for length, number in tally.said.items() if far(length, median)),
            people=people,
            people_count=len(tally.people),
            thread=(thread, weight / whole),
            threads=len(tally.threads),
            commas=tally.commas,
            latin=tally.latin,
            capitals=tally.upper / max(1, tally.cased),
            mojibake=tally.mojibake,
            entities=tally.entities,
        )


def far(length: int, median: int) -> bool:
    """Whether a message of that length is none, among those of such a median."""
    return length > 1500 and length > 20 * max(1, median)


def _median(lengths: Counter[int]) -> int:
    ordered = sorted(lengths.items())
    half = sum(lengths.values()) / 2
    sums = accumulate(number for _, number in ordered)
    return next((length for (length, _), so_far in zip(ordered, sums, strict=True) if so_far >= half), 0)
