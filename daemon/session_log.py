"""The session log: JSON Lines, a record per event, appended with one write each. All else is derived from it.

Times (`t` and every other number of seconds) are seconds since the session began, on the monotonic clock;
the first record has the wall clock's. A record that cannot be written is counted and told of once: a full
disk never stops the paper.

The records, by `ev`:

    session  the first: version, wall and monotonic clock at its beginning, and what it runs with
    typed    a line that was submitted: text
    prompt   what the model was given: text, seed
    piece    text and tokens, `made` when the last token existed, `t` when the paper asked for it
    end      an answer is over: finish (or "break")
    tx       a byte given to the line: b (hex), q when queued, at when its strike begins, col
    rx       a byte from the line, parity and all: b (hex)
    break    the route it came by, and how many characters were not struck for it
    error    a line for the operator: text
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from daemon.errors import LogUnmakable

VERSION = 1
Value = str | int | float | bool | None | list[int] | dict[str, str]

_log = logging.getLogger("asr33.log")


class SessionLog:
    """An open log. `begun` is the monotonic time that the log's seconds count from."""

    def __init__(self, path: Path, begun: float) -> None:
        """Creates the file, readable by its owner alone: people type into it in public. Raises OSError."""
        self.path = path
        self.lost = 0
        self._begun = begun
        self._torn = False
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_folder(path.parent)
        # A memory card can take a second over a sync; the wheel does not wait for it.
        self._syncer = ThreadPoolExecutor(1, "log-sync")
        self._sync_due = threading.Event()

    def since(self, moment: float) -> float:
        """A monotonic time as the log writes it."""
        return round(moment - self._begun, 4)

    def write(self, moment: float, ev: str, /, **fields: Value) -> None:
        """Append one record of that monotonic moment."""
        line = json.dumps({"t": self.since(moment), "ev": ev, **fields}, ensure_ascii=False, separators=(",", ":"))
        self._append(line.encode() + b"\n")

    def sync(self) -> None:
        """Ask for what was written to reach the disk; returns at once."""
        if not self._sync_due.is_set():
            self._sync_due.set()
            self._syncer.submit(self._sync)

    def close(self) -> None:
        self._syncer.shutdown()
        self._sync()
        os.close(self._file)

    def _append(self, record: bytes) -> None:
        if self._torn:
            record = b"\n" + record
        try:
            written = os.write(self._file, record)
        except OSError as error:
            self._miss(error)
            return
        # Half a record at the end of a full disk: the next one begins on a line of its own.
        self._torn = written < len(record)
        if self._torn:
            self._miss(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _miss(self, error: OSError) -> None:
        self.lost += 1
        if self.lost == 1:
            _log.error("%s: %s; the paper goes on, its record has a gap: make room", self.path, error.strerror)

    def _sync(self) -> None:
        self._sync_due.clear()
        try:
            os.fdatasync(self._file)
        except OSError as error:
            self._miss(error)


def begin(folder: Path, now: datetime, begun: float) -> SessionLog:
    """A new log in the folder, which is made if need be, after mending those that a power failure tore.

    Raises LogUnmakable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for mended in repair(folder):
            _log.warning("%s: its last record was torn, and was cut off", mended)
        return SessionLog(new_path(folder, now), begun)
    except OSError as error:
        raise LogUnmakable(f"no session can be kept in {folder}: {error.strerror}; choose another with --log") from None


def new_path(folder: Path, now: datetime) -> Path:
    """A name that sorts by time; a number is added where two sessions begin in one second."""
    stem = now.strftime("%Y%m%dT%H%M%S")
    names = [f"{stem}.jsonl", *(f"{stem}-{number}.jsonl" for number in range(2, 100))]
    return next(path for path in (folder / name for name in names) if not path.exists())


def repair(folder: Path) -> list[Path]:
    """Cut what a power failure left of a last record off the logs that nobody writes; returns those mended."""
    mended = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _cut_torn_record(file.fileno()):
                mended.append(path)
    return mended


def _cut_torn_record(file: int) -> bool:
    size = os.fstat(file).st_size
    if size == 0 or os.pread(file, 1, size - 1) == b"\n":
        return False
    at = size
    while at > 0:
        step = min(at, 65536)
        newline = os.pread(file, step, at - step).rfind(b"\n")
        if newline >= 0:
            os.ftruncate(file, at - step + newline + 1)
            return True
        at -= step
    os.ftruncate(file, 0)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
