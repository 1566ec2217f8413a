"""Parses lines as CSV rows although quotes may be unbalanced or missing. Pure; it does not know the columns.

An ordinary CSV reader joins a text that begins with a quote with the rows after it. Here such a line becomes a row of
its own, which is marked as not valid.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MAX_QUOTED_CHARS = 30_000  # in a quoted field of several lines: X allows posts of 25,000
MAX_CERTAIN_CHARS = 2_000_000  # the same in a table whose rows can be told from texts
MAX_SPLIT_LINES = 20  # of a text with line ends and without quotes


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How the rows of a table are written.

    `has_literal_quotes`: a quote is a character like others. `has_blanks`: a blank follows each delimiter.
    `line_end` follows each row, as in `text;date;;;`. `quotes` are those around cells, if they are not
    double ones. `separator` is that of several characters, for which the delimiter stands; see `csv_separators`.
    """

    delimiter: str = ","
    width: int = 1
    has_literal_quotes: bool = False
    has_blanks: bool = False
    line_end: str = ""
    quotes: str = ""
    separator: str = ""


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


Repair = Callable[[str], list[str] | None]  # from the text of a row with wrong quotes or width to its cells


def parse_cells(text: str, delimiter: str = ",", has_blanks: bool = False) -> list[str] | UnparsedRow:
    """Parses the text of a row; `has_blanks` allows a blank before a quote."""
    if '"' not in text and "\n" not in text:
        return text.split(delimiter)
    cells = _parse_strictly(text, delimiter, has_blanks)
    if isinstance(cells, UnparsedRow) and '\\"' in text:  # as MySQL writes a quote
        escaped = _parse_strictly(text.replace('\\"', '""'), delimiter, has_blanks)
        return cells if isinstance(escaped, UnparsedRow) and not escaped.is_open else escaped
    return cells


def _parse_strictly(text: str, delimiter: str, has_blanks: bool) -> list[str] | UnparsedRow:
    try:
        rows = list(csv.reader([text], strict=True, delimiter=delimiter, skipinitialspace=has_blanks))
    except csv.Error as error:
        return UnparsedRow(is_open=str(error) == "unexpected end of data")
    return rows[0] if len(rows) == 1 else UnparsedRow(is_open=False)


def split_pieces(text: str, delimiter: str) -> list[str]:
    """Splits the text of a row at each delimiter outside of quotes. The pieces keep their quotes.

    A quote that does not end at a delimiter is a character of the text.
    """
    pieces: list[str] = []
    start = 0
    while start <= len(text):
        end = _quoted_end(text, start, delimiter) if text.startswith('"', start) else -1
        if end < 0:
            end = text.find(delimiter, start)
            end = len(text) if end < 0 else end
        pieces.append(text[start:end])
        start = end + 1
    return pieces


def _quoted_end(text: str, start: int, delimiter: str) -> int:
    """Returns the end of the quoted piece that begins at `start`, -1 if it has none."""
    at = text.find('"', start + 1)
    while at >= 0:
        if text.startswith('""', at):
            at = text.find('"', at + 2)
        elif at + 1 == len(text) or text[at + 1] == delimiter:
            return at + 1
        else:
            return -1
    return -1


def unquote(piece: str) -> str:
    """Removes the quotes around a piece, also if a program did not double the quotes inside: `"He said "no""`.

    `"One" and "two"` keeps its quotes.
    """
    text = piece.strip()
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return piece
    inner = text[1:-1].replace('""', "\0")
    if (at := inner.find('"')) >= 0 and (inner.count('"') % 2 or not inner[:at].endswith((" ", "(", "\n"))):
        return piece
    return inner.replace("\0", '"')


def iter_rows(
    lines: Iterable[tuple[int, str]],
    width: int,
    is_certain: Callable[[list[str]], bool],
    delimiter: str = ",",
    repair: Repair | None = None,
    max_chars: int = MAX_QUOTED_CHARS,
    has_blanks: bool = False,
) -> Iterator[CsvRow]:
    """Yields the rows of a table with `width` columns; quoted cells may contain line ends.

    `is_certain` returns whether cells can only be a row: then an open quote before them is not valid. `repair` gets
    the text of a row that has wrong quotes or a wrong width. In a table with one column quotes may be missing. Blank
    lines between rows are skipped.
    """
    source = _LineSource(lines)
    while line := source.next_line():
        number, text = line
        if not text.strip():
            continue
        if width == 1 and not text.startswith('"'):
            yield CsvRow(number, [text])
            continue
        reader = _RowReader(source, width, is_certain, delimiter, max_chars, has_blanks)
        continuation, cells = reader.read_continuation(text)
        if isinstance(cells, list) and len(cells) == width:
            yield CsvRow(number, cells)
            continue
        whole = "\n".join([text, *(part for _, part in continuation)])
        if isinstance(cells, list) and repair and (repaired := repair(whole)):
            yield CsvRow(number, repaired)  # its quotes are valid
            continue
        source.push_back(continuation)
        if repair and (repaired := repair(text)) and width > 1:
            yield CsvRow(number, repaired, is_valid=not isinstance(cells, UnparsedRow))
            continue
        if repair and (repaired := reader.join_lines(text, repair)):
            yield CsvRow(number, repaired)
            continue
        raw_cells = [text] if width == 1 else list(map(unquote, split_pieces(text, delimiter)))
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


@dataclass(frozen=True, slots=True)
class _RowReader:
    """Reads the further lines of a row."""

    source: _LineSource
    width: int
    is_certain: Callable[[list[str]], bool]
    delimiter: str
    max_chars: int
    has_blanks: bool

    def read_continuation(self, text: str) -> tuple[list[tuple[int, str]], list[str] | UnparsedRow]:
        """Returns the lines after the first line `text` of a row, and the cells of the row."""
        lines: list[tuple[int, str]] = []
        cells = self._parse(text)
        size, quotes = len(text), text.count('"')
        if isinstance(cells, UnparsedRow) and cells.is_open and self._is_row(text):
            return [], UnparsedRow(is_open=False)  # a quote that is never closed
        while isinstance(cells, UnparsedRow) and cells.is_open and size < self.max_chars:
            line = self.source.next_line()
            if not line:
                break
            lines.append(line)
            if self._is_row(line[1]):
                break
            size += len(line[1]) + 1
            quotes += line[1].count('"')
            if '"' in line[1] and (quotes % 2 == 0 or size < MAX_QUOTED_CHARS):
                cells = self._parse("\n".join([text, *(part for _, part in lines)]))
        return lines, cells

    def join_lines(self, text: str, repair: Repair) -> list[str] | None:
        """Joins a row with the lines after it until they are a row: a text with line ends and without quotes."""
        if text.count(self.delimiter) + 1 >= self.width:
            return None
        lines: list[tuple[int, str]] = []
        while len(lines) < MAX_SPLIT_LINES and (line := self.source.next_line()):
            lines.append(line)
            if self._is_row(line[1]):
                break
            if cells := repair("\n".join([text, *(part for _, part in lines)])):
                return cells
        self.source.push_back(lines)
        return None

    def _parse(self, text: str) -> list[str] | UnparsedRow:
        return parse_cells(text, self.delimiter, self.has_blanks)

    def _is_row(self, text: str) -> bool:
        """Whether a line alone can only be a row, however its quotes are read."""
        if self.width < 2 or text.count(self.delimiter) + 1 < self.width:
            return False
        cells = self._parse(text)
        raw = text.split(self.delimiter) if isinstance(cells, UnparsedRow) else cells
        if isinstance(cells, UnparsedRow) and sum(piece.count('"') % 2 for piece in raw) > 1:
            return False  # its quotes are around delimiters
        return len(raw) == self.width and self.is_certain(raw)
