"""Reads JSON as a table: an array of objects, an object a line, or columns as pandas writes them.

The keys are the names of the columns; a key inside an object is a path, such as `user.username`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from tools.corpus import json_stream
from tools.corpus.archive import Member, MemberError
from tools.corpus.fields import repair_surrogates
from tools.corpus.jsonl import iter_objects
from tools.corpus.record import ImportItem, SkippedItem
from tools.corpus.tables.column_names import TEXT_NAMES, is_known_name, is_name_like, normalise_name
from tools.corpus.tables.column_profile import ColumnChoice, choose_text_column, profile_column
from tools.corpus.tables.csv_rows import CsvFormat
from tools.corpus.tables.table_layout import TableLayout
from tools.corpus.tables.table_roles import TableRoles

LINE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".jl"})
SUFFIXES = LINE_SUFFIXES | {".json"}
OTHER_SUFFIXES = frozenset({".txt", ""})
SAMPLE_OBJECTS = 200
MAX_DEPTH = 3  # of keys in a path
MAX_COLUMNS = 500
NO_OBJECT = "an entry that is no row"
_LIST_KEYS = (
    "data",
    "tweets",
    "posts",
    "items",
    "results",
    "statuses",
    "rows",
    "records",
    "comments",
    "entries",
    "texts",
)
_HAS_LIST = re.compile(rb"\{[^\[\]]{0,4000}?\"(?:%s)\"\s*:\s*\[" % "|".join(_LIST_KEYS).encode())
_SLACK_KEYS = frozenset({"ts", "type"})  # of a message


def detect_layout(member: Member) -> TableLayout | None:
    """Returns the layout of a JSON file whose elements are rows, None for another file."""
    suffix = PurePosixPath(member.name).suffix.lower()
    if suffix not in SUFFIXES | OTHER_SUFFIXES:
        return None
    head = member.peek_head(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:1] not in (b"{", b"["):
        return None
    values: list[Any] = []
    with suppress(MemberError):
        values += (value for value in islice(_iter_values(member), SAMPLE_OBJECTS) if not isinstance(value, ImportItem))
    return _find_layout(values)


def looks_like_json(member: Member) -> bool:
    """Whether a file with the name of JSON begins as JSON does."""
    return is_json(member) and member.peek_head(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def is_json(member: Member) -> bool:
    """Whether a file can only be JSON."""
    return PurePosixPath(member.name).suffix.lower() in SUFFIXES


def read_rows(member: Member, layout: TableLayout, roles: TableRoles) -> Iterator[ImportItem]:
    """Yields the records of a JSON table. Raises MemberError."""
    for value in _iter_values(member):
        if isinstance(value, ImportItem):
            yield value
        elif row := _to_row(value):
            yield from roles.make_items([row.get(name, "") for name in layout.names], member.location)
        else:
            yield SkippedItem(member.location, NO_OBJECT)


def _find_layout(values: list[Any]) -> TableLayout | None:
    rows = list(filter(None, map(_to_row, values)))
    names = list(dict.fromkeys(name for row in rows for name in row))[:MAX_COLUMNS]
    if not rows or len(rows) < len(values) / 2 or _SLACK_KEYS.issubset(names):
        return None
    sample = [[row.get(name, "") for name in names] for row in rows]
    profiles = tuple(profile_column([row[at] for row in sample]) for at in range(len(names)))
    choice = choose_text_column(names, profiles)
    if names == [""]:
        choice = ColumnChoice(0 if profiles[0].kind == "text" else None)
    return TableLayout(CsvFormat(width=len(names)), tuple(names), profiles, choice, sample=sample)


def _iter_values(member: Member) -> Iterator[Any]:
    """Yields the values of the rows, and ImportItems about damage. Raises MemberError."""
    head = member.peek_head(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        yield from _name_cells(json_stream.iter_array(member))
    elif _are_lines(head, member.name):
        for item in iter_objects(member):
            yield item[1] if isinstance(item, tuple) else item
    elif _HAS_LIST.match(head):
        for key, value in json_stream.iter_object(member, _LIST_KEYS):
            if key in _LIST_KEYS:
                yield value
    elif columns := _read_columns(member, head):
        yield from columns


def _name_cells(values: Iterable[Any]) -> Iterator[Any]:
    """Yields the values; those that are lists become objects, with the names of the first list or with numbers."""
    names: list[str] = []
    for value in values:
        if not isinstance(value, list):
            yield value
            continue
        cells = list(map(_to_cell, value))
        is_header = not names and len(cells) > 1 and any(map(is_known_name, cells)) and all(map(is_name_like, cells))
        names = names or (cells if is_header else list(map(str, range(1, len(cells) + 1))))
        if not is_header:
            yield dict(zip(names, cells, strict=False))


def _are_lines(head: bytes, name: str) -> bool:
    if PurePosixPath(name).suffix.lower() in LINE_SUFFIXES:
        return True
    lines = [line for line in head.split(b"\n")[:3] if line.strip()]
    if len(lines) == 1:
        return any(
            normalise_name(key) in TEXT_NAMES and isinstance(value, str)
            for key, value in _parse_object(lines[0]).items()
        )
    return all(line.lstrip().startswith(b"{") and _parse_object(line) for line in lines[:2])


def _parse_object(line: bytes) -> dict[str, Any]:
    """Returns an object, which a comma may follow; an empty one for anything else."""
    with suppress(ValueError, RecursionError):
        value = json.loads(line.strip().removesuffix(b","))
        return value if isinstance(value, dict) else {}
    return {}


def _read_columns(member: Member, head: bytes) -> Iterator[dict[str, Any]]:
    """Yields the rows of `{"text": {"0": "one", "1": "two"}, "date": {"0": ...}}`."""
    start = head.partition(b":")[2].lstrip()
    if not (start.startswith(b"{") and start[1:].lstrip().startswith(b'"0"')):
        return iter(())
    columns = {key: value for key, value in json_stream.iter_object(member) if isinstance(value, dict)}
    numbers = dict.fromkeys(number for column in columns.values() for number in column)
    return ({name: column.get(number) for name, column in columns.items()} for number in numbers)


def _to_row(value: Any) -> dict[str, str]:
    """Returns the values of an object by their paths; a text alone has an empty path."""
    if isinstance(value, str):
        return {"": repair_surrogates(value)}
    return dict(islice(_flatten(value, "", 1), MAX_COLUMNS)) if isinstance(value, dict) else {}


def _flatten(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, part in value.items():
        if isinstance(part, dict) and depth < MAX_DEPTH:
            yield from _flatten(part, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", _to_cell(part)


def _to_cell(value: Any) -> str:
    if isinstance(value, str):
        return repair_surrogates(value)
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
