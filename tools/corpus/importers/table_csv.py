"""Reads the rows of a CSV file, whatever its delimiter, and reports the rows that look wrong by their line numbers.

Wrong quotes may join several texts to one row. In a list of tweets such a row is split if each line could be a tweet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tools.corpus.archive import Member
from tools.corpus.cleaning.social_noise import MAX_TWEET_CHARS, split_joined_tweets, tweet_length
from tools.corpus.fields import format_count
from tools.corpus.jsonl import decode_line, iter_lines, not_utf8_message
from tools.corpus.record import DamagedItem, ImportItem, SkippedItem, SourceWarning
from tools.corpus.tables import csv_rows
from tools.corpus.tables.csv_format import is_rule
from tools.corpus.tables.csv_rows import MAX_CERTAIN_CHARS, MAX_QUOTED_CHARS, CsvRow
from tools.corpus.tables.csv_separators import decode_cells, encode_line
from tools.corpus.tables.table_layout import TableLayout, find_layout
from tools.corpus.tables.table_roles import TableRoles

SAMPLE_BYTES = 1 << 16
MAX_HEADER_LINES = 20
MAX_REPORTED = 5  # line numbers in a message
HEADER = "a header row"
TITLE = "a line before the table"
WRONG_WIDTH = "a row with more or fewer columns than the others"


@dataclass(slots=True)
class _Problems:
    """The line numbers of rows that look wrong."""

    unbalanced: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    too_long: list[int] = field(default_factory=list)
    wrong_width: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    not_utf8: int = 0


def detect_layout(member: Member) -> TableLayout | None:
    """Returns the layout of a CSV file, None for a file that is no text or empty."""
    head = member.peek_head(SAMPLE_BYTES)
    if b"\0" in head or not head.strip():
        return None
    lines = decode_line(head)[0].replace("\r\n", "\n").split("\n")
    is_truncated = len(head) == SAMPLE_BYTES and len(lines) > 1
    return find_layout(lines[: -1 if is_truncated else None])


def read_rows(member: Member, layout: TableLayout, roles: TableRoles) -> Iterator[ImportItem]:
    """Yields the records of a table, and a report of each kind of fault. Raises MemberError."""
    problems = _Problems()
    yield from _read_rows(member, layout, roles, problems)
    yield from _report_problems(member.location, problems)


def _read_rows(member: Member, layout: TableLayout, roles: TableRoles, problems: _Problems) -> Iterator[ImportItem]:
    lines = _iter_lines(member, layout, problems)
    yield from [SkippedItem(member.location, TITLE)] * layout.first
    if layout.names:
        yield SkippedItem(member.location, HEADER)
        lines = _skip_header(lines, layout)
    rows = csv_rows.iter_rows(
        lines,
        layout.width,
        layout.is_certain,
        layout.format.delimiter,
        None if layout.is_list else layout.repair_row,
        MAX_CERTAIN_CHARS if any(profile.is_typed for profile in layout.profiles) else MAX_QUOTED_CHARS,
        layout.format.has_blanks,
    )
    if layout.format.has_literal_quotes:
        rows = _iter_literal_rows(lines, layout)
    for row in rows:
        yield from _read_row(member.location, row, layout, roles, problems)


def _read_row(
    location: str, row: CsvRow, layout: TableLayout, roles: TableRoles, problems: _Problems
) -> Iterator[ImportItem]:
    cells = row.cells if len(row.cells) == layout.width else layout.pad_row(row.cells)
    if cells is None:
        problems.wrong_width.append(row.line_number)
        yield SkippedItem(location, WRONG_WIDTH)
        return
    cells = decode_cells(cells, layout.format)
    if layout.is_header(cells):
        yield SkippedItem(location, HEADER)
        return
    if not row.is_valid:
        problems.unbalanced.append(row.line_number)
    texts = [cells[roles.text]]
    if roles.is_tweets:
        texts = split_joined_tweets(texts[0]) if layout.is_list else texts
        if len(texts) > 1:
            problems.joined.append(row.line_number)
        elif is_too_long(texts[0]):
            problems.too_long.append(row.line_number)
    for text in texts:
        yield from roles.make_items([*cells[: roles.text], text, *cells[roles.text + 1 :]], location)


def _iter_lines(member: Member, layout: TableLayout, problems: _Problems) -> Iterator[tuple[int, str]]:
    """Yields the decoded lines of the table, without the delimiters that end each row."""
    for number, line in iter_lines(member, keep_blank=True):
        if number <= layout.first:
            continue
        if line is None:
            problems.damaged.append(number)
            continue
        text, is_utf8 = decode_line(line)
        problems.not_utf8 += not is_utf8
        text = text.removeprefix("\ufeff").removeprefix("ï»¿")
        text = text.removesuffix(layout.format.line_end) if layout.format.line_end else text
        yield number, encode_line(text, layout.format)


def _skip_header(lines: Iterator[tuple[int, str]], layout: TableLayout) -> Iterator[tuple[int, str]]:
    """Skips the header, which may have line ends in its quotes, or be joined to the first row."""
    header: list[str] = []
    for number, line in lines:
        if not header and layout.header_chars is not None:
            yield number, line[layout.header_chars :]
            break
        header.append(line)
        cells = csv_rows.parse_cells("\n".join(header), layout.format.delimiter, layout.format.has_blanks)
        is_open = isinstance(cells, csv_rows.UnparsedRow) and cells.is_open
        if line.strip() and not (is_open and len(header) < MAX_HEADER_LINES):
            break
    first = next(lines, None)
    if first and (layout.is_list or not is_rule(first[1])):
        yield first
    yield from lines


def _iter_literal_rows(lines: Iterator[tuple[int, str]], layout: TableLayout) -> Iterator[CsvRow]:
    """Yields the rows of a table whose quotes are characters like others."""
    delimiter, column = layout.format.delimiter, layout.choice.column or 0
    for number, line in lines:
        if line.strip():
            cells = line.split(delimiter)
            if (surplus := len(cells) - layout.width) > 0:
                cells[column : column + surplus + 1] = [delimiter.join(cells[column : column + surplus + 1])]
            yield CsvRow(number, cells)


def is_too_long(text: str) -> bool:
    """Whether a text is too long for a tweet. Links do not count, and an entity is one character."""
    return len(text) > MAX_TWEET_CHARS and tweet_length(text) > MAX_TWEET_CHARS


def _report_problems(location: str, problems: _Problems) -> Iterator[ImportItem]:
    messages = {
        "{} with a quote that is not closed or not doubled: read as it stands ({})": problems.unbalanced,
        "{} with several tweets joined by unbalanced quotes, as it seems: split at line ends ({}); to keep them whole: "
        "--as table": problems.joined,
        f"{{}} with more than {MAX_TWEET_CHARS} characters without links: check whether it is one tweet ({{}})": (
            problems.too_long
        ),
        "{} with more or fewer columns than the others, not imported ({})": problems.wrong_width,
    }
    for message, numbers in messages.items():
        if numbers:
            yield SourceWarning(location, message.format(format_count(len(numbers), "row"), _format_lines(numbers)))
    if problems.damaged:
        yield DamagedItem(location, f"too long for a text ({_format_lines(problems.damaged)})")
    if problems.not_utf8:
        yield SourceWarning(location, not_utf8_message(problems.not_utf8))


def _format_lines(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:MAX_REPORTED]))
    more = f" and {len(numbers) - MAX_REPORTED:,} more" if len(numbers) > MAX_REPORTED else ""
    return f"line{'s' * (len(numbers) > 1)} {listed}{more}"
