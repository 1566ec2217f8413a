"""Messages as an export has them, all conversations mixed, into threads one after the other, each oldest first.

They wait in a temporary file that SQLite makes and removes, so that their number does not matter. It knows no export.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator

from tools.corpus.archive import Member
from tools.corpus.errors import CorpusError, MemberError
from tools.corpus.record import DamagedItem, ImportItem, Record, RecordKind

_CREATE_TABLE = "CREATE TABLE record (number INTEGER PRIMARY KEY, at, source, thread, text, who, moment, kind, mine)"
_SELECT_SORTED = (
    "SELECT source, thread, text, who, moment AS 'moment', kind, mine FROM record ORDER BY thread, at, number"
)


class ThreadSorter:
    """Takes records in any order. Those of one moment, and those of none, stay in the order that they came in."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # no name: a file of its own, gone when it is closed
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
        """Raises CorpusError where the temporary folder is full."""
        self._last_when = self._last_when if record.when is None else record.when
        row = (record.source, record.thread, record.text, record.who, record.when, record.kind, record.mine)
        try:
            self._database.execute("INSERT INTO record VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", (self._last_when, *row))
        except sqlite3.OperationalError as error:
            raise _temp_folder_full(error) from None

    def iter_records(self) -> Iterator[Record]:
        """All of them, thread by thread. Raises CorpusError where the temporary folder is full."""
        try:
            for source, thread, text, who, when, kind, mine in self._database.execute(_SELECT_SORTED):
                yield Record(source, thread, text, who, when, _record_kind(kind), bool(mine))
        except sqlite3.OperationalError as error:
            raise _temp_folder_full(error) from None


def catch_damage(items: Iterable[ImportItem], member: Member) -> Iterator[ImportItem]:
    """The same; where the member turns out to be damaged, that is told as the last."""
    try:
        yield from items
    except MemberError as error:
        yield DamagedItem(member.location, str(error).removeprefix(f"{member.location}: "))


def sort_by_thread(items: Iterable[ImportItem]) -> Iterator[ImportItem]:
    """The same, what is no record first. Raises CorpusError where the temporary folder is full."""
    with ThreadSorter() as sorter:
        for one in items:
            if isinstance(one, Record):
                sorter.add_record(one)
            else:
                yield one
        yield from sorter.iter_records()


def _record_kind(name: str) -> RecordKind:
    return "tweet" if name == "tweet" else "document" if name == "document" else "message"


def _temp_folder_full(error: sqlite3.OperationalError) -> CorpusError:
    return CorpusError(
        f"{tempfile.gettempdir()}: no room to put messages in order ({error}); make some, or name a folder by TMPDIR"
    )
