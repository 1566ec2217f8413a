"""The three kinds of steps that need no memory of what went before: one that changes texts, drops them, divides them.

Pure. It does not know what any step is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tools.corpora.cleaning.counts import Count
from tools.corpora.record import Kind, Record

ALL: tuple[Kind, ...] = ("document", "message", "tweet")

Run = Callable[[Iterator[Record], Count], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class Step:
    """`run` takes records and gives records, and counts what it does; `about` is the line for --help."""

    name: str
    about: str
    run: Run


def changing(change: Callable[[str], str], kinds: Sequence[Kind] = ALL) -> Run:
    """Texts of these kinds go through `change`; all others pass."""

    def run(records: Iterator[Record], count: Count) -> Iterator[Record]:
        for record in records:
            if record.kind in kinds and (text := change(record.text)) != record.text:
                count.change(record.text, text)
                yield replace(record, text=text)
            else:
                yield record

    return run


def dropping(unwanted: Callable[[Record], bool], kinds: Sequence[Kind] = ALL) -> Run:
    """Records of these kinds that are `unwanted` go; all others pass."""

    def run(records: Iterator[Record], count: Count) -> Iterator[Record]:
        for record in records:
            if record.kind in kinds and unwanted(record):
                count.drop(record.text)
            else:
                yield record

    return run


def dividing(divide: Callable[[Record], Sequence[str]], kinds: Sequence[Kind] = ALL) -> Run:
    """A record of these kinds becomes as many as `divide` makes texts of it."""

    def run(records: Iterator[Record], count: Count) -> Iterator[Record]:
        for record in records:
            texts = divide(record) if record.kind in kinds else ()
            if len(texts) < 2:
                yield record
                continue
            count.change(record.text, texts[0])
            count.added += len(texts) - 1
            for text in texts:
                yield replace(record, text=text)

    return run
