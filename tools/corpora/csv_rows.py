"""Physical lines -> rows of CSV, where quotes may be out of balance. Pure; it does not know what the columns mean.

A reader that trusts the quotes takes a text that begins with one for the start of a long field, and swallows the rows
behind it. Here such a line is a row by itself, as it stands, and is marked.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

LONGEST = 30_000  # characters in quotes over several lines: X takes posts of 25,000


@dataclass(frozen=True, slots=True)
class Row:
    """One row and the number of its first line. `whole` is false where its quotes are none of CSV."""

    line: int
    cells: list[str]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a text is no row: it is `open` where a cell in quotes goes on."""

    open: bool


def cells_of(text: str, mark: str = ",") -> list[str] | Unread:
    """The cells of a row, with such a mark between two of them."""
    if '"' not in text and "\n" not in text:
        return text.split(mark)
    try:
        rows = list(csv.reader([text], strict=True, delimiter=mark))
    except csv.Error as error:
        return Unread(open=str(error) == "unexpected end of data")
    return rows[0] if len(rows) == 1 else Unread(open=False)


def rows(
    lines: Iterable[tuple[int, str]], width: int, certain: Callable[[list[str]], bool], mark: str = ","
) -> Iterator[Row]:
    """Rows of so many cells; there may be line ends in quoted ones. Of one column, the quotes may be missing.

    `certain` tells cells that can be nothing but a row, so that no other can have swallowed them. Lines that are blank
    and stand between rows are gone over.
    """
    source = _Lines(lines)
    while first := source.take():
        number, text = first
        if not text.strip():
            continue
        if width == 1 and not text.startswith('"'):
            yield Row(number, [text])
            continue
        behind, cells = _read_on(text, source, lambda cells: len(cells) == width > 1 and certain(cells), mark)
        if isinstance(cells, list) and len(cells) == width:
            yield Row(number, cells)
            continue
        source.give_back(behind)
        as_it_stands = [text] if width == 1 else text.split(mark)
        yield Row(number, as_it_stands, whole=width == 1 and isinstance(cells, list))


class _Lines:
    """Lines that can be given back."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines = iter(lines)
        self._given: deque[tuple[int, str]] = deque()

    def take(self) -> tuple[int, str] | None:
        return self._given.popleft() if self._given else next(self._lines, None)

    def give_back(self, lines: list[tuple[int, str]]) -> None:
        self._given.extendleft(reversed(lines))


def _read_on(
    text: str, source: _Lines, is_row: Callable[[list[str]], bool], mark: str
) -> tuple[list[tuple[int, str]], list[str] | Unread]:
    """The lines that a row takes behind its first, and its cells."""
    behind: list[tuple[int, str]] = []
    cells = cells_of(text, mark)
    held = len(text)
    while isinstance(cells, Unread) and cells.open and held < LONGEST and (more := source.take()):
        behind.append(more)
        alone = cells_of(more[1], mark)
        if isinstance(alone, list) and is_row(alone):
            break
        held += len(more[1]) + 1
        if '"' in more[1]:
            cells = cells_of("\n".join([text, *(line for _, line in behind)]), mark)
    return behind, cells
