"""Reads the records of a session log one by one, and skips what a power failure or a full disk has spoilt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]


class RecordLine(NamedTuple):
    """One line of a log: its bytes with the newline, and the record in it; None if it has none."""

    line: bytes
    record: Record | None


def iter_record_lines(lines: Iterable[bytes]) -> Iterator[RecordLine]:
    """Yields each line with its record. A torn or damaged line has none."""
    for line in lines:
        yield RecordLine(line, parse_record(line))


def iter_records(path: Path) -> Iterator[Record]:
    """Yields the whole records of a log; torn and damaged lines are left out. Raises OSError."""
    with path.open("rb") as file:
        for _, record in iter_record_lines(file):
            if record is not None:
                yield record


def parse_record(line: bytes) -> Record | None:
    """Returns the record of a line; None if the line is torn, damaged or no record."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and isinstance(record.get("ev"), str) and is_time(record.get("t"))
    return record if is_record else None


def is_time(value: object) -> bool:
    """Whether the value is a number of seconds; JSON of Python has NaN and infinities too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12
