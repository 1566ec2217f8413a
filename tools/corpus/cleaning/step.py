"""The three kinds of steps that need no memory of what went before: one that changes texts, drops them, divides them.

Pure. It does not know what any step is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tools.corpus.cleaning.counts import StepCount
from tools.corpus.record import Record, RecordKind

ALL_KINDS: tuple[RecordKind, ...] = ("document", "message", "tweet")

StepFunction = Callable[[Iterator[Record], StepCount], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class CleaningStep:
    """`run` takes records and gives records, and counts what it does; `about` is the line for --help."""

    name: str
    description: str
    run: StepFunction


def change_texts(change: Callable[[str], str], kinds: Sequence[RecordKind] = ALL_KINDS) -> StepFunction:
    """Texts of these kinds go through `change`; all others pass."""

    def run(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
        for record in records:
            if record.kind in kinds and (text := change(record.text)) != record.text:
                count.count_change(record.text, text)
                yield replace(record, text=text)
            else:
                yield record

    return run


def drop_records(is_unwanted: Callable[[Record], bool], kinds: Sequence[RecordKind] = ALL_KINDS) -> StepFunction:
    """Records of these kinds that are `unwanted` go; all others pass."""

    def run(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
        for record in records:
            if record.kind in kinds and is_unwanted(record):
                count.count_drop(record.text)
            else:
                yield record

    return run


def split_records(split: Callable[[Record], Sequence[str]], kinds: Sequence[RecordKind] = ALL_KINDS) -> StepFunction:
    """A record of these kinds becomes as many as `divide` makes texts of it."""

    def run(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
        for record in records:
            texts = split(record) if record.kind in kinds else ()
            if len(texts) < 2:
                yield record
                continue
            count.count_change(record.text, texts[0])
            count.added += len(texts) - 1
            for text in texts:
                yield replace(record, text=text)

    return run
