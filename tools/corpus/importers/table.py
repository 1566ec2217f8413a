"""Imports tables: CSV with any delimiter, JSON arrays and JSON Lines. Each text of the column of texts is a document.

The column is found by its name or by its values. A table without a clear column of texts is refused with its header.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from tools.corpus.archive import Member
from tools.corpus.importers import table_csv, table_json
from tools.corpus.record import DamagedItem, ImportItem, SkippedItem, SourceWarning
from tools.corpus.tables.column_names import TWEET_TEXT_NAMES, text_rank
from tools.corpus.tables.column_profile import MIN_SENTENCES, profile_column
from tools.corpus.tables.table_layout import TableLayout, name_column, take_header
from tools.corpus.tables.table_roles import find_roles, is_tweet_table
from tools.corpus.threads import catch_damage

CSV_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".psv"})
TEXT_SUFFIXES = frozenset({".txt", ".text", ".dat", ""})  # a file with one of these may be a table
SURE_SCORE = 3.4  # two known names, nearly all rows of one width
MIN_SCORE = 0.9  # nearly all rows of one width
MIN_SURE_ROWS = 2  # of a table without known names
MIN_FILLED = 0.5  # of the rows that have a value in two columns
MAX_LISTED_NAMES = 30
MAX_NAME_CHARS = 40
LONG_TEXT_SHARE = 0.2  # of texts that are too long for tweets
MIN_LIST_ROWS = 3  # of a list whose first row may be a header
MIN_LIST_SENTENCES = 0.8
MAX_NAME_WORDS = 4
MIN_LONG_ROWS = 10
ALIKE_CHARS = 20
JSON_LINE = '{"text": "..."}'
NO_TEXT = "a file without text"


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the tables; of the files whose name says nothing, only those that surely are tables.

    JSON that is given alone is read or refused with its keys; among other files it may be that of a program.
    """
    if len(members) == 1 and "/" not in members[0].name and table_json.looks_like_json(members[0]):
        return members
    return [member for member in members if _is_table(member)]


def read_items(members: Sequence[Member], column: str = "") -> Iterator[ImportItem]:
    """Yields the texts of each table. `column` names the column of the texts, or numbers it from 1."""
    for member in members:
        yield from catch_damage(read_table(member, column, is_tweets=False), member)


def detect_layout(member: Member) -> TableLayout | None:
    """Returns the layout of a table, None for another file."""
    layout = table_json.detect_layout(member)
    return layout if layout or table_json.is_json(member) else table_csv.detect_layout(member)


def is_tweets(layout: TableLayout) -> bool:
    """Whether a table holds tweets, by its names and the length of its texts. A list without a name does."""
    texts = [row[layout.choice.column] for row in layout.sample] if layout.choice.column is not None else []
    long = sum(table_csv.is_too_long(text) for text in texts)
    if len(texts) >= MIN_LONG_ROWS and long > LONG_TEXT_SHARE * len(texts):
        return False
    return (layout.is_list and not layout.names) or is_tweet_table(layout, TWEET_TEXT_NAMES)


def read_table(member: Member, column: str, is_tweets: bool) -> Iterator[ImportItem]:
    """Yields the texts of one table. Raises MemberError."""
    if not member.peek_head().strip():
        yield SkippedItem(member.location, NO_TEXT)
        return
    json_layout = table_json.detect_layout(member)
    if table_json.looks_like_json(member) and (json_layout is None or not _has_texts(json_layout)):
        yield DamagedItem(member.location, _json_refusal(json_layout))
        return
    layout = json_layout or table_csv.detect_layout(member) or TableLayout()
    if column and not json_layout:
        layout = take_header(layout, column)
    text = name_column(layout, column) if column else layout.choice.column
    if text is None:
        yield DamagedItem(member.location, _refusal(layout, column) + _text_option(member))
        return
    if not column and (note := _choice_note(layout)):
        yield SourceWarning(member.location, note + _text_option(member))
    roles = find_roles(layout, text, is_tweets)
    read_rows = table_json.read_rows if json_layout else table_csv.read_rows
    yield from read_rows(member, layout, roles)


def _is_table(member: Member) -> bool:
    suffix = PurePosixPath(member.name).suffix.lower()
    if layout := table_json.detect_layout(member):
        return _is_json_text(layout) if suffix == ".json" else suffix in table_json.SUFFIXES or _is_json_text(layout)
    if suffix in CSV_SUFFIXES:
        return table_csv.detect_layout(member) is not None or not member.peek_head().strip()
    if suffix not in TEXT_SUFFIXES:
        return False
    found = table_csv.detect_layout(member)
    return found is not None and _is_sure(found)


def _is_json_text(layout: TableLayout) -> bool:
    """Whether JSON, which is mostly for programs, has texts of people: by a sure name, or by their sentences."""
    columns = [*layout.choice.others, *([layout.choice.column] if layout.choice.column is not None else [])]
    return any(
        text_rank(layout.names[at]) in (0, 1) or layout.profiles[at].sentences >= MIN_SENTENCES for at in columns
    )


def _is_sure(layout: TableLayout) -> bool:
    """Whether a text can only be a table."""
    if layout.is_list or (layout.choice.column is None and not layout.choice.others):
        return False
    if sum(profile.filled > MIN_FILLED for profile in layout.profiles) < 2:
        return False  # indented lines
    if layout.format.delimiter not in ",;" and layout.score >= MIN_SCORE:
        return True
    labels = [profile for profile in layout.profiles if profile.is_typed or profile.is_label]
    if layout.choice.column is None or not labels:
        return layout.score >= SURE_SCORE and layout.choice.column is not None
    return layout.score >= MIN_SCORE and len(layout.sample) >= MIN_SURE_ROWS


def _refusal(layout: TableLayout, column: str) -> str:
    """Returns why a table is not read, with its header."""
    if layout.names:
        shown = f"its columns: {_list_names(layout.names)}"
    else:
        first = " | ".join(cell.strip()[:MAX_NAME_CHARS] for cell in layout.sample[0][:MAX_LISTED_NAMES])
        shown = f"no header; its first row: {first}"
    option = _column_option(layout)
    if column:
        return f"a table without a column {column} ({shown}); choose one of them: {option}"
    if layout.is_list and not layout.names:
        return f"a list without a column of texts ({shown}); to read each line as a text: --column 1"
    if layout.choice.others:
        return f"a table with several columns of texts ({shown}); choose one: {option}"
    return f"a table without a column of texts ({shown}); to read one nevertheless: {option}"


def _text_option(member: Member) -> str:
    is_table = PurePosixPath(member.name).suffix.lower() not in TEXT_SUFFIXES
    return "" if is_table else "; to read the file as one text: --as text"


def _has_texts(layout: TableLayout) -> bool:
    return any(profile.kind in ("text", "word", "html") for profile in layout.profiles)


def _json_refusal(layout: TableLayout | None) -> str:
    keys = f" (its keys: {_list_names(layout.names)})" if layout and any(layout.names) else ""
    as_text = "to read it with all its keys and brackets: --as text"
    return f"JSON without a list of texts{keys}; save the texts as CSV, or one object a line: {JSON_LINE}; {as_text}"


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(name[:MAX_NAME_CHARS] or "-" for name in names[:MAX_LISTED_NAMES])
    return f"{listed}, ..." if len(names) > MAX_LISTED_NAMES else listed


def _column_option(layout: TableLayout) -> str:
    return "--column NAME" if layout.names else "--column N, from 1"


def _choice_note(layout: TableLayout) -> str:
    """Returns which column was chosen if a careful reader could choose another one."""
    choice = layout.choice
    if choice.column is None or layout.is_list:
        return _first_row_note(layout)
    chosen = layout.column_label(choice.column)
    others = [number for number in choice.others if not _are_alike(layout, choice.column, number)]
    if others:
        listed = ", ".join(map(layout.column_label, others))
        return f"the texts are those of column {chosen}; there are texts in {listed} too: {_column_option(layout)}"
    if choice.by_name:
        return ""
    return f"the texts are those of column {chosen}, found by its values; for another: {_column_option(layout)}"


def _first_row_note(layout: TableLayout) -> str:
    """Returns the first row of a list if it is no sentence and nearly all others are: it may name the column."""
    if layout.names or len(layout.sample) < MIN_LIST_ROWS:
        return ""
    first, *others = layout.sample
    ends = profile_column([row[0] for row in others]).sentences
    if ends < MIN_LIST_SENTENCES or len(first[0].split()) > MAX_NAME_WORDS or profile_column(first).sentences:
        return ""
    return f"the first row is read as a text; if it names the column: --column {shlex.quote(first[0].strip())}"


def _are_alike(layout: TableLayout, column: int, other: int) -> bool:
    """Whether two columns have the same texts in most rows, perhaps cut or changed at their ends."""
    pairs = [(row[column][:ALIKE_CHARS], row[other][:ALIKE_CHARS]) for row in layout.sample if row[other].strip()]
    return sum(one == two for one, two in pairs) > len(pairs) / 2
