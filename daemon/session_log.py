"""The session log: JSON Lines, one record per event, each appended with one write. All statistics come from it.

`t` and all other times are seconds since the start of the session, on the monotonic clock; the first record has the
wall clock too. A disk that is full, read-only, failing or not permitted never stops the paper: the lost records are
counted, and a `gap` record follows when the disk takes records again. A log that was removed, moved or truncated is
begun anew, with the `session` record and a gap.

The records, by `ev`:

    session  the first record: format version, wall clock, monotonic clock, line, model, machine
    typed    the operator submitted a line: text
    prompt   the model got a prompt: text, seed
    piece    a chunk of the answer: text, tokens, `made` when its last token was generated, `t` when the paper took it
    forgot   the context was full: number of `characters` dropped, in the oldest lines
    end      the answer ended: the model's finish reason, or "break", "error", "lost", "stopped"
    tx       a byte sent to the line: b (hex), q when queued, at when its strike begins, col
    rx       a byte received, with its parity bit: b (hex), and bad if it came damaged
    break    the operator pressed BREAK: its route, and the number of unprinted characters
    error    the model failed: text
    lost     the line hung up: text
    found    the line is back: line, and `again`, how many characters are sent again
    learned  a property detected from the machine's behaviour: what ("parity", "duplex"), value
    paused   the operator pressed ^S
    resumed  printing goes on: `after` seconds, `forgotten` if the pause timed out
    answerback  the answer to ENQ: b (hex, raw), empty if there was none
    garbled  half duplex: the echo differs from the character: sent, b (hex)
    motor    the motor was switched: on, and when off `ran`, the seconds it had run
    tape     a prompt was read from tape: rows (hex, raw)
    lent     a command got the machine; `returned`: it is back
    gap      records were lost: `from` and `to`, when; `lost`, how many; `why`. A chunk of an answer may be among them
    close    the last record of a session that was not killed
"""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon.errors import DaemonError
from daemon.log_file import Change, LogFile, create_unique_file, repair_torn_files
from model.printable import escape_controls

VERSION = 1
RETRY_S = 1.0  # between two attempts to begin a log
TELL_INTERVAL_S = 60.0  # a disk that fails on and off is reported no more often
# A path that can never be a folder is a mistake of the configuration; every other error may pass.
IMPOSSIBLE_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
CURES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or raise this user's quota",
    errno.EFBIG: "raise the limit of the file size (ulimit -f)",
    errno.EROFS: "mount the disk writable, or choose another folder with --log",
    errno.EACCES: "let this user write there, or choose another folder with --log",
    errno.EPERM: "let this user write there, or choose another folder with --log",
}
OTHER_CURE = "see to the disk, or choose another folder with --log"
LogValue = str | int | float | bool | None | list[int] | dict[str, str]

_log = logging.getLogger("asr33.log")


@dataclass(slots=True)
class _Gap:
    """Records that were lost, in seconds of the log; `is_told`: the operator got a message."""

    since: float
    why: str
    lost: int = 0
    is_told: bool = False


class SessionLog:
    """The log of one session. Its seconds count from `started_at`, a monotonic time.

    `path` is the file in use, or the file that it will begin once the disk permits it (`is_kept` False).
    """

    def __init__(self, path: Path, started_at: float) -> None:
        """Begins the file. Raises OSError only if its folder can never be one; no other method raises it."""
        self.path, self.is_kept, self.lost_records = path, False, 0
        self.error: OSError | None = None  # of the last attempt, while no record can be written
        self._started_at = started_at
        self._wanted_path = path
        self._file: LogFile | None = None
        self._is_closed = False
        self._header = b""  # the first record, which begins each new file
        self._records_in_file = 0
        self._gap: _Gap | None = None
        self._retry_at = self._tell_at = float("-inf")
        self._sync_due, self._sync_error_told = threading.Event(), False
        self._syncer = _start_syncer()
        try:
            self._begin_file()
        except OSError as error:
            if error.errno in IMPOSSIBLE_FOLDER:
                self.close()
                raise
            self._note_lost(error, 0.0, records=0)

    def log_time(self, moment: float) -> float:
        """Converts a monotonic time to seconds of the log."""
        return round(moment - self._started_at, 4)

    def write(self, moment: float, ev: str, /, **fields: LogValue) -> None:
        """Appends one record; `moment` is monotonic time."""
        t = self.log_time(moment)
        record = _encode_record(t, ev, fields)
        if ev == "session":
            self._header = record
        try:
            self._append(record, t)
        except OSError as error:
            self._note_lost(error, t)

    def sync(self) -> None:
        """Starts a sync to disk; returns at once."""
        if self._syncer is not None and not self._sync_due.is_set():
            self._sync_due.set()
            self._syncer.submit(self._sync)

    def close(self) -> None:
        """Syncs and closes; a later record is counted as lost."""
        if self._syncer is not None:
            self._syncer.shutdown()
        self._sync()
        self._is_closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, record: bytes, t: float) -> None:
        """Appends a record, after the gap before it and, in a new file, the first record. Raises OSError."""
        if self._is_closed:
            raise OSError(errno.EBADF, "the log is closed")
        if self._file is not None and (change := self._file.detect_change()):
            self._note_change(self._file, change, t)
        if self._file is None:
            if self.error is not None and t < self._retry_at:
                raise self.error
            self._retry_at = t + RETRY_S
            self._begin_file()
        assert self._file is not None
        header = self._header if self._file.size == 0 and record != self._header else b""
        gap = b""
        if self._gap is not None:
            fields: dict[str, LogValue] = {
                "from": self._gap.since,
                "to": t,
                "lost": self._gap.lost,
                "why": self._gap.why,
            }
            gap = _encode_record(t, "gap", fields)
        self._file.append(header + (record + gap if record == self._header else gap + record))
        self._records_in_file += 1
        self.error = None
        if self._gap is not None:
            if self._gap.is_told:
                _log.warning("%s: the record goes on, after %.0f s", self.path, t - self._gap.since)
            self._gap = None

    def _begin_file(self) -> None:
        """Creates the file and its folder. Raises OSError."""
        self._file, self._records_in_file = create_unique_file(self._wanted_path), 0
        self.path, self.is_kept = self._file.path, True

    def _note_change(self, file: LogFile, change: Change, t: float) -> None:
        """Leaves a file that another program removed, moved or truncated; the gap is what is no longer in it."""
        lost = 0 if change == "moved" else self._records_in_file
        is_same_file = change == "truncated" and file.restart_if_empty()
        _log.warning("%s was %s; the record is begun anew", self.path, change)
        self._records_in_file = 0
        self._gap = self._gap or _Gap(0.0 if lost else t, f"the file was {change}")
        self._gap.lost += lost
        self.lost_records += lost
        if not is_same_file:
            self._file, self.is_kept = None, False
            self._close_later(file)

    def _close_later(self, file: LogFile) -> None:
        """Closes the file after a sync that may use it now."""
        if self._syncer is None:
            file.close()
        else:
            self._syncer.submit(file.close)

    def _note_lost(self, error: OSError, t: float, records: int = 1) -> None:
        """Counts a lost record; reports the first of a gap."""
        self.lost_records += records
        self.error = error
        if self._gap is None:
            self._gap = _Gap(t, error.strerror or str(error))
        self._gap.lost += records
        if not self._gap.is_told and t >= self._tell_at and not self._is_closed:
            self._gap.is_told, self._tell_at = True, t + TELL_INTERVAL_S
            cure = CURES.get(error.errno or 0, OTHER_CURE)
            _log.error("%s: %s; the paper goes on without a record: %s", self.path, error.strerror, cure)

    def _sync(self) -> None:
        self._sync_due.clear()
        if (file := self._file) is None:
            return
        try:
            file.sync()
        except OSError as error:
            if not self._sync_error_told:
                _log.error("%s: %s; a power failure may lose records: see to the disk", file.path, error.strerror)
            self._sync_error_told = True


def open_new_log(folder: Path, now: datetime, started_at: float) -> SessionLog:
    """Creates a log in the folder, named by the time, after it has repaired the logs that a power failure tore.

    If the disk takes no records now, it reports that; the log begins when the disk does. Raises DaemonError("create")
    if the path can never be a folder.
    """
    for path in _repair_logs(folder):
        _log.warning("%s: its last record was torn, and was cut off", path)
    try:
        return SessionLog(folder / now.strftime("%Y%m%dT%H%M%S.jsonl"), started_at)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DaemonError(
            f"no session can be kept in {folder}: {reason}; choose another with --log", "create"
        ) from None


def _repair_logs(folder: Path) -> list[Path]:
    try:
        return repair_torn_files(folder)
    except (OSError, ValueError):
        return []


def _encode_record(t: float, ev: str, fields: Mapping[str, LogValue]) -> bytes:
    record = json.dumps({"t": t, "ev": ev, **fields}, ensure_ascii=False, separators=(",", ":"))
    line = escape_controls(record)  # it stays JSON
    # Undecodable bytes of a path are written as JSON escapes such as \\udcff.
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _start_syncer() -> ThreadPoolExecutor | None:
    """Starts the thread that syncs: a memory card may take a second, and the event loop must not wait for it."""
    syncer = ThreadPoolExecutor(1, "log-sync")
    try:
        syncer.submit(bool)
    except RuntimeError:  # this process may have no more threads
        _log.error("no thread for the session log; a power failure may lose its last records")
        return None
    return syncer
