"""A corpus in figures, and what looks wrong in them. Pure: data in, data out; it knows no file and no vocabulary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from tools.corpus.record import Record
from tools.corpus.rendering import render_documents

LETTER_SAMPLE_CHARS = 4 << 20  # characters in which letters are counted: enough to tell capitals from a slip
MAX_PEOPLE = 10  # people in the figures

_LETTER = re.compile(r"[^\W\d_]")
_LATIN_LETTER = re.compile(r"[A-Za-z]")
_COMMA = re.compile("[,،、，;；]")
_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]|ð[\u009fŸ]|\ufffd")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d{1,6});")


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
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
    text_characters: int = 0  # characters, without tags
    documents: int = 0
    characters: int = 0
    bytes: int = 0
    words: int = 0
    lines: int = 0
    commas: int = 0
    latin: int = 0
    upper: int = 0
    cased: int = 0
    sampled: int = 0
    mojibake: int = 0
    entities: int = 0
    lengths: Counter[int] = field(default_factory=Counter)  # how often each length
    people: Counter[str] = field(default_factory=Counter)
    characters_by_person: Counter[str] = field(default_factory=Counter)  # characters of each of them
    threads: Counter[str] = field(default_factory=Counter)


class StatisticsCollector:
    """Draw its `documents`, and `figures` has what went by."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._tally = _Tally()
        self._records = records

    def iter_documents(self) -> Iterator[str]:
        tally = self._tally
        for text in render_documents(self._count_records()):
            tally.documents += 1
            tally.bytes += len(text.encode())
            tally.characters += len(text)
            tally.words += len(text.split())
            tally.lines += text.count("\n") + 1
            yield text

    def _count_records(self) -> Iterator[Record]:
        for record in self._records:
            self._count_record(record)
            yield record

    def _count_record(self, record: Record) -> None:
        tally, text = self._tally, record.text
        tally.texts += 1
        tally.commas += len(_COMMA.findall(text))
        tally.mojibake += not text.isascii() and _MOJIBAKE.search(text) is not None
        tally.entities += "&" in text and _ENTITY.search(text) is not None
        if record.kind != "document":
            tally.lengths[len(text)] += 1
        if record.who:
            tally.people[record.who] += 1
            tally.characters_by_person[record.who] += len(text)
        tally.text_characters += len(text)
        if record.thread:
            tally.threads[record.thread] += len(text)
        if tally.sampled < LETTER_SAMPLE_CHARS:
            tally.sampled += len(text)
            letters = "".join(_LETTER.findall(text[:LETTER_SAMPLE_CHARS]))
            tally.latin += len(_LATIN_LETTER.findall(letters))
            tally.upper += sum(map(str.isupper, letters))
            tally.cased += sum(map(str.isupper, letters)) + sum(map(str.islower, letters))

    def to_statistics(self) -> CorpusStatistics:
        tally = self._tally
        median, whole = _median(tally.lengths), max(1, tally.text_characters)
        people = tuple(
            (who, tally.people[who], weight / whole)
            for who, weight in tally.characters_by_person.most_common(MAX_PEOPLE)
        )
        thread, weight = max(tally.threads.items(), key=lambda item: item[1], default=("", 0))
        return CorpusStatistics(
            texts=tally.texts,
            documents=tally.documents,
            characters=tally.characters,
            bytes=tally.bytes,
            words=tally.words,
            lines=tally.lines,
            median=median,
            longest=max(tally.lengths, default=0),
            long=sum(number for length, number in tally.lengths.items() if is_outlier_length(length, median)),
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


def is_outlier_length(length: int, median: int) -> bool:
    """Whether a message of that length is none, among those of such a median."""
    return length > 1500 and length > 20 * max(1, median)


def _median(lengths: Counter[int]) -> int:
    ordered = sorted(lengths.items())
    half = sum(lengths.values()) / 2
    sums = accumulate(number for _, number in ordered)
    return next((length for (length, _), so_far in zip(ordered, sums, strict=True) if so_far >= half), 0)
