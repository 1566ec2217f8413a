"""The index of a folder of logs, in SQLite: summaries and the full text of all answers. The only door to sqlite3.

It is derived from the logs: it is brought up to date before each use, and built again if it is damaged. What is removed
from it is gone from its file: freed pages are overwritten, and the file is written anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from daemon.archive.logged_texts import LoggedText, ReadPosition, read_texts
from daemon.archive.search_query import SearchFilter, SearchHit, replace_unstorable
from daemon.archive.session_list import SessionSummary, read_summary
from daemon.errors import DaemonError
from daemon.people import format_people, is_person, person_pattern

FILE_NAME = "index.sqlite3"
BUSY_TIMEOUT_S = 30.0
BATCH_BYTES = 8 << 20  # of logs, in one transaction: Ctrl-C loses no more of the work
SNIPPET_TOKENS = 24
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE session (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE, inode INTEGER, size INTEGER, mtime INTEGER,
    wall REAL, clock REAL, duration REAL, model TEXT, persona TEXT, you TEXT, first_line TEXT, code TEXT,
    closed INTEGER, forgotten INTEGER,
    read_size INTEGER DEFAULT 0, offset INTEGER DEFAULT 0, prompts INTEGER DEFAULT 0);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY, session INTEGER, number INTEGER, code TEXT, at REAL, people TEXT, complete INTEGER);
CREATE INDEX entry_session ON entry (session);
CREATE INDEX entry_code ON entry (code);
CREATE VIRTUAL TABLE body USING fts5 (text, tokenize = "unicode61 remove_diacritics 2");
"""
_SUMMARY_FIELDS = "name, wall, clock, duration, model, first_line, code, closed, forgotten, persona, you"
OnProgress = Callable[[str, int, int], None]  # stage, done, total


@contextmanager
def open_index(folder: Path) -> Iterator[SessionIndex]:
    """Yields the index of a folder; in a folder that may not be written it is kept in memory.

    A damaged index is removed, and the next use builds it again. Raises DaemonError.
    """
    path = folder / FILE_NAME
    index: SessionIndex | None = None
    try:
        try:
            index = SessionIndex(folder, path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            remove_index(folder)
            index = SessionIndex(folder, path)
        yield index
    except sqlite3.OperationalError as error:
        raise DaemonError(f"{path}: {error}: wait until the other command has ended, or make room", "busy") from None
    except sqlite3.DatabaseError as error:
        remove_index(folder)
        raise DaemonError(f"{path} was damaged ({error}) and is removed; the same command builds it again") from None
    finally:
        if index is not None:
            index.close()


def index_exists(folder: Path) -> bool:
    return (folder / FILE_NAME).exists()


def remove_index(folder: Path) -> None:
    """Deletes the index; the next use builds it again. Raises OSError."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            (folder / f"{FILE_NAME}{suffix}").unlink()


class SessionIndex:
    """The open index. Its methods raise sqlite3.Error, which `open_index` translates, and OSError."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        is_writable = os.access(path if path.exists() else folder, os.W_OK) and os.access(folder, os.W_OK)
        if is_writable and not path.exists():
            path.touch(0o600)
            if os.geteuid() == 0:
                os.chown(path, folder.stat().st_uid, folder.stat().st_gid)
        self.is_in_memory = not is_writable
        self._db = sqlite3.connect(path if is_writable else ":memory:", timeout=BUSY_TIMEOUT_S, isolation_level=None)
        # The journal is the only other file, and SQLite deletes it. The logs can bring back what a power cut destroys.
        for setting in ("secure_delete = ON", "journal_mode = DELETE", "synchronous = OFF", "temp_store = MEMORY"):
            self._db.execute(f"PRAGMA {setting}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _SCHEMA_VERSION):
            self._db.close()
            raise sqlite3.DatabaseError(f"it has version {version}")
        if version == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")

    def close(self) -> None:
        self._db.close()

    def check_writable(self) -> None:
        """Raises DaemonError if this user may not change the index."""
        if self.is_in_memory:
            raise DaemonError(f"{self._folder} may not be written by this user: use sudo, or the user of the daemon")

    def refresh_summaries(self, on_progress: OnProgress) -> None:
        """Reads the summaries of logs that are new or have changed, and removes logs that are gone."""
        known = {
            name: tuple(stamp) for name, *stamp in self._db.execute("SELECT name, inode, size, mtime FROM session")
        }
        found = dict(_scan_folder(self._folder))
        gone = [name for name, (inode, size, _) in known.items() if _is_replaced(found.get(name), inode, size)]
        if gone:
            self.remove_sessions(gone)
        changed = [name for name, stamp in found.items() if name in gone or known.get(name) != stamp]
        with self._transaction():
            for number, name in enumerate(changed):
                self._update_summary(name, found[name])
                on_progress("reading the logs", number + 1, len(changed))

    def refresh(self, on_progress: OnProgress) -> None:
        """Brings summaries and texts up to date; the progress is in bytes of logs."""
        self.refresh_summaries(on_progress)
        rows = self._db.execute("SELECT id, name, size, offset FROM session WHERE read_size < size").fetchall()
        total, done, batch = sum(size - offset for *_, size, offset in rows), 0, 0
        with self._transaction():
            for session, name, size, offset in rows:
                self._index_texts(session, name)
                done, batch = done + size - offset, batch + size - offset
                if batch >= BATCH_BYTES:
                    self._db.execute("COMMIT")
                    self._db.execute("BEGIN IMMEDIATE")
                    batch = 0
                on_progress("building the index", done, total)

    def list_summaries(self) -> list[SessionSummary]:
        """Returns the summaries, oldest first by the names of the logs."""
        rows = self._db.execute(f"SELECT {_SUMMARY_FIELDS} FROM session")
        entries = [
            SessionSummary(
                self._folder / name,
                datetime.fromtimestamp(wall, UTC),
                *fields,
            )
            for name, wall, *fields in rows
        ]
        return sorted(entries, key=lambda entry: entry.id)

    def search(self, query: str, chosen: SearchFilter, limit: int) -> tuple[list[SearchHit], int]:
        """Returns the newest hits, newest first, and the number of all hits."""
        where, values = ["body MATCH ?"], list[str | float]([query])
        for condition, value in (
            ("session.wall + session.clock + entry.at >= ?", chosen.since),
            ("session.model = ?", chosen.model),
            ("instr(entry.people, ?)", chosen.person and person_pattern(chosen.person)),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        matches = self._db.execute(
            f"""SELECT body.rowid, session.wall + session.clock + entry.at AS at
            FROM body JOIN entry ON entry.id = body.rowid JOIN session ON session.id = entry.session
            WHERE {" AND ".join(where)} ORDER BY at DESC""",
            values,
        ).fetchall()
        hits = (self._read_hit(query, entry, at) for entry, at in matches[:limit])
        return list(hits), len(matches)

    def find_code(self, code: str) -> list[tuple[Path, int]]:
        """Returns the logs and the numbers of the prompts that have this code, oldest first."""
        query = "SELECT name, number FROM entry JOIN session ON session.id = entry.session WHERE entry.code = ?"
        rows = self._db.execute(f"{query} ORDER BY name", (code,))
        return [(self._folder / name, number) for name, number in rows]

    def find_person(self, name: str) -> list[Path]:
        """Returns the logs in which this person speaks, or answers as the model's persona, oldest first."""
        speaks = "EXISTS (SELECT 1 FROM entry WHERE entry.session = session.id AND instr(people, ?))"
        rows = self._db.execute(
            f"SELECT name, persona, you, {speaks} FROM session ORDER BY name", (person_pattern(name),)
        )
        return [self._folder / log for log, *names, speaks in rows if speaks or is_person(name, names)]

    def remove_sessions(self, names: Collection[str]) -> None:
        """Removes all that the index has of these logs, by their file names, from its file too."""
        known = dict(self._db.execute("SELECT name, id FROM session"))
        sessions = [known[name] for name in names if name in known]
        if not sessions:
            return
        with self._transaction():
            for session in sessions:
                self._remove_entries("session = ?", session)
                self._db.execute("DELETE FROM session WHERE id = ?", (session,))
            # The full-text index only marks removed rows, until it is merged.
            self._db.execute("INSERT INTO body (body) VALUES ('optimize')")
        self._db.execute("VACUUM")

    def _remove_entries(self, condition: str, session: int) -> None:
        rows = self._db.execute(f"SELECT id FROM entry WHERE {condition}", (session,)).fetchall()
        self._db.executemany("DELETE FROM body WHERE rowid = ?", rows)
        self._db.executemany("DELETE FROM entry WHERE id = ?", rows)

    def _update_summary(self, name: str, stamp: tuple[int, int, int]) -> None:
        entry = read_summary(self._folder / name)
        if entry is None:  # no log, or one that is just being begun
            return
        fields = (
            *(name, *stamp, entry.wall.timestamp(), entry.clock_offset_s, entry.duration_s, entry.model),
            *(entry.persona, entry.you, entry.first_line, entry.code, entry.is_closed, entry.is_forgotten),
        )
        self._db.execute(
            f"""INSERT INTO session (name, inode, size, mtime, wall, clock, duration, model, persona, you, first_line,
            code, closed, forgotten) VALUES ({", ".join("?" * len(fields))})
            ON CONFLICT (name) DO UPDATE SET size = excluded.size, mtime = excluded.mtime, duration = excluded.duration,
            first_line = excluded.first_line, code = excluded.code, closed = excluded.closed,
            clock = iif(excluded.clock, excluded.clock, clock)""",
            [replace_unstorable(field) if isinstance(field, str) else field for field in fields],
        )

    def _index_texts(self, session: int, name: str) -> None:
        """Adds the texts that a log has since it was last read."""
        columns = "size, offset, prompts, persona, you"
        row = self._db.execute(f"SELECT {columns} FROM session WHERE id = ?", (session,)).fetchone()
        size, offset, prompts, persona, you = row
        position = ReadPosition(offset, prompts)
        try:
            texts = read_texts(self._folder / name, position)
        except OSError:
            return  # it was removed a moment ago, or may not be read
        self._remove_entries("session = ? AND NOT complete", session)
        for text in texts:
            self._add_text(session, text, {persona, you} if text.number else set())
        self._db.execute(
            "UPDATE session SET read_size = ?, offset = ?, prompts = ?, clock = ifnull(?, clock) WHERE id = ?",
            (size, position.offset, position.prompts, position.clock_offset_s, session),
        )

    def _add_text(self, session: int, text: LoggedText, speakers: set[str]) -> None:
        people = replace_unstorable(format_people(text.speakers | speakers))
        fields = session, text.number, replace_unstorable(text.code), text.at_s, people, text.is_complete
        cursor = self._db.execute(
            "INSERT INTO entry (session, number, code, at, people, complete) VALUES (?, ?, ?, ?, ?, ?)", fields
        )
        values = cursor.lastrowid, replace_unstorable(text.text)
        self._db.execute("INSERT INTO body (rowid, text) VALUES (?, ?)", values)

    def _read_hit(self, query: str, entry: int, at: float) -> SearchHit:
        snippet = f"snippet(body, 0, '[', ']', ' ... ', {SNIPPET_TOKENS})"
        name, number, code, model, text = self._db.execute(
            f"""SELECT name, number, entry.code, model, {snippet} FROM body JOIN entry ON entry.id = body.rowid
            JOIN session ON session.id = entry.session WHERE body MATCH ? AND body.rowid = ?""",
            (query, entry),
        ).fetchone()
        return SearchHit(self._folder / name, number, code, datetime.fromtimestamp(at, UTC), model, text)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _scan_folder(folder: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yields the name, and inode, size and time of change, of each log."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".jsonl") and not entry.name.startswith(".") and entry.name.isprintable():
                with suppress(OSError):
                    status = entry.stat()
                    yield entry.name, (status.st_ino, status.st_size, status.st_mtime_ns)


def _is_replaced(stamp: tuple[int, int, int] | None, inode: int, size: int) -> bool:
    """Whether a log is gone, or another file has its name, or it was truncated."""
    return stamp is None or stamp[0] != inode or stamp[1] < size
