"""The session log: JSON Lines, a record per event, appended with one write each. All else is derived from it.

Times (`t` and every other number of seconds) are seconds since the session began, on the monotonic clock;
the first record has the wall clock's. A record that cannot be written is counted and told of once: a full
disk never stops the paper.

The records, by `ev`:

    session  the first: version, wall and monotonic clock at its beginning, and what it runs with
    typed    a line that was submitted: text
    prompt   what the model was given: text, seed
    piece    text and tokens, `made` when the last token existed, `t` when the paper asked for it
    forgot   the context was full: so many `characters` went, the oldest lines of what the model is given
    end      an answer is over: how it ended in the model's words, or "break", "error", "lost", "stopped"
    tx       a byte given to the line: b (hex), q when queued, at when its strike begins, col
    rx       a byte from the line, parity and all: b (hex), and bad if it came damaged
    break    the route it came by, and how many characters were not struck for it
    error    what the model refused, and why: text
    lost     the line hung up: text
    found    it is back: line, and `again`, how many characters of the line it was in are struck once more
    learned  of the machine, by its behaviour: what ("parity", "duplex") and its value
    paused   the operator pressed ^S
    resumed  printing goes on: `after` so many seconds, `forgotten` if nobody had ended the pause
    answerback  the drum's answer to ENQ: b (hex, raw), empty if there was none
    garbled  half duplex: a character came back as another: sent, b (hex)
    motor    it was switched: on, and when off `ran`, the seconds it had run
    tape     a prompt was read from tape: rows (hex, raw)
    lent     the machine was lent to a command; `returned` ends that
    close    the last: the session was ended, not killed
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

from daemon.errors import LogUnmakable

VERSION = 1
CLOSED_FD = -1  # no file's number, and no other's later
# A disk that is full, failing or read-only is not the operator's mistake, and no reason to keep the paper still.
DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
LogValue = str | int | float | bool | None | list[int] | dict[str, str]

_log = logging.getLogger("asr33.log")


class SessionLog:
    """An open log. `begun` is the monotonic time that the log's seconds count from."""

    def __init__(self, path: Path, started_at: float, fd: int | None = None) -> None:
        """Creates the file, readable by its owner alone: people type into it in public. Raises OSError."""
        self.path = path
        self.lost_records = 0
        self._started_at = started_at
        self._ends_torn = False
        self._fd = _create_file(path) if fd is None else fd
        # A memory card can take a second over a sync; the wheel does not wait for it.
        self._syncer = ThreadPoolExecutor(1, "log-sync")
        self._sync_due = threading.Event()

    def log_time(self, moment: float) -> float:
        """A monotonic time as the log writes it."""
        return round(moment - self._started_at, 4)

    def write(self, moment: float, ev: str, /, **fields: LogValue) -> None:
        """Append one record of that monotonic moment."""
        line = json.dumps({"t": self.log_time(moment), "ev": ev, **fields}, ensure_ascii=False, separators=(",", ":"))
        # A path may hold bytes that are no text; they come out as the \\udcff that JSON has for them.
        self._append(line.encode("utf-8", "backslashreplace") + b"\n")

    def sync(self) -> None:
        """Ask for what was written to reach the disk; returns at once."""
        if not self._sync_due.is_set():
            self._sync_due.set()
            self._syncer.submit(self._sync)

    def close(self) -> None:
        """Sync and close; what is written after that is lost, and does no harm."""
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
        # Half a record at the end of a full disk: the next one begins on a line of its own.
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
    """A new log in the folder, which is made if need be, after mending those that a power failure tore.

    On a sick disk the session goes on with no record, and says so. Raises LogUnmakable where the folder is wrong.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mended in repair_torn_logs(folder):
            _log.warning("%s: its last record was torn, and was cut off", mended)
        return _create_unique_log(folder, now, started_at)
    except OSError as error:
        if error.errno in DISK_ERRNOS:
            _log.error("%s: %s; this session goes on with no record", folder, error.strerror)
            return SessionLog(Path(os.devnull), started_at, os.open(os.devnull, os.O_WRONLY))
        raise LogUnmakable(f"no session can be kept in {folder}: {error.strerror}; choose another with --log") from None


def _create_unique_log(folder: Path, now: datetime, started_at: float) -> SessionLog:
    """A name that sorts by time; a number is added where two sessions begin in one second."""
    stem = now.strftime("%Y%m%dT%H%M%S")
    for number in itertools.count(1):
        name = f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl"
        with contextlib.suppress(FileExistsError):
            return SessionLog(folder / name, started_at)
    raise AssertionError("count ends")


def _create_file(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)  # whoever looks for logs to mend holds it for a moment at most
    _sync_folder(path.parent)
    return file


def repair_torn_logs(folder: Path) -> list[Path]:
    """Cut what a power failure left of a last record off the logs that nobody writes; returns those mended.

    What is no log, or not ours to write, is left as it is.
    """
    mended = []
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _cut_torn_record(file.fileno()):
                mended.append(path)
    return mended


def _cut_torn_record(fd: int) -> bool:
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return False
    at = size
    while at > 0:
        step = min(at, 65536)
        newline = os.pread(fd, step, at - step).rfind(b"\n")
        if newline >= 0:
            os.ftruncate(fd, at - step + newline + 1)
            return True
        at -= step
    os.ftruncate(fd, 0)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
