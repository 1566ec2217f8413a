"""A file of lines that one process appends to: each line whole, or not at all.

It notices when its file was removed, moved, replaced or truncated by another program. It does not know what the lines
mean.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from model.store.atomic_file import fsync_path

Change = Literal["", "removed", "moved", "truncated"]


def log_file_mode(folder: Path) -> int:
    """Returns the mode of a log: its group reads it where the folder is open to the group and closed to others."""
    return 0o640 if folder.stat().st_mode & 0o047 == 0o040 else 0o600


class LogFile:
    """An open file that only its owner may read, or also the group of its folder. `size`: bytes appended so far."""

    def __init__(self, path: Path) -> None:
        """Creates the file. Raises OSError, FileExistsError among them."""
        self.path, self.size = path, 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        os.fchmod(self._fd, log_file_mode(path.parent))
        self._is_torn = False
        fcntl.flock(self._fd, fcntl.LOCK_EX)  # `repair_torn_files` of another daemon may hold it for a moment
        with contextlib.suppress(OSError):  # a folder that may be written but not read
            fsync_path(path.parent)
        # On a file system whose inode numbers vary, each look would report a change.
        self._is_stable = self.detect_change() == ""

    def detect_change(self) -> Change:
        """Returns what another program did to the file; "" if it is in its place, or if that cannot be known."""
        own = os.fstat(self._fd)
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "moved" if own.st_nlink else "removed"
        except OSError:
            return ""
        if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
            return ("moved" if own.st_nlink else "removed") if getattr(self, "_is_stable", True) else ""
        return "truncated" if own.st_size < self.size else ""

    def restart_if_empty(self) -> bool:
        """After a truncation: returns whether the file is empty, so that it can be begun anew in its place."""
        if os.fstat(self._fd).st_size:
            return False
        self.size, self._is_torn = 0, False
        return True

    def append(self, lines: bytes, *, keeps_first: bool = False) -> None:
        """Appends whole lines, as a rule with one write. Raises OSError; then nothing of them stays in the file.

        With `keeps_first` the first lines stay, as many as a full disk took; `size` says how many bytes they have.
        """
        if self._is_torn:  # the torn line could not be cut off: it is closed as a line of its own
            lines, keeps_first = b"\n" + lines, False
        written = 0
        try:
            while written < len(lines):  # a full disk takes a part first, and the next write tells why
                written += os.write(self._fd, lines[written:])
        except OSError:
            if written:
                self._cut_off(written, lines.rfind(b"\n", 0, written) + 1 if keeps_first else 0)
            raise
        self.size, self._is_torn = self.size + written, False

    def _cut_off(self, written: int, kept: int) -> None:
        try:
            if kept < written:
                os.ftruncate(self._fd, self.size + kept)
            self.size += kept
        except OSError:
            self.size, self._is_torn = self.size + written, True

    def sync(self) -> None:
        """Syncs the file to disk, which may take a second on a memory card. Raises OSError."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # no such thing on this file system
                raise

    def close(self) -> None:
        os.close(self._fd)


def create_unique_file(path: Path) -> LogFile:
    """Creates the file and its folder; if there is such a file, its name gets a number: `name-2`. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for candidate in _numbered_paths(path):
        with contextlib.suppress(FileExistsError):
            return LogFile(candidate)
    raise AssertionError("the numbers do not end")


def _numbered_paths(path: Path) -> Iterator[Path]:
    yield path
    for number in itertools.count(2):
        yield path.with_stem(f"{path.stem}-{number}")


def repair_torn_files(folder: Path) -> list[Path]:
    """Cuts torn last lines off the folder's logs that no daemon writes; returns the repaired ones.

    A file that is locked or not writable is left as it is.
    """
    repaired = []
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _cut_torn_line(file.fileno()):
                repaired.append(path)
    return repaired


def _cut_torn_line(fd: int) -> bool:
    """Truncates the file after its last newline; returns whether a line was cut off."""
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
    status = os.fstat(fd)
    os.ftruncate(fd, end)
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))  # the age of the log is that of its last record
    return True
