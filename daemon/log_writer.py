"""Appends batches of encoded records to the file of a session log, and syncs it within a budget of bytes.

A disk that is full, read-only, failing or not permitted raises nothing: the lost records are counted, and a `gap`
record follows when the disk takes records again. It does not know what the records mean.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.log_file import Change, LogFile, create_unique_file
from model.printable import escape_controls

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

_log = logging.getLogger("asr33.log")


@dataclass(slots=True)
class _Gap:
    """Records that were lost, in seconds of the log; `is_told`: the operator got a message."""

    since: float
    why: str
    lost: int = 0
    is_told: bool = False


@dataclass(slots=True)
class SyncBudget:
    """How many bytes an hour may go to the disk. A sync costs a page, since the disk gets the begun page again.

    While the budget lasts each line of paper is synced; printing without a pause exhausts it, and then a sync waits.
    """

    bytes_per_s: float = 3_000_000 / 3600
    page_bytes: int = 4096
    limit_bytes: float = 65536.0  # saved up while the machine is idle: 16 lines
    saved_bytes: float = 65536.0
    counted_at: float = 0.0

    def spend(self, t: float, written_bytes: int) -> None:
        """Subtracts what was written at `t`, in seconds."""
        income = max(0.0, t - self.counted_at) * self.bytes_per_s
        self.counted_at = max(t, self.counted_at)
        # A debt is forgiven after a minute's income: a machine without pacing would not be synced for hours.
        saved = min(self.limit_bytes, self.saved_bytes + income) - written_bytes
        self.saved_bytes = max(saved, -self.limit_bytes)

    def allows_sync(self) -> bool:
        return self.saved_bytes >= self.page_bytes


class LogWriter:
    """The file of one session log. `path` is the file in use, or, while `is_kept` is False, the file it will begin.

    `header` is the first record, which begins each new file.
    """

    def __init__(self, path: Path) -> None:
        """Begins the file. Raises OSError only if its folder can never be one; no other method raises it."""
        self.path, self.is_kept, self.lost_records = path, False, 0
        self.error: OSError | None = None  # of the last attempt, while no record can be written
        self.header = b""
        self.has_unsynced = False
        self._budget = SyncBudget()
        self._wanted_path = path
        self._file: LogFile | None = None
        self._is_closed = False
        self._records_in_file = 0
        self._kept_records = 0  # of the batches that the disk took in part
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
            self._note_lost(error, 0.0, 0.0, records=0)

    @property
    def failure(self) -> str:
        """Why records are lost now, if that was told; otherwise ""."""
        return self._gap.why if self._gap is not None and self._gap.is_told else ""

    def append(self, batch: bytes, records: int, since: float, t: float) -> None:
        """Appends so many records with one write; the first is of `since`, the last of `t`, in seconds of the log."""
        kept_before = self._kept_records
        try:
            self._append(batch, records, t)
        except OSError as error:
            kept = self._kept_records - kept_before
            if 0 < kept < records:
                since = json.loads(batch.splitlines()[kept])["t"]
            self._note_lost(error, since, t, records - kept)

    def sync_within_budget(self) -> bool:
        """Starts a sync if the budget allows it; returns whether it did."""
        if self._budget.allows_sync():
            self.sync()
        return not self.has_unsynced

    def sync(self) -> None:
        """Starts a sync to disk if anything is unsynced; returns at once."""
        if not self.has_unsynced:
            return
        self.has_unsynced = False
        self._budget.spend(self._budget.counted_at, self._budget.page_bytes)
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

    def _append(self, batch: bytes, records: int, t: float) -> None:
        """Appends records, after the gap before them and, in a new file, the first record. Raises OSError."""
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
        header, is_header = b"", batch == self.header
        if self._file.size == 0 and not is_header:
            header = self.header
        lines = header + (batch + self._gap_record(t) if is_header else self._gap_record(t) + batch)
        size_before = self._file.size
        try:
            # Of a batch on a disk that becomes full now, the first records stay.
            self._file.append(lines, keeps_first=self._gap is None and not header)
        except OSError:
            kept = lines[: self._file.size - size_before].count(b"\n") if self._gap is None and not header else 0
            self._kept_records, self._records_in_file = self._kept_records + kept, self._records_in_file + kept
            raise
        self._budget.spend(t, len(lines))
        self._records_in_file += records
        self.error, self.has_unsynced = None, True
        if self._gap is not None:
            if self._gap.is_told:
                _log.warning("%s: the record goes on, after %.0f s", self.path, t - self._gap.since)
            self._gap = None

    def _gap_record(self, t: float) -> bytes:
        if self._gap is None:
            return b""
        fields = {"from": self._gap.since, "to": t, "lost": self._gap.lost, "why": self._gap.why}
        return encode_record(t, "gap", fields)

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

    def _note_lost(self, error: OSError, since: float, t: float, records: int) -> None:
        """Counts lost records; reports the first of a gap."""
        self.lost_records += records
        self.error = error
        if self._gap is None:
            self._gap = _Gap(since, error.strerror or str(error))
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


def encode_record(t: float, ev: str, fields: Mapping[str, Any]) -> bytes:
    """Returns the line of a record. It has no control character, and stays JSON whatever is in the fields."""
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
