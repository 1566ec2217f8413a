"""Messages as an export has them, all conversations mixed, into threads one after the other, each oldest first.

They wait in a temporary file that SQLite makes and removes, so that their number does not matter. It knows no export.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator

from tools.corpora.errors import CorpusError, MemberRefused
from tools.corpora.members import Member
from tools.corpora.record import Damaged, Found, Kind, Record

_TABLE = "CREATE TABLE record (number INTEGER PRIMARY KEY, at, source, thread, text, who, moment, kind, mine)"
_DRAINED = "SELECT source, thread, text, who, moment AS 'moment', kind, mine FROM record ORDER BY thread, at, number"


class Sorter:
    """Takes records in any order. Those of one moment, and those of none, stay in the order that they came in."""

    def __init__(self) -> None:
        self._store = sqlite3.connect("", isolation_level=None)  # no name: a file of its own, gone when it is closed
        self._last = 0.0
        for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", "cache_size=-16000"):
            self._store.execute(f"PRAGMA {setting}")
        self._store.execute(_TABLE)
        self._store.execute("BEGIN")

    def __enter__(self) -> Sorter:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def add(self, record: Record) -> None:
        """Raises CorpusError where the temporary folder is full."""
        self._last = self._last if record.when is None else record.when
        row = (record.source, record.thread, record.text, record.who, record.when, record.kind, record.mine)
        try:
            self._store.execute("INSERT INTO record VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", (self._last, *row))
        except sqlite3.OperationalError as error:
            raise _no_room(error) from None

    def records(self) -> Iterator[Record]:
        """All of them, thread by thread. Raises CorpusError where the temporary folder is full."""
        try:
            for source, thread, text, who, when, kind, mine in self._store.execute(_DRAINED):
                yield Record(source, thread, text, who, when, _kind(kind), bool(mine))
        except sqlite3.OperationalError as error:
            raise _no_room(error) from None


def told(found: Iterable[Found], member: Member) -> Iterator[Found]:
    """The same; where the member turns out to be damaged, that is told as the last."""
    try:
        yield from found
    except MemberRefused as error:
        yield Damaged(member.place, str(error).removeprefix(f"{member.place}: "))


def by_thread(found: Iterable[Found]) -> Iterator[Found]:
    """The same, what is no record first. Raises CorpusError where the temporary folder is full."""
    with Sorter() as sorter:
        for one in found:
            if isinstance(one, Record):
                sorter.add(one)
            else:
                yield one
        yield from sorter.records()


def _kind(name: str) -> Kind:
    return "tweet" if name == "tweet" else "document" if name == "document" else "message"


def _no_room(error: sqlite3.OperationalError) -> CorpusError:
    return CorpusError(
        f"{tempfile.gettempdir()}: no room to put messages in order ({error}); make some, or name a folder by TMPDIR"
    )
