"""Reads the decrypted SQLite database of Signal for Android, of any year: the columns show its version.

Messages are in `sms` and `mms` until 2023, then in `message` (database versions 168 and 174). Sender and receiver share
a column until version 185, where the message type tells who wrote. The database is not decrypted and not changed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.cli.errors import ToolError
from tools.corpus.archive import Member, MemberError
from tools.corpus.fields import as_text, as_timestamp
from tools.corpus.importers.signal_message import MENTION_MARK, UNKNOWN_NAME, fill_mentions, is_outgoing, skip_reason
from tools.corpus.importers.signal_schema import SignalMessage, SignalSchema
from tools.corpus.record import ImportItem, KnownPerson, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

MAGIC = b"SQLite format 3\0"
_CHUNK_BYTES = 1 << 20
_MAX_ROW_BYTES = 16 << 20  # Signal keeps longer texts in files


def is_database(head: bytes) -> bool:
    """Whether a file is an unencrypted SQLite database."""
    return head.startswith(MAGIC)


def read_items(member: Member, has_wal: bool) -> Iterator[ImportItem]:
    """Yields all messages, thread by thread; `has_wal` if a write-ahead log lies beside the file."""
    return catch_damage(_read_messages(member, has_wal), member)


def _read_messages(member: Member, has_wal: bool) -> Iterator[ImportItem]:
    with _open_path(member) as path:
        if has_wal or _has_wal_file(path):
            cure = f"merge it with: sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'"
            yield SourceWarning(member.location, f"the messages in its write-ahead log are not read: {cure}")
        try:
            with contextlib.closing(_open_database(path)) as database:
                yield from _DatabaseReader(member.location, database).read_messages()
        except sqlite3.Error as error:
            raise MemberError(f"{member.location}: not a complete database ({error}); export it again") from None


def _has_wal_file(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    return False


def _open_database(path: Path) -> sqlite3.Connection:
    # Immutable: creates no lock and no log; the folder may be read-only.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    database.row_factory = sqlite3.Row
    database.text_factory = lambda data: data.decode("utf-8", "replace")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_ROW_BYTES)
    for setting in ("temp_store=FILE", "trusted_schema=OFF", "cell_size_check=ON"):
        database.execute(f"PRAGMA {setting}")
    return database


@contextlib.contextmanager
def _open_path(member: Member) -> Iterator[Path]:
    """Yields the path of the file itself, or of a temporary copy if it is in an archive."""
    if _is_on_disk(member):
        yield Path(member.location)
        return
    with tempfile.TemporaryDirectory(prefix="asr33-") as folder:
        copy = Path(folder) / "database.sqlite"
        _copy_member(member, copy)
        yield copy


def _is_on_disk(member: Member) -> bool:
    """Whether the location is a path. In an archive it is the path of the archive, a colon and the name."""
    with contextlib.suppress(OSError):
        return Path(member.location).is_file() and Path(member.location).stat().st_size == member.size
    return False


def _copy_member(member: Member, to: Path) -> None:
    """Copies at most `member.size` bytes. Raises MemberError, and ToolError ("damaged") if there is no room."""
    remaining = member.size
    with member.open() as file:
        try:
            with to.open("wb") as copy:
                while remaining > 0 and (chunk := file.read(min(_CHUNK_BYTES, remaining))):
                    copy.write(chunk)
                    remaining -= len(chunk)
        except OSError as error:
            reason = f"{to.parent.parent}: no room to unpack {member.location} ({error.strerror})"
            cure = "make room, set TMPDIR to another folder, or unpack it yourself"
            raise ToolError(f"{reason}; {cure}", "damaged") from None


class _DatabaseReader:
    def __init__(self, location: str, database: sqlite3.Connection) -> None:
        self._location = location
        self._database = database
        self._schema = SignalSchema(database, location)

    def read_messages(self) -> Iterator[ImportItem]:
        if count := self._schema.count_long_texts():
            message = f"{count} long texts are truncated: Signal keeps them in separate files"
            yield SourceWarning(self._location, message)
        yield from (KnownPerson(self._location, name) for name in sorted(self._schema.contacts))
        for row in self._database.execute(self._schema.messages_query()):
            yield self._to_item(SignalMessage(*row))

    def _to_item(self, row: SignalMessage) -> ImportItem:
        number = row.type if isinstance(row.type, int) else 0
        body = row.body if isinstance(row.body, str) else ""
        if MENTION_MARK in body and row.has_parts:
            body = fill_mentions(body, self._schema.find_mentions(row.id))
        text = as_text(body)
        if reason := _skip_reason(row, number) or ("" if text else self._schema.describe_empty(row.id, row.has_parts)):
            return SkippedItem(self._location, reason)
        mine = is_outgoing(number)
        return Record(
            source=self._location,
            thread=self._schema.threads.get(str(row.thread), f"{UNKNOWN_NAME} {row.thread}"),
            text=text,
            who=self._schema.sender_name(row, mine),
            when=as_timestamp(row.sent),
            kind="message",
            mine=mine,
        )


def _skip_reason(row: SignalMessage, number: int) -> str:
    if row.deleted:
        return "a deleted message"
    if row.replaced:
        return "an earlier wording"
    if row.story:
        return "a story"
    return skip_reason(number)
