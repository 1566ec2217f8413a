"""Reads tweets as CSV: one column of texts, or the tables of archive sites. A first row that is a text is kept.

Wrong quotes may join several texts to one row. Such rows are reported by line number, and split if possible.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tools.corpus import csv_rows, dates
from tools.corpus.archive import HEAD_BYTES, Member
from tools.corpus.csv_rows import CsvRow
from tools.corpus.fields import as_text, format_count
from tools.corpus.jsonl import decode_line, decode_table_line, iter_lines, windows_1252_message
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

MAX_TWEET_CHARS = 280  # the network counts every link as 23
DELIMITERS = ",;\t"  # spreadsheets in many European locales write the second, and the third on request
MAX_REPORTED = 5  # line numbers in a message
HEADER = "a header row"
NO_TEXT = "a tweet without a text"
FLAGGED_RETWEET = "a retweet by its flag"
WRONG_WIDTH = "a row with more or fewer columns than the first"

_TEXT_COLUMNS = ("full_text", "text", "tweet", "tweets", "tweet_text", "tweet text")
_DATE_COLUMNS = ("created_at", "date", "timestamp", "datetime")
_RETWEET_COLUMNS = ("is_retweet", "isretweet", "retweeted_status_id")
_WRITER_COLUMNS = ("username", "user", "screen_name", "author")
_OTHER_COLUMNS = {
    "id",
    "id_str",
    "tweet_id",
    "source",
    "device",
    "favorites",
    "favorite_count",
    "retweets",
    "retweet_count",
}
_TRUE_VALUES = {"true", "t", "1", "yes"}
_COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ ]{0,40}")


@dataclass(frozen=True, slots=True)
class TweetColumns:
    """The column numbers from 0, None if missing. `width` is 1 for a list of texts."""

    width: int = 1
    has_header: bool = False
    text: int = 0
    when: int | None = None
    flag: int | None = None
    who: int | None = None
    delimiter: str = ","


@dataclass(slots=True)
class _Problems:
    """The line numbers of rows that look wrong."""

    unbalanced: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    too_long: list[int] = field(default_factory=list)
    wrong_width: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    not_utf8: int = 0


def detect_columns(member: Member) -> TweetColumns | None:
    """Returns the columns of a CSV file of tweets, or None for another file."""
    head = member.peek_head()
    if b"\0" in head or not head.strip():
        return None
    first_lines = decode_line(head)[0].split("\n")
    is_truncated = len(head) == HEAD_BYTES and len(first_lines) > 1
    return _parse_columns(first_lines[: -1 if is_truncated else None])


def read_items(member: Member) -> Iterator[ImportItem]:
    """Yields the tweets and a report of each kind of fault; without a known table, each line is a text."""
    problems = _Problems()
    yield from catch_damage(_read_tweets(member, detect_columns(member) or TweetColumns(), problems), member)
    yield from _report_problems(member.location, problems)


def _parse_columns(first_lines: Sequence[str]) -> TweetColumns | None:
    cells = [csv_rows.parse_cells(line.rstrip("\r")) for line in first_lines]
    for delimiter in DELIMITERS:
        names = _header_names(first_lines[0], delimiter)
        text = _find_column(names, _TEXT_COLUMNS)
        if text is not None:
            optional = (_DATE_COLUMNS, _RETWEET_COLUMNS, _WRITER_COLUMNS)
            when, flag, who = (_find_column(names, columns) for columns in optional)
            is_table = {when, flag, who} != {None} or _OTHER_COLUMNS & set(names)
            is_tweets = len(names) == 1 or is_table
            return TweetColumns(len(names), True, text, when, flag, who, delimiter) if is_tweets else None
    names = _header_names(first_lines[0], ",")
    if len(names) > 2 and all(map(_COLUMN_NAME.fullmatch, names)):
        return None  # the header of another table
    widths = {len(row) for row in cells if isinstance(row, list) and row != [""]}
    return None if len(cells) > 1 and len(widths) == 1 and widths != {1} else TweetColumns()


def _header_names(header: str, delimiter: str) -> list[str]:
    cells = csv_rows.parse_cells(header.rstrip("\r"), delimiter)
    return [name.strip().lower() for name in cells] if isinstance(cells, list) else []


def _find_column(names: Sequence[str], columns: Sequence[str]) -> int | None:
    return next((names.index(name) for name in columns if name in names), None)


def _read_tweets(member: Member, columns: TweetColumns, problems: _Problems) -> Iterator[ImportItem]:
    lines = _iter_lines(member, problems)
    rows = csv_rows.iter_rows(lines, columns.width, lambda cells: _is_row(cells, columns), columns.delimiter)
    if columns.has_header and next(rows, None):
        yield SkippedItem(member.location, HEADER)
    for row in rows:
        if not row.is_valid:
            problems.unbalanced.append(row.line_number)
        if len(row.cells) != columns.width:
            problems.wrong_width.append(row.line_number)
            yield SkippedItem(member.location, WRONG_WIDTH)
        elif columns.width == 1:
            yield from (_to_item(member, [text], columns) for text in _split_texts(row, problems))
        else:
            if _tweet_length(row.cells[columns.text]) > MAX_TWEET_CHARS:
                problems.too_long.append(row.line_number)
            yield _to_item(member, row.cells, columns)


def _iter_lines(member: Member, problems: _Problems) -> Iterator[tuple[int, str]]:
    for number, line in iter_lines(member, keep_blank=True):
        if line is None:
            problems.damaged.append(number)
            continue
        text, is_utf8 = decode_table_line(line)
        problems.not_utf8 += not is_utf8
        yield number, text


def _is_row(cells: list[str], columns: TweetColumns) -> bool:
    """Whether the cells have a date in the date column, and so are not part of a text."""
    return columns.when is not None and dates.parse_timestamp(cells[columns.when]) is not None


def _split_texts(row: CsvRow, problems: _Problems) -> list[str]:
    """Returns the texts of a row: several if it is too long for a tweet and each line could be one."""
    text = row.cells[0]
    if _tweet_length(text) <= MAX_TWEET_CHARS:
        return [text]
    parts = [part for part in text.split("\n") if part.strip()]
    if len(parts) > 1 and max(map(_tweet_length, parts)) <= 2 * MAX_TWEET_CHARS:
        problems.joined.append(row.line_number)
        return parts
    problems.too_long.append(row.line_number)
    return [text]


def _tweet_length(text: str) -> int:
    return len(text if len(text) <= MAX_TWEET_CHARS else html.unescape(text))


def _to_item(member: Member, cells: list[str], columns: TweetColumns) -> ImportItem:
    text = as_text(cells[columns.text])
    if not text:
        return SkippedItem(member.location, NO_TEXT)
    flag = "" if columns.flag is None else cells[columns.flag].strip().lower()
    # Old archives have the id of the retweeted tweet.
    if (flag in _TRUE_VALUES or len(flag) > 5) and not text.startswith("RT @"):
        return SkippedItem(member.location, FLAGGED_RETWEET)
    when = None if columns.when is None else dates.parse_timestamp(cells[columns.when])
    who = "" if columns.who is None else as_text(cells[columns.who])
    return Record(member.location, "", text, who, when, "tweet")


def _report_problems(location: str, problems: _Problems) -> Iterator[ImportItem]:
    messages = {
        "{} with an unclosed quote at the start: kept unchanged ({})": problems.unbalanced,
        "{} with several tweets joined by unbalanced quotes: they were split at line ends ({})": problems.joined,
        f"{{}} with more than {MAX_TWEET_CHARS} characters: check whether it is one tweet ({{}})": problems.too_long,
        "{} with more or fewer columns than the first, not imported ({})": problems.wrong_width,
    }
    for message, numbers in messages.items():
        if numbers:
            yield SourceWarning(location, message.format(format_count(len(numbers), "row"), _format_lines(numbers)))
    if problems.damaged:
        yield DamagedItem(location, f"too long for a text ({_format_lines(problems.damaged)})")
    if problems.not_utf8:
        yield SourceWarning(location, windows_1252_message(problems.not_utf8))


def _format_lines(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:MAX_REPORTED]))
    more = f" and {len(numbers) - MAX_REPORTED:,} more" if len(numbers) > MAX_REPORTED else ""
    return f"line{'s' * (len(numbers) > 1)} {listed}{more}"
