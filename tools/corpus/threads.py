"""Sorts the messages of an export into threads, each oldest first.

The messages wait in a temporary SQLite file, so memory does not limit their number. This module knows no export format.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator

from tools.cli.errors import ToolError
from tools.corpus.archive import Member, MemberError
from tools.corpus.record import DamagedItem, ImportItem, Record

_CREATE_TABLE = "CREATE TABLE record (number INTEGER PRIMARY KEY, at, source, thread, text, who, moment, kind, mine)"
_SELECT_SORTED = "SELECT source, thread, text, who, moment, kind, mine FROM record ORDER BY thread, at, number"


class ThreadSorter:
    """Takes records in any order. Records with the same time, or without a time, keep their order."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # without a name: a temporary file
        self._last_when = 0.0
        for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", "cache_size=-16000"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(_CREATE_TABLE)
        self._database.execute("BEGIN")

    def __enter__(self) -> ThreadSorter:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add_record(self, record: Record) -> None:
        """Adds a record. Raises ToolError ("damaged") if the temporary folder is full."""
        self._last_when = self._last_when if record.when is None else record.when
        row = (record.source, record.thread, record.text, record.who, record.when, record.kind, record.mine)
        try:
            self._database.execute("INSERT INTO record VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", (self._last_when, *row))
        except sqlite3.OperationalError as error:
            raise _no_room_error(error) from None

    def iter_records(self) -> Iterator[Record]:
        """Yields all records, thread by thread. Raises ToolError ("damaged") if the temporary folder is full."""
        try:
            for source, thread, text, who, when, kind, mine in self._database.execute(_SELECT_SORTED):
                yield Record(source, thread, text, who, when, kind, bool(mine))
        except sqlite3.OperationalError as error:
            raise _no_room_error(error) from None


def catch_damage(items: Iterable[ImportItem], member: Member) -> Iterator[ImportItem]:
    """Yields the items; a MemberError ends them and becomes a DamagedItem."""
    try:
        yield from items
    except MemberError as error:
        yield DamagedItem(member.location, str(error).removeprefix(f"{member.location}: "))


def sort_by_thread(items: Iterable[ImportItem]) -> Iterator[ImportItem]:
    """Yields the other items first, then the records thread by thread. Raises ToolError as ThreadSorter does."""
    with ThreadSorter() as sorter:
        for item in items:
            if isinstance(item, Record):
                sorter.add_record(item)
            else:
                yield item
        yield from sorter.iter_records()


def _no_room_error(error: sqlite3.OperationalError) -> ToolError:
    reason = f"{tempfile.gettempdir()}: no room to sort messages ({error})"
    return ToolError(f"{reason}; make room, or set TMPDIR to another folder", "damaged")
