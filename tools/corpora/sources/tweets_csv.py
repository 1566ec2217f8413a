"""Tweets as CSV: one column of texts, or the tables of the archive sites. The first row is kept if it is a text.

Such files have often been through a program that mistook quotes: texts that swallowed their neighbours are told by
their lines, and taken apart where that can be done.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tools.corpora import csv_rows, dates
from tools.corpora.csv_rows import Row
from tools.corpora.errors import MemberRefused
from tools.corpora.fields import words
from tools.corpora.lines import as_windows, decoded, lines, of_table
from tools.corpora.members import HEAD, Member
from tools.corpora.record import Damaged, Found, Record, Skipped, Warned
from tools.corpora.threads import told

TWEET = 280  # characters; links, whatever their length, are 23
MARKS = ",;\t"  # between cells: spreadsheets in half of Europe write the second, and all of them the third if asked
TOLD = 5  # line numbers in a warning
HEADER = "a header row"
NO_TEXT = "a tweet without a text"
BY_FLAG = "a retweet by its flag"
MISFIT = "a row with more or fewer columns than the first"

_TEXT = ("full_text", "text", "tweet", "tweets", "tweet_text", "tweet text")
_WHEN = ("created_at", "date", "timestamp", "datetime")
_FLAG = ("is_retweet", "isretweet", "retweeted_status_id")
_WHO = ("username", "user", "screen_name", "author")
_BESIDE = {"id", "id_str", "tweet_id", "source", "device", "favorites", "favorite_count", "retweets", "retweet_count"}
_YES = {"true", "t", "1", "yes"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ ]{0,40}")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which is which, from 0; None for what is not there. `width` is 1 for a list of texts; `mark` parts the cells."""

    width: int = 1
    header: bool = False
    text: int = 0
    when: int | None = None
    flag: int | None = None
    who: int | None = None
    mark: str = ","


@dataclass(slots=True)
class _Doubts:
    """What looks wrong in a file, by the numbers of its lines."""

    unbalanced: list[int] = field(default_factory=list)
    swallowed: list[int] = field(default_factory=list)
    long: list[int] = field(default_factory=list)
    misfits: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    foreign: int = 0


def columns(member: Member) -> Columns | None:
    """How the tweets stand in it; None if it does not look like CSV of tweets."""
    try:
        head = member.head()
    except MemberRefused:
        return None
    if b"\0" in head or not head.strip():
        return None
    first_lines = decoded(head)[0].split("\n")
    cut = len(head) == HEAD and len(first_lines) > 1
    return _columns(first_lines[: -1 if cut else None])


def found(member: Member) -> Iterator[Found]:
    """Its tweets, and a word on each kind of fault; a text a line where no table of tweets is known."""
    doubts = _Doubts()
    yield from told(_tweets(member, columns(member) or Columns(), doubts), member)
    yield from _warnings(member.place, doubts)


def _columns(first_lines: Sequence[str]) -> Columns | None:
    cells = [csv_rows.cells_of(line.rstrip("\r")) for line in first_lines]
    for mark in MARKS:
        names = _names(first_lines[0], mark)
        text = _index(names, _TEXT)
        if text is not None:
            when, flag, who = (_index(names, wanted) for wanted in (_WHEN, _FLAG, _WHO))
            table = Columns(len(names), True, text, when, flag, who, mark)
            is_table = {table.when, table.flag, table.who} != {None} or _BESIDE & set(names)
            return table if len(names) == 1 or is_table else None
    names = _names(first_lines[0], ",")
    if len(names) > 2 and all(map(_NAME.fullmatch, names)):
        return None  # the header of some other table
    widths = {len(row) for row in cells if isinstance(row, list) and row != [""]}
    return None if len(cells) > 1 and len(widths) == 1 and widths != {1} else Columns()


def _names(header: str, mark: str) -> list[str]:
    cells = csv_rows.cells_of(header.rstrip("\r"), mark)
    return [name.strip().lower() for name in cells] if isinstance(cells, list) else []


def _index(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _tweets(member: Member, shape: Columns, doubts: _Doubts) -> Iterator[Found]:
    rows = csv_rows.rows(_lines(member, doubts), shape.width, lambda cells: _is_row(cells, shape), shape.mark)
    if shape.header and next(rows, None):
        yield Skipped(member.place, HEADER)
    for row in rows:
        if not row.whole:
            doubts.unbalanced.append(row.line)
        if len(row.cells) != shape.width:
            doubts.misfits.append(row.line)
            yield Skipped(member.place, MISFIT)
        elif shape.width == 1:
            yield from (_record(member, [text], shape) for text in _apart(row, doubts))
        else:
            if _length(row.cells[shape.text]) > TWEET:
                doubts.long.append(row.line)
            yield _record(member, row.cells, shape)


def _lines(member: Member, doubts: _Doubts) -> Iterator[tuple[int, str]]:
    for number, line in lines(member, blank=True):
        if line is None:
            doubts.damaged.append(number)
            continue
        text, whole = of_table(line)
        doubts.foreign += not whole
        yield number, text


def _is_row(cells: list[str], shape: Columns) -> bool:
    """Whether it has a date where the date stands, and so can be no part of a text."""
    return shape.when is not None and dates.seconds(cells[shape.when]) is not None


def _apart(row: Row, doubts: _Doubts) -> list[str]:
    """The texts of a row of one: several, where it is longer than a tweet and each of its lines could be one."""
    text = row.cells[0]
    if _length(text) <= TWEET:
        return [text]
    parts = [part for part in text.split("\n") if part.strip()]
    if len(parts) > 1 and max(map(_length, parts)) <= 2 * TWEET:
        doubts.swallowed.append(row.line)
        return parts
    doubts.long.append(row.line)
    return [text]


def _length(text: str) -> int:
    return len(text if len(text) <= TWEET else html.unescape(text))


def _record(member: Member, cells: list[str], shape: Columns) -> Found:
    text = words(cells[shape.text])
    if not text:
        return Skipped(member.place, NO_TEXT)
    flag = "" if shape.flag is None else cells[shape.flag].strip().lower()
    # Of the old archives, the number of the tweet that was retweeted.
    if (flag in _YES or len(flag) > 5) and not text.startswith("RT @"):
        return Skipped(member.place, BY_FLAG)
    when = None if shape.when is None else dates.seconds(cells[shape.when])
    who = "" if shape.who is None else words(cells[shape.who])
    return Record(member.place, "", text, who, when, "tweet")


def _warnings(place: str, doubts: _Doubts) -> Iterator[Found]:
    told = {
        "{} with a quote at the start which is not closed as in CSV: taken as they stand ({})": doubts.unbalanced,
        "{} with several tweets in one, of unbalanced quotes: they were taken apart at their line ends ({})": (
            doubts.swallowed
        ),
        f"{{}} with a text of more than {TWEET} characters: look whether it is one tweet ({{}})": doubts.long,
        "{} with more or fewer columns than the first, not taken ({})": doubts.misfits,
    }
    for what, numbers in told.items():
        if numbers:
            count = f"{len(numbers):,} row{'s' * (len(numbers) > 1)}"
            yield Warned(place, what.format(count, _numbered(numbers)))
    if doubts.damaged:
        yield Damaged(place, f"too long for a text ({_numbered(doubts.damaged)})")
    if doubts.foreign:
        yield Warned(place, as_windows(doubts.foreign))


def _numbered(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:TOLD])
    more = f" and {len(numbers) - TOLD:,} more" if len(numbers) > TOLD else ""
    return f"line{'s' * (len(numbers) > 1)} {shown}{more}"
