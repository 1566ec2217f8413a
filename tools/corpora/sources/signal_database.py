"""Android's Signal as a decrypted SQLite database, of whatever year: what it has is seen by its columns.

`sms` and `mms` until 2023, then `message` alone (database versions 168 and 174); the sender had one column with the
receiver until version 185, where only the type tells who wrote it. It decrypts nothing, and changes nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.corpora.errors import CorpusError, MemberRefused
from tools.corpora.fields import moment, words
from tools.corpora.members import Member
from tools.corpora.record import Found, Named, Record, Skipped, Warned
from tools.corpora.sources.signal_schema import Message, Schema
from tools.corpora.sources.signal_text import HOLE, NOBODY, mentioned
from tools.corpora.sources.signal_type import outgoing, why_none
from tools.corpora.threads import told

MAGIC = b"SQLite format 3\0"
_CHUNK = 1 << 20
_LONGEST = 16 << 20  # bytes of a row: Signal itself keeps longer texts in files


def is_database(head: bytes) -> bool:
    """Whether a file is a database of SQLite that nobody encrypted."""
    return head.startswith(MAGIC)


def found(member: Member, unmerged: bool) -> Iterator[Found]:
    """All messages, thread by thread; `unmerged` if a write-ahead log lies beside it."""
    return told(_messages(member, unmerged), member)


def _messages(member: Member, unmerged: bool) -> Iterator[Found]:
    with _at_hand(member) as path:
        if unmerged or _has_log(path):
            yield Warned(
                member.place,
                "a write-ahead log lies beside it, and what is there is not read: "
                f"merge it with: sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'",
            )
        try:
            with contextlib.closing(_opened(path)) as database:
                yield from _Reader(member.place, database).messages()
        except sqlite3.Error as error:
            raise MemberRefused(f"{member.place}: no whole database ({error}); export it again") from None


def _has_log(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    return False


def _opened(path: Path) -> sqlite3.Connection:
    # Immutable: no lock and no log is made beside a file that may lie where nobody can write.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    database.row_factory = sqlite3.Row
    database.text_factory = lambda data: data.decode("utf-8", "replace")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    for setting in ("temp_store=FILE", "trusted_schema=OFF", "cell_size_check=ON"):
        database.execute(f"PRAGMA {setting}")
    return database


@contextlib.contextmanager
def _at_hand(member: Member) -> Iterator[Path]:
    """The file itself; or a copy of it, as long as it is needed, where it lies in an archive."""
    if _lies_here(member):
        yield Path(member.place)
        return
    with tempfile.TemporaryDirectory(prefix="asr33-") as folder:
        copy = Path(folder) / "database.sqlite"
        _copy(member, copy)
        yield copy


def _lies_here(member: Member) -> bool:
    """Whether it is a file of its own: the place of one in an archive is the archive's, a colon, and its name."""
    with contextlib.suppress(OSError):
        return Path(member.place).is_file() and Path(member.place).stat().st_size == member.size
    return False


def _copy(member: Member, to: Path) -> None:
    """No more than it said that it holds. Raises MemberRefused, and CorpusError where there is no room."""
    left = member.size
    with member.open() as file:
        try:
            with to.open("wb") as copy:
                while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                    copy.write(chunk)
                    left -= len(chunk)
        except OSError as error:
            raise CorpusError(
                f"{to.parent.parent}: no room to unpack {member.place} ({error.strerror}); "
                "make some, name a folder by TMPDIR, or unpack it yourself"
            ) from None


class _Reader:
    def __init__(self, place: str, database: sqlite3.Connection) -> None:
        self._place = place
        self._database = database
        self._schema = Schema(database, place)

    def messages(self) -> Iterator[Found]:
        if late := self._schema.long_texts():
            yield Warned(
                self._place, f"{late} long texts are cut short here: Signal keeps the whole of them in files beside"
            )
        yield from (Named(self._place, name) for name in sorted(self._schema.contacts))
        for row in self._database.execute(self._schema.query()):
            yield self._message(Message(*row))

    def _message(self, row: Message) -> Found:
        number = row.type if isinstance(row.type, int) else 0
        body = row.body if isinstance(row.body, str) else ""
        if HOLE in body and row.parted:
            body = mentioned(body, self._schema.mentions(row.id))
        text = words(body)
        if why := _why_none(row, number) or ("" if text else self._schema.sent(row.id, row.parted)):
            return Skipped(self._place, why)
        mine = outgoing(number)
        return Record(
            source=self._place,
            thread=self._schema.threads.get(str(row.thread), f"{NOBODY} {row.thread}"),
            text=text,
            who=self._schema.writer(row, mine),
            when=moment(row.sent),
            kind="message",
            mine=mine,
        )


def _why_none(row: Message, number: int) -> str:
    if row.deleted:
        return "a deleted message"
    if row.replaced:
        return "an earlier wording"
    if row.story:
        return "a story"
    return why_none(number)
