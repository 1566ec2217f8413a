"""Deletes the oldest session logs of a folder when it is over its size, or when they are over their age.

A log that a daemon has open is never deleted, nor is a file that is no session log.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import DaemonError

INTERVAL_S = 3600.0
DAY_S = 86_400.0
MB = 1_000_000

_log = logging.getLogger("asr33.log")


@dataclass(frozen=True, slots=True)
class Retention:
    """What a folder of logs keeps; 0: no limit. Age counts from the last record of a log."""

    max_mb: int = 0
    max_days: int = 0

    @property
    def is_limited(self) -> bool:
        return bool(self.max_mb or self.max_days)


@dataclass(frozen=True, slots=True)
class Deleted:
    """The names of the logs that were deleted, and how many bytes they had."""

    names: tuple[str, ...] = ()
    bytes: int = 0


def delete_old_logs(folder: Path, retention: Retention, now: float) -> Deleted:
    """Deletes logs, the oldest first, until the folder is within its limits; `now` is the wall clock in seconds."""
    logs = sorted(_list_logs(folder))
    total, freed, names = sum(size for _, _, size in logs), 0, list[str]()
    for written_at, path, size in logs:
        is_old = retention.max_days > 0 and now - written_at > retention.max_days * DAY_S
        is_over = retention.max_mb > 0 and total > retention.max_mb * MB
        if (is_old or is_over) and _delete_closed(path):
            total, freed = total - size, freed + size
            names.append(path.name)
    return Deleted(tuple(names), freed)


def delete_from_index(folder: Path, names: Sequence[str]) -> None:
    """Removes the texts of these logs from the index of `asr33 log`, if there is one. Raises DaemonError, OSError."""
    from daemon.archive import session_index

    if names and (folder / session_index.FILE_NAME).exists():
        with session_index.open_index(folder) as index:
            index.remove_sessions(names)


async def delete_old_logs_forever(folder: Path, retention: Retention, report: Callable[[Deleted], None]) -> None:
    """Keeps the folder within its limits, and calls `report` after each deletion; never returns."""
    while True:
        deleted = await asyncio.to_thread(delete_old_logs, folder, retention, time.time())
        if deleted.names:
            limits = [f"max_mb = {retention.max_mb}"] if retention.max_mb else []
            limits += [f"max_days = {retention.max_days}"] if retention.max_days else []
            noun = "log" if len(deleted.names) == 1 else "logs"
            _log.warning(
                "%s: deleted the oldest %d session %s of %.1f MB, as [log] %s demands",
                *(folder, len(deleted.names), noun, deleted.bytes / MB, " and ".join(limits)),
            )
            report(deleted)
            try:
                await asyncio.to_thread(delete_from_index, folder, deleted.names)
            except (DaemonError, OSError) as error:  # the next search finds that the logs are gone
                _log.warning("%s", error)
        await asyncio.sleep(INTERVAL_S)


def _list_logs(folder: Path) -> list[tuple[float, Path, int]]:
    """Returns the time of the last record, the path and the size of each log."""
    logs = []
    with contextlib.suppress(OSError):
        for path in folder.glob("*.jsonl"):
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    status = path.stat()
                    logs.append((status.st_mtime, path, status.st_size))
    return logs


def _delete_closed(path: Path) -> bool:
    """Deletes a log that no daemon holds; returns whether it did."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:
        return False
    return True
