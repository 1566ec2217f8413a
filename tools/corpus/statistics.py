"""Statistics of the kept records of a corpus, and warnings about them. Pure; it reads no file and no vocabulary."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from tools.corpus.cleaning import CleaningOptions
from tools.corpus.fields import format_count
from tools.corpus.record import Record
from tools.corpus.rendering import render_documents

LETTER_SAMPLE_CHARS = 4 << 20  # letters are counted in the first characters only
MAX_PEOPLE = 10  # writers listed
TOO_FEW_TOKENS = 100_000  # a model memorises less within minutes
ENOUGH_TOKENS = 1_000_000
MIN_LETTERS = 10_000  # in which a text has about 100 commas
MIN_COMMA_RATE = 1 / 2000  # per letter; English has about 1 in 100
MAX_CAPITALS = 0.8  # share of letters with case
MAX_CANDIDATES = 4096  # texts whose number is counted at a time
MAX_COUNTED_CHARS = 1000  # of a text that is counted
MAX_REPEATED = 8  # texts listed
MIN_REPEATS = 5
MAX_REPEATED_SHARE = 0.01  # of all texts; more is probably a program's
DROP_CHARS = 80  # of a text in a pattern for --drop

_LETTER = re.compile(r"[^\W\d_]")
_LATIN_LETTER = re.compile(r"[A-Za-z]")
_COMMA = re.compile("[,،、，]")
_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]|ð[\u009fŸ]|\ufffd")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d{1,6});")


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """`texts` counts records, `documents` counts the documents that the model sees. Lengths are in characters.

    `people` are the most frequent writers, `thread` is the largest thread, each with its share of all characters.
    `median` and `longest` are lengths of messages and tweets; `long` counts those far longer than the median.
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
    capitals: float = 0.0  # share of letters with case
    mojibake: int = 0
    entities: int = 0
    repeated: tuple[tuple[str, int, float], ...] = ()  # pattern for --drop, texts, share


@dataclass(slots=True)
class RepeatedTexts:
    """Counts identical texts in little memory (Misra and Gries, 1982); a number may be too small by `_missed`.

    A notice often begins with the name of the writer, so this name counts as any name.
    """

    hides_names: bool = False  # in an anonymous corpus the names are not those that --drop would meet
    _counts: Counter[tuple[bool, str]] = field(default_factory=Counter)
    _first_names: dict[str, str] = field(default_factory=dict)  # the name in a text, "*" for several
    _missed: int = 0

    def add_record(self, record: Record) -> None:
        text = record.text.strip()
        if not text or len(text) > MAX_COUNTED_CHARS:
            return
        name = next((n for n in (record.who, record.who.split(" ")[0]) if n and text.startswith(f"{n} ")), "")
        key = (bool(name), text[len(name) :])
        if (name and self.hides_names) or (name and self._first_names.setdefault(key[1], name) != name):
            self._first_names[key[1]] = "*"
        self._counts[key] += 1
        if len(self._counts) > MAX_CANDIDATES:
            self._missed += 1
            self._counts = Counter({key: count - 1 for key, count in self._counts.items() if count > 1})
            self._first_names = {rest: name for rest, name in self._first_names.items() if (True, rest) in self._counts}

    def most_common(self) -> list[tuple[str, int]]:
        """Returns (pattern for --drop, number) of the texts that occur often, the most frequent first."""
        frequent = [(key, count) for key, count in self._counts.most_common(MAX_REPEATED) if count >= MIN_REPEATS]
        return [
            (drop_pattern(f"{self._first_names.get(rest, '') if named else ''}{rest}"), count)
            for (named, rest), count in frequent
        ]


def drop_pattern(text: str) -> str:
    """Returns the text as a pattern for --drop: a long one, or one of several lines, is cut and ends in a star."""
    line = text.partition("\n")[0].rstrip()[:DROP_CHARS]
    return line if line == text else f"{line}*"


@dataclass(slots=True)
class _Tally:
    texts: int = 0
    text_characters: int = 0  # characters, without speaker tags
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
    lengths: Counter[int] = field(default_factory=Counter)  # number of messages and tweets by length
    people: Counter[str] = field(default_factory=Counter)
    characters_by_person: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    repeated: RepeatedTexts = field(default_factory=RepeatedTexts)


class StatisticsCollector:
    """Counts the documents while they are iterated; `to_statistics` returns the result."""

    def __init__(self, records: Iterable[Record], hides_names: bool = False) -> None:
        self._tally = _Tally(repeated=RepeatedTexts(hides_names))
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
        tally.repeated.add_record(record)
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
        median, total = _median(tally.lengths), max(1, tally.text_characters)
        people = tuple(
            (who, tally.people[who], characters / total)
            for who, characters in tally.characters_by_person.most_common(MAX_PEOPLE)
        )
        thread, characters = max(tally.threads.items(), key=lambda item: item[1], default=("", 0))
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
            thread=(thread, characters / total),
            threads=len(tally.threads),
            commas=tally.commas,
            latin=tally.latin,
            capitals=tally.upper / max(1, tally.cased),
            mojibake=tally.mojibake,
            entities=tally.entities,
            repeated=tuple((text, n, n / tally.texts) for text, n in tally.repeated.most_common()),
        )


def is_outlier_length(length: int, median: int) -> bool:
    """Whether a text is too long to be a single message, compared with the median."""
    return length > 1500 and length > 20 * max(1, median)


def _median(lengths: Counter[int]) -> int:
    ordered = sorted(lengths.items())
    half = sum(lengths.values()) / 2
    sums = accumulate(number for _, number in ordered)
    return next((length for (length, _), so_far in zip(ordered, sums, strict=True) if so_far >= half), 0)


def find_warnings(statistics: CorpusStatistics, options: CleaningOptions, tokens: int, window: int) -> Iterator[str]:
    """Yields the warnings, most important first. `window` is the number of tokens of one training step."""
    if not statistics.texts:
        yield "no text is left after cleaning: see below what was dropped and why"
        return
    yield from _size_warnings(tokens, window)
    yield from _character_warnings(statistics)
    yield from _repetition_warnings(statistics)
    yield from _balance_warnings(statistics, options)


def _repetition_warnings(statistics: CorpusStatistics) -> Iterator[str]:
    for pattern, count, share in statistics.repeated:
        if share > MAX_REPEATED_SHARE:
            yield (
                f"{format_count(count, 'text')} ({100 * share:.0f} %) are the same, {pattern!r}: if a program wrote "
                f"them, drop them: asr33 corpus clean with --drop {shlex.quote(pattern)}"
            )


def _size_warnings(tokens: int, window: int) -> Iterator[str]:
    if tokens < window:
        yield f"{tokens:,} tokens are too few for one step of {window:,}: add texts, or lower --batch or --context"
    elif tokens < TOO_FEW_TOKENS:
        yield f"{tokens:,} tokens are memorised within minutes: add texts, or train with --base and few steps"
    elif tokens < ENOUGH_TOKENS:
        yield f"{tokens:,} tokens are few: train with --base, and hold some out"


def _character_warnings(statistics: CorpusStatistics) -> Iterator[str]:
    if statistics.latin > MIN_LETTERS and statistics.commas < MIN_COMMA_RATE * statistics.latin:
        count = "not one comma" if not statistics.commas else f"only {format_count(statistics.commas, 'comma')}"
        yield f"{count} in {format_count(statistics.texts, 'text')}: the export dropped them; export again"
    if statistics.capitals > MAX_CAPITALS:
        yield (
            f"{100 * statistics.capitals:.0f} % of the letters are capitals: 50 % more tokens, and no base model knows "
            "such text; use mixed case, the printer makes capitals anyway"
        )
    if statistics.mojibake:
        yield f"{format_count(statistics.mojibake, 'text')} with damaged letters (Ã©, â€™, \ufffd): export as UTF-8"
    if statistics.entities:
        count = format_count(statistics.entities, "text")
        yield f"{count} with entities (&amp;): escaped twice, or a step was left out"


def _balance_warnings(statistics: CorpusStatistics, options: CleaningOptions) -> Iterator[str]:
    if statistics.long:
        yield (
            f"{format_count(statistics.long, 'text')} of up to {statistics.longest:,} characters among others of "
            f"{statistics.median:,}: rows joined by an unbalanced quote? check the file"
        )
    who, _, share = statistics.people[0] if statistics.people else ("", 0, 0.0)
    if share > 0.5 and statistics.people_count > 1 and not options.person:
        yield f"{100 * share:.0f} % is from {who}: the model will imitate this person; use --person if that is intended"
    thread, share = statistics.thread
    if share > 0.5 and statistics.threads > 1:
        yield f"{100 * share:.0f} % is from {thread}: the model will mostly imitate it; add other texts?"
