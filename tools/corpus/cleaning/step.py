"""Makes the three kinds of steps without memory: steps that change, drop or split texts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tools.corpus.cleaning.counts import StepCount
from tools.corpus.record import Record, RecordKind

ALL_KINDS: tuple[RecordKind, ...] = ("document", "message", "tweet")

StepFunction = Callable[[Iterator[Record], StepCount], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class CleaningStep:
    """A step. `run` processes records and counts its changes; `description` is for --help."""

    name: str
    description: str
    run: StepFunction


def change_texts(change: Callable[[str], str], kinds: Sequence[RecordKind] = ALL_KINDS) -> StepFunction:
    """Returns a step that applies `change` to texts of these kinds."""

    def run(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
        for record in records:
            if record.kind in kinds and (text := change(record.text)) != record.text:
                count.count_change(record.text, text)
                yield replace(record, text=text)
            else:
                yield record

    return run


def drop_records(is_unwanted: Callable[[Record], bool], kinds: Sequence[RecordKind] = ALL_KINDS) -> StepFunction:
    """Returns a step that drops records of these kinds if `is_unwanted`."""

    def run(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
        for record in records:
            if record.kind in kinds and is_unwanted(record):
                count.count_drop(record.text)
            else:
                yield record

    return run


def split_records(split: Callable[[Record], Sequence[str]], kinds: Sequence[RecordKind] = ALL_KINDS) -> StepFunction:
    """Returns a step that splits records of these kinds into the texts of `split`."""

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
