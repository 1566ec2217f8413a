"""Physical lines -> rows of CSV, where quotes may be out of balance. Pure; it does not know what the columns mean.

A reader that trusts the quotes takes a text that begins with one for the start of a long field, and swallows the rows
behind it. Here such a line is a row by itself, as it stands, and is marked.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MAX_QUOTED_CHARS = 30_000  # characters in quotes over several lines: X takes posts of 25,000


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row and the number of its first line. `whole` is false where its quotes are none of CSV."""

    line_number: int
    cells: list[str]
    is_valid: bool = True


@dataclass(frozen=True, slots=True)
class UnparsedRow:
    """Why a text is no row: it is `open` where a cell in quotes goes on."""

    is_open: bool


def parse_cells(text: str, delimiter: str = ",") -> list[str] | UnparsedRow:
    """The cells of a row, with such a mark between two of them."""
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
    """Rows of so many cells; there may be line ends in quoted ones. Of one column, the quotes may be missing.

    `certain` tells cells that can be nothing but a row, so that no other can have swallowed them. Lines that are blank
    and stand between rows are gone over.
    """
    source = _LineSource(lines)
    while first := source.next_line():
        number, text = first
        if not text.strip():
            continue
        if width == 1 and not text.startswith('"'):
            yield CsvRow(number, [text])
            continue
        behind, cells = _read_continuation(
            text, source, lambda cells: len(cells) == width > 1 and is_certain(cells), delimiter
        )
        if isinstance(cells, list) and len(cells) == width:
            yield CsvRow(number, cells)
            continue
        source.push_back(behind)
        as_it_stands = [text] if width == 1 else text.split(delimiter)
        yield CsvRow(number, as_it_stands, is_valid=width == 1 and isinstance(cells, list))


class _LineSource:
    """Lines that can be given back."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines = iter(lines)
        self._pushed_back: deque[tuple[int, str]] = deque()

    def next_line(self) -> tuple[int, str] | None:
        return self._pushed_back.popleft() if self._pushed_back else next(self._lines, None)

    def push_back(self, lines: list[tuple[int, str]]) -> None:
        self._pushed_back.extendleft(reversed(lines))


def _read_continuation(
    text: str, source: _LineSource, is_row: Callable[[list[str]], bool], delimiter: str
) -> tuple[list[tuple[int, str]], list[str] | UnparsedRow]:
    """The lines that a row takes behind its first, and its cells."""
    behind: list[tuple[int, str]] = []
    cells = parse_cells(text, delimiter)
    held = len(text)
    while isinstance(cells, UnparsedRow) and cells.is_open and held < MAX_QUOTED_CHARS and (more := source.next_line()):
        behind.append(more)
        alone = parse_cells(more[1], delimiter)
        if isinstance(alone, list) and is_row(alone):
            break
        held += len(more[1]) + 1
        if '"' in more[1]:
            cells = parse_cells("\n".join([text, *(line for _, line in behind)]), delimiter)
    return behind, cells
