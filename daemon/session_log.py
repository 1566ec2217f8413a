"""The session log: JSON Lines, one record per event, each appended with one write. All statistics come from it.

`t` and all other times are seconds since the start of the session, on the monotonic clock; the first record has the
wall clock too. A record that cannot be written is counted, and logged once: a full disk never stops the paper.

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
    close    the last record of a session that was not killed
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from daemon.errors import DaemonError

VERSION = 1
CLOSED_FD = -1  # never a valid descriptor
# Errors of a full, failing or read-only disk: the session goes on without a log.
DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
LogValue = str | int | float | bool | None | list[int] | dict[str, str]

_log = logging.getLogger("asr33.log")


class SessionLog:
    """An open log. Its seconds count from `started_at`, a monotonic time."""

    def __init__(self, path: Path, started_at: float, fd: int | None = None) -> None:
        """Uses the open file `fd`, or creates a file that only its owner may read. Raises OSError."""
        self.path, self.lost_records = path, 0
        self._started_at = started_at
        self._ends_torn = False
        self._fd = _create_file(path) if fd is None else fd
        # A memory card may take a second to sync; the event loop must not wait for it.
        self._syncer = ThreadPoolExecutor(1, "log-sync")
        self._sync_due = threading.Event()

    def log_time(self, moment: float) -> float:
        """Converts a monotonic time to seconds of the log."""
        return round(moment - self._started_at, 4)

    def write(self, moment: float, ev: str, /, **fields: LogValue) -> None:
        """Appends one record; `moment` is monotonic time."""
        line = json.dumps({"t": self.log_time(moment), "ev": ev, **fields}, ensure_ascii=False, separators=(",", ":"))
        # Undecodable bytes of a path are written as JSON escapes such as \\udcff.
        self._append(line.encode("utf-8", "backslashreplace") + b"\n")

    def sync(self) -> None:
        """Starts a sync to disk; returns at once."""
        if not self._sync_due.is_set():
            self._sync_due.set()
            self._syncer.submit(self._sync)

    def close(self) -> None:
        """Syncs and closes; a later record is counted as lost."""
        self._syncer.shutdown()
        self._sync()
        os.close(self._fd)
        self._fd = CLOSED_FD

    def _append(self, record: bytes) -> None:
        if self._ends_torn:
            record = b"\n" + record
        try:
            written = os.write(self._fd, record)
        except OSError as error:
            self._count_lost_record(error)
            return
        # A full disk may cut a record; the next one then begins on a new line.
        self._ends_torn = written < len(record)
        if self._ends_torn:
            self._count_lost_record(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _count_lost_record(self, error: OSError) -> None:
        self.lost_records += 1
        if self.lost_records == 1:
            _log.error("%s: %s; the paper goes on, its record has a gap: make room", self.path, error.strerror)

    def _sync(self) -> None:
        self._sync_due.clear()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._count_lost_record(error)


def open_new_log(folder: Path, now: datetime, started_at: float) -> SessionLog:
    """Creates a log in the folder, after it has repaired the logs that a power failure tore.

    With a full or failing disk it logs an error and returns a log that writes nothing. Raises DaemonError("create") if
    the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in repair_torn_logs(folder):
            _log.warning("%s: its last record was torn, and was cut off", path)
        return _create_unique_log(folder, now, started_at)
    except OSError as error:
        if error.errno in DISK_ERRNOS:
            _log.error("%s: %s; this session goes on with no record", folder, error.strerror)
            return SessionLog(Path(os.devnull), started_at, os.open(os.devnull, os.O_WRONLY))
        message = f"no session can be kept in {folder}: {error.strerror}; choose another with --log"
        raise DaemonError(message, "create") from None


def _create_unique_log(folder: Path, now: datetime, started_at: float) -> SessionLog:
    """Names the log by its time; a second log within the same second gets a number."""
    stem = now.strftime("%Y%m%dT%H%M%S")
    for number in itertools.count(1):
        name = f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl"
        with contextlib.suppress(FileExistsError):
            return SessionLog(folder / name, started_at)
    raise AssertionError("count ends")


def _create_file(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)  # `repair_torn_logs` of another daemon may hold it for a moment
    _sync_folder(path.parent)
    return file


def repair_torn_logs(folder: Path) -> list[Path]:
    """Cuts torn last records off logs that no daemon writes; returns the repaired ones.

    A file that is locked or not writable is left as it is.
    """
    repaired = []
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _cut_torn_record(file.fileno()):
                repaired.append(path)
    return repaired


def _cut_torn_record(fd: int) -> bool:
    """Truncates the file after its last newline; returns whether a record was cut off."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return False
    end = size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    os.ftruncate(fd, end)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
