"""The file of a spool: one record of JSON a line, appended before a caller is told, and read again after a crash.

A process that is killed loses nothing that was appended; a power cut loses nothing that was synced. A torn last line is
cut off; a damaged file is kept beside the new one. It does not know what the records mean.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.people import ForgetScope
from model.store.atomic_file import fsync_path, replace_atomically

MAX_APPENDED_BYTES = 1 << 20  # then the file is written anew from a snapshot
MAX_FILE_BYTES = 64 << 20
DAMAGED_SUFFIX = ".damaged"

_log = logging.getLogger("asr33")


class SpoolStore:
    """The file of one spool, in a folder of its user alone."""

    def __init__(self, path: Path) -> None:
        """Opens nothing: `read`, then `replace`. Raises OSError if the folder cannot be made."""
        self.path = path
        self._fd, self._lock = -1, threading.Lock()
        self._appended = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read(self, *, keeps_damaged: bool = True) -> list[Mapping[str, Any]]:
        """Returns the records in order, up to the first that is damaged; then it keeps a copy. Raises OSError."""
        try:
            with self.path.open("rb") as file:
                lines = file.read(MAX_FILE_BYTES).split(b"\n")
        except FileNotFoundError:
            return []
        records: list[Mapping[str, Any]] = []
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                if keeps_damaged:
                    self.keep_damaged(f"line {number} is no record")
                break
            records.append(record)
        return records

    def keep_damaged(self, reason: str) -> None:
        """Keeps a copy of the file, before a snapshot replaces it."""
        copy = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
        _log.warning("%s: %s; jobs may be lost, the file is kept as %s", self.path, reason, copy.name)
        with contextlib.suppress(OSError):
            copy.write_bytes(self.path.read_bytes())
            copy.chmod(0o600)

    def remove_copies(self, scope: ForgetScope) -> None:
        """Removes the copy of a damaged file if it has a person's name, or is older. Raises OSError."""
        copy = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
        with contextlib.suppress(FileNotFoundError):
            data = copy.read_bytes()
            name = scope.person.casefold()
            has_name = bool(name) and any(name in text.casefold() for text in _read_forms(data))
            if has_name or scope.has_time(copy.stat().st_mtime):
                copy.unlink()

    def is_held(self) -> bool:
        """Whether another process appends to the file now. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def replace(self, snapshot: Sequence[Mapping[str, Any]]) -> None:
        """Writes the file anew, as a whole. Raises OSError."""
        with replace_atomically(self.path) as temporary:
            temporary.write_bytes(b"")
            temporary.chmod(0o600)
            temporary.write_bytes(_encode(snapshot))
            fd = os.open(temporary, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        fsync_path(self.path.parent)
        self.close()
        with self._lock:
            self._fd = fd
        self._appended = 0

    @property
    def is_long(self) -> bool:
        """Whether the appended part is so long that `replace` is due."""
        return self._appended > MAX_APPENDED_BYTES

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Appends records as a whole; a killed process has them. Raises OSError; then the file is as before."""
        data = _encode(records)
        size = os.fstat(self._fd).st_size
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, size)
            raise
        self._appended += len(data)

    def sync(self) -> None:
        """Returns when the disk has the appended records; may be called in another thread. Raises OSError."""
        with self._lock:
            if self._fd >= 0:  # `replace` and `close` leave nothing to sync
                os.fdatasync(self._fd)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.fdatasync(self._fd)
                os.close(self._fd)
                self._fd = -1


def _encode(records: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)


def _read_forms(data: bytes) -> tuple[str, str]:
    """Returns the text of a damaged file, as it stands and with its characters unescaped."""
    text = data.decode("utf-8", "replace")
    return text, re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
