"""Parses lines as CSV rows although quotes may be unbalanced. Pure; it does not know the columns.

An ordinary CSV reader joins a text that begins with a quote with the rows after it. Here such a line becomes a row of
its own, which is marked as not valid.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MAX_QUOTED_CHARS = 30_000  # in a quoted field of several lines: X allows posts of 25,000


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row and the number of its first line. `is_valid` is false if its quotes are not valid CSV."""

    line_number: int
    cells: list[str]
    is_valid: bool = True


@dataclass(frozen=True, slots=True)
class UnparsedRow:
    """The text is not a complete row. `is_open`: a quoted field continues in the next line."""

    is_open: bool


def parse_cells(text: str, delimiter: str = ",") -> list[str] | UnparsedRow:
    if '"' not in text and "\n" not in text:
        return text.split(delimiter)
    try:
        rows = list(csv.reader([text], strict=True, delimiter=delimiter))
    except csv.Error as error:
        return UnparsedRow(is_open=str(error) == "unexpected end of data")
    return rows[0] if len(rows) == 1 else UnparsedRow(is_open=False)


def iter_rows(
    lines: Iterable[tuple[int, str]], width: int, is_certain: Callable[[list[str]], bool], delimiter: str = ","
) -> Iterator[CsvRow]:
    """Yields the rows of a table with `width` columns; quoted cells may contain line ends.

    `is_certain` returns whether cells can only be a row: then an open quote before them is not valid. In a table with
    one column quotes may be missing. Blank lines between rows are skipped.
    """
    source = _LineSource(lines)
    while line := source.next_line():
        number, text = line
        if not text.strip():
            continue
        if width == 1 and not text.startswith('"'):
            yield CsvRow(number, [text])
            continue
        continuation, cells = _read_continuation(text, source, width, is_certain, delimiter)
        if isinstance(cells, list) and len(cells) == width:
            yield CsvRow(number, cells)
            continue
        source.push_back(continuation)
        raw_cells = [text] if width == 1 else text.split(delimiter)
        yield CsvRow(number, raw_cells, is_valid=width == 1 and isinstance(cells, list))


class _LineSource:
    """An iterator of lines to which lines can be pushed back."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines = iter(lines)
        self._pushed_back: deque[tuple[int, str]] = deque()

    def next_line(self) -> tuple[int, str] | None:
        return self._pushed_back.popleft() if self._pushed_back else next(self._lines, None)

    def push_back(self, lines: list[tuple[int, str]]) -> None:
        self._pushed_back.extendleft(reversed(lines))


def _read_continuation(
    text: str, source: _LineSource, width: int, is_certain: Callable[[list[str]], bool], delimiter: str
) -> tuple[list[tuple[int, str]], list[str] | UnparsedRow]:
    """Returns the lines after the first line `text` of a row, and the cells of the row."""
    lines: list[tuple[int, str]] = []
    cells = parse_cells(text, delimiter)
    size = len(text)
    while isinstance(cells, UnparsedRow) and cells.is_open and size < MAX_QUOTED_CHARS and (line := source.next_line()):
        lines.append(line)
        line_cells = parse_cells(line[1], delimiter)
        if isinstance(line_cells, list) and len(line_cells) == width > 1 and is_certain(line_cells):
            break
        size += len(line[1]) + 1
        if '"' in line[1]:
            cells = parse_cells("\n".join([text, *(part for _, part in lines)]), delimiter)
    return lines, cells
