"""Replaces a session log by a shorter one, at once or not at all, also while a daemon appends to it.

A daemon that finds another file in the place of its log goes on in a new file. So an open log keeps a second, hidden
name until the daemon has left it; then the records that it has added in the meantime are moved over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from daemon.errors import DaemonError
from daemon.log_file import log_file_mode
from model.store.atomic_file import fsync_path, replace_atomically

RELEASE_TIMEOUT_S = 20.0  # a daemon writes waiting records after a second at most, and a slow disk takes some
POLL_S = 0.05
REPAIR_POLLS = 6
_HELD_SUFFIX, _NEW_SUFFIX = ".forgotten", ".rewritten"
WriteLog = Callable[[BinaryIO, BinaryIO], None]  # from the old file to the new one


@contextlib.contextmanager
def lock_archive(folder: Path) -> Iterator[None]:
    """Lets one command at a time replace logs; completes the work of a killed one. Raises DaemonError, OSError."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DaemonError(f"another command forgets in {folder}: try again when it has ended", "busy") from None
        for path in folder.glob(f".*{_NEW_SUFFIX}"):
            path.unlink()
        for path in folder.glob(f".*{_HELD_SUFFIX}"):
            release_log(path)
        yield
    finally:
        os.close(fd)


def is_in_use(path: Path) -> bool:
    """Whether a daemon appends to the log now. Raises OSError."""
    with path.open("rb") as file:
        for _ in range(REPAIR_POLLS):  # a daemon that starts looks at all logs, and holds each for a moment
            if _try_lock(file):
                return False
            time.sleep(POLL_S)
    return True


def replace_log(path: Path, write: WriteLog) -> Path | None:
    """Replaces a log; returns the hidden name of the old one if a daemon has it open. Raises OSError.

    Then the caller makes the daemon write a record, and calls `release_log` with that name.
    """
    with path.open("rb") as old:
        is_free = _try_lock(old)
        status = os.fstat(old.fileno())
        with replace_atomically(path, path.with_name(f".{path.name}{_NEW_SUFFIX}")) as new_path:
            new_path.touch(0o600)
            new_path.chmod(log_file_mode(path.parent))
            with new_path.open("wb") as new:
                write(old, new)
            if os.geteuid() == 0:
                os.chown(new_path, status.st_uid, status.st_gid)
            os.utime(new_path, ns=(status.st_atime_ns, status.st_mtime_ns))  # logs are deleted by their age
            held = path.with_name(f".{path.name}.{old.tell()}{_HELD_SUFFIX}")
            if not is_free:
                os.link(path, held)
        fsync_path(path.parent)
    return None if is_free else held


def release_log(held: Path, timeout_s: float = RELEASE_TIMEOUT_S) -> None:
    """Waits until the daemon has left the old log, moves its last records to the new one, and deletes it.

    Raises DaemonError if the daemon does not leave it, and OSError.
    """
    name, _, offset = held.name.removesuffix(_HELD_SUFFIX).removeprefix(".").rpartition(".")
    until = time.monotonic() + timeout_s
    with held.open("rb") as old:
        while not _try_lock(old):
            if time.monotonic() > until:
                raise DaemonError(
                    f"the daemon still has {name} open: stop it; the next asr33 log forget completes this one", "busy"
                )
            time.sleep(POLL_S)
        old.seek(int(offset))
        if rest := old.read():
            with held.with_name(name).open("ab") as new:
                new.write(rest)
                new.flush()
                os.fsync(new.fileno())
    held.unlink()
    fsync_path(held.parent)


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
