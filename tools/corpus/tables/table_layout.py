"""Finds the layout of a table from its first lines: delimiter, width, header, and the column of the texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tools.corpus.tables import csv_rows
from tools.corpus.tables.cell_texts import is_wrapped
from tools.corpus.tables.column_names import TEXT_NAMES, is_denied, normalise_name, text_rank
from tools.corpus.tables.column_profile import ColumnChoice, ColumnProfile, choose_text_column
from tools.corpus.tables.csv_format import (
    DELIMITERS,
    MAX_SAMPLE_ROWS,
    FormatCandidate,
    common_line_end,
    is_header_row,
    profile_columns,
    read_candidates,
    share_of,
    split_glued_header,
)
from tools.corpus.tables.csv_rows import CsvFormat
from tools.corpus.tables.csv_separators import find_header_separator

MAX_TITLE_LINES = 12  # before a header
MIN_TITLED_SCORE = 2.8  # of a table behind a title: at least two known names
BYTE_ORDER_MARKS = ("\ufeff", "ï»¿")  # the second is the first, decoded as Windows-1252
MAX_DELIMITED_SHARE = 0.6  # of the texts of a list that have a comma without a blank
_TIGHT_DELIMITER = re.compile(r"[^\W\d][\"']?[,;|\t][\"']?[^\W\d]")
_DELIMITER = re.compile(r"[,;|\t]")
_SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)  # Excel writes it before the header
_NAMES = re.compile(r"[\w@#][\w@.'’+-]{0,39}(?<![.])|(?:[^\W\d_a-z][\w'’-]{0,20}\.?\s?){2,3}(?<![.])")
_ADDRESS = re.compile(r"\S+@\S+\.\w+")
MIN_NAME_SHARE = 0.9  # of the rows of a list of names
_GLUED_TEXT = re.compile(r"[\"'A-ZÄÖÜÉ\d]")


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The layout of a table. `names` is empty without a header.

    `header_chars` is the length of a header that is joined to the first row, None if it is a row of its own. `first`
    is the number of lines before the table. `score` is that of the format, 0 for a list of texts.
    """

    format: CsvFormat = field(default_factory=CsvFormat)
    names: tuple[str, ...] = ()
    profiles: tuple[ColumnProfile, ...] = (ColumnProfile("text"),)
    choice: ColumnChoice = field(default_factory=lambda: ColumnChoice(0))
    header_chars: int | None = None
    first: int = 0
    score: float = 0.0
    sample: Sequence[Sequence[str]] = field(default=(), compare=False, repr=False)

    @property
    def width(self) -> int:
        return len(self.profiles)

    @property
    def is_list(self) -> bool:
        """Whether the table has one column."""
        return self.width == 1

    def column_label(self, number: int) -> str:
        """Returns the name of a column, or its number from 1."""
        return self.names[number] if number < len(self.names) and self.names[number] else str(number + 1)

    def fits(self, cells: Sequence[str]) -> bool:
        """Whether cells can be a row: as many as the columns, each of its column's kind."""
        pairs = zip(self.profiles, cells, strict=False)
        return len(cells) == self.width and all(profile.fits(cell) for profile, cell in pairs)

    def is_certain(self, cells: Sequence[str]) -> bool:
        """Whether cells can only be a row and no part of a text."""
        if not self.fits(cells):
            return False
        typed = [cell.strip() for profile, cell in zip(self.profiles, cells, strict=True) if profile.is_typed]
        return sum(min(len(cell), 6) for cell in typed) >= 8  # such as a date and a number

    def is_header(self, cells: Sequence[str]) -> bool:
        """Whether cells repeat the header, as where files were joined."""
        if not self.names or normalise_name(cells[-1]) != normalise_name(self.names[-1]):
            return False
        return list(map(normalise_name, cells)) == list(map(normalise_name, self.names))

    def repair_row(self, text: str) -> list[str] | None:
        """Returns the cells of a row with wrong quotes or too many delimiters, None if that is not certain."""
        delimiter, column = self.format.delimiter, self.choice.column
        for pieces in (csv_rows.split_pieces(text, delimiter), text.split(delimiter)):
            if len(pieces) == 1 and (inner := csv_rows.unquote(pieces[0])) != pieces[0]:
                cells = csv_rows.parse_cells(inner, delimiter, self.format.has_blanks)
                return cells if isinstance(cells, list) and self.fits(cells) else self.repair_row(inner)
            while len(pieces) > self.width and not pieces[-1].strip():
                pieces.pop()
            surplus = len(pieces) - self.width
            if surplus > 0 and column is not None:
                pieces[column : column + surplus + 1] = [delimiter.join(pieces[column : column + surplus + 1])]
            cells = list(map(csv_rows.unquote, pieces))
            if self.fits(cells):
                return cells
        return None

    def pad_row(self, cells: Sequence[str]) -> list[str] | None:
        """Returns the cells with empty ones at the end, as spreadsheets leave them out; None if the text is missing."""
        if self.choice.column is None or not self.choice.column < len(cells) < self.width:
            return None
        padded = [*cells, *[""] * (self.width - len(cells))]
        return padded if self.fits(padded) else None


def find_layout(lines: Sequence[str]) -> TableLayout:
    """Returns the layout of a table, given its first lines. Lines that are no table are a list of texts."""
    first, delimiters = 0, DELIMITERS
    lines = [_strip_marks(line) for line in lines]
    while first < len(lines) and (not lines[first].strip() or _SEPARATOR_LINE.fullmatch(lines[first].strip('"'))):
        if match := _SEPARATOR_LINE.fullmatch(lines[first].strip('"')):
            delimiters = match[1]
        first += 1
    layout = _layout_of_lines(lines[first:], delimiters)
    if not layout.names:  # the header may follow a title or a comment
        for skipped in range(1, min(MAX_TITLE_LINES, len(lines) - first - 1)):
            later = _layout_of_lines(lines[first + skipped :], delimiters)
            if later.names and later.score >= MIN_TITLED_SCORE:
                return replace(later, first=first + skipped)
    return replace(layout, first=first)


def _layout_of_lines(lines: Sequence[str], delimiters: str) -> TableLayout:
    """Returns the layout of a table whose header or first row is the first line."""
    if not any(map(str.strip, lines[:1])):
        return TableLayout()
    line_end = common_line_end(lines)
    table = [line.removesuffix(line_end) if line_end else line for line in lines]
    candidates = read_candidates(table, delimiters)
    best = max(candidates, key=lambda candidate: candidate.score, default=None)
    if best is None or best.score <= 0:
        return _list_layout(lines)
    return _table_layout(best, table[0], line_end)


def name_column(layout: TableLayout, column: str) -> int | None:
    """Returns the number of the column that the user named or numbered from 1; None if the table has none such."""
    wanted = normalise_name(column)
    exact = [number for number, name in enumerate(layout.names) if name == column]
    similar = [number for number, name in enumerate(layout.names) if wanted and normalise_name(name) == wanted]
    if exact or similar:
        return (exact or similar)[0]
    return int(column) - 1 if column.isdecimal() and 0 < int(column) <= layout.width else None


def take_header(layout: TableLayout, column: str) -> TableLayout:
    """Returns the layout with its first row as the header, if the user names a column that this row has."""
    if layout.names or not layout.sample or layout.header_chars is not None:
        return layout
    names, *rows = layout.sample
    if normalise_name(column) not in map(normalise_name, names) or (column.isdecimal() and column not in names):
        return layout
    return replace(
        layout, names=tuple(map(str.strip, names)), profiles=profile_columns(rows, layout.width), sample=rows
    )


def _strip_marks(line: str) -> str:
    for mark in BYTE_ORDER_MARKS:
        line = line.removeprefix(mark)
    return line


def _list_layout(lines: Sequence[str]) -> TableLayout:
    """Returns the layout of a table with one column."""
    numbered = enumerate(lines, start=1)
    rows = [[row.cells[0]] for row in csv_rows.iter_rows(numbered, 1, lambda cells: False)][:MAX_SAMPLE_ROWS]
    if not rows:
        return TableLayout()
    header, *texts = rows
    if (texts and is_header_row(header, texts)) or (not texts and normalise_name(header[0]) in TEXT_NAMES):
        profiles, name = profile_columns(texts, 1), header[0].strip()
        is_denied_list = is_denied(name) or (_are_names(texts) and (text_rank(name) is None or _are_addresses(texts)))
        choice = ColumnChoice(None) if is_denied_list else _list_choice(profiles)
        return TableLayout(names=(name,), profiles=profiles, choice=choice, sample=texts)
    if length := _glued_name_length(lines[0]):
        names = (lines[0][:length].strip('"'),)
        rows[0] = [lines[0][length:].strip('"')]
        return TableLayout(names=names, profiles=profile_columns(rows, 1), header_chars=length, sample=rows)
    profiles = profile_columns(rows, 1)
    is_ragged = len(rows) > 1 and share_of(_is_delimited(row[0]) for row in rows) > MAX_DELIMITED_SHARE
    is_ragged = is_ragged or bool(len(rows) > 1 and find_header_separator(rows[0][0]))
    choice = ColumnChoice(None) if is_ragged or _are_names(rows) else _list_choice(profiles)
    return TableLayout(profiles=profiles, choice=choice, sample=rows)


def _are_names(rows: Sequence[Sequence[str]]) -> bool:
    """Whether nearly all rows are single words, addresses or names of people."""
    return len(rows) > 1 and share_of(bool(_NAMES.fullmatch(row[0].strip())) for row in rows) >= MIN_NAME_SHARE


def _are_addresses(rows: Sequence[Sequence[str]]) -> bool:
    return share_of(bool(_ADDRESS.fullmatch(row[0].strip())) for row in rows) >= MIN_NAME_SHARE


def _is_delimited(text: str) -> bool:
    """Whether a text looks like the cells of a row: several delimiters, one of them without a blank after it."""
    start = text[:500]
    return len(_DELIMITER.findall(start)) > 1 and bool(_TIGHT_DELIMITER.search(start))


def _list_choice(profiles: Sequence[ColumnProfile]) -> ColumnChoice:
    return ColumnChoice(0 if profiles[0].kind in ("text", "word", "html", "empty") else None)


def _glued_name_length(line: str) -> int:
    """Returns the length of a name of texts that is joined to the first text, as in `textGood morning`; 0 without."""
    for name in sorted(TEXT_NAMES, key=len, reverse=True):
        if line.startswith((f'"{name}""', f'"{name}"\'')):
            return len(name) + 2
        if line.startswith(name) and _GLUED_TEXT.match(line[len(name) :]):
            return len(name)
    return 0


def _table_layout(candidate: FormatCandidate, first_line: str, line_end: str) -> TableLayout:
    header, *rows = candidate.rows
    format = replace(candidate.format, line_end=line_end)
    names, last = split_glued_header(header, format.width)
    header_chars: int | None = None
    if names:
        before = "".join(name + format.delimiter for name in header[: format.width - 1])
        header_chars = len(before) + len(last) if first_line.startswith(before) else None
    elif len(header) == format.width and not is_header_row(header, rows):
        rows = [header, *rows]
    elif len(header) == format.width - 1 and not _is_empty_column(rows, -1):
        names = ("", *header)  # as R writes the names of rows
    else:
        names = tuple([*header, *[""] * (format.width - len(header))][: format.width])
    names = tuple(name.strip() for name in names)
    profiles = profile_columns(rows, format.width)
    return TableLayout(
        format, names, profiles, choose_text_column(names, profiles), header_chars, score=candidate.score, sample=rows
    )


def _is_empty_column(rows: Sequence[Sequence[str]], at: int) -> bool:
    return not any(row[at].strip() for row in rows)


def has_wrapped_texts(layout: TableLayout, column: int) -> bool:
    """Whether the texts are written as Python's lists or bytes."""
    texts = [row[column] for row in layout.sample if row[column].strip()]
    return bool(texts) and share_of(map(is_wrapped, texts)) >= 0.8
