"""Who may use a server: the keys of a file, one a line, each with the name that the log calls it by.

    # the reading room
    q6Zr...  north-window
    Xw0v...

Keeps no key, but what it is known by; knows no HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError

MIN_KEY_LENGTH, MAX_KEY_LENGTH = 16, 512  # characters of a key: what could be guessed, and what is none
MAX_NAME_LENGTH = 64
MAX_FILE_BYTES = 1_000_000  # bytes
BOM = b"\xef\xbb\xbf"  # as some editors begin a file

log = logging.getLogger("asr33.serve")


class KeysNotFound(ModelError):
    """A file of keys that cannot be opened."""

    exit_code = 66


class KeysDamaged(ModelError):
    """A file of keys with a line that is none."""

    exit_code = 65


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    name: str


class ApiKeys:
    """The keys of a file, as it is now."""

    def __init__(self, path: Path) -> None:
        """Raises KeysNotFound, KeysDamaged."""
        self._path = path
        self._file_version: object = None
        self._keys: tuple[_Key, ...] = ()
        self.reload()

    def __len__(self) -> int:
        return len(self._keys)

    def reload(self) -> None:
        """Take the file as it is now; if that cannot be, what was known stays. Raises KeysNotFound, KeysDamaged."""
        try:
            with self._path.open("rb") as file:
                self._file_version = _version_of(os.fstat(file.fileno()))
                mode, data = os.fstat(file.fileno()).st_mode, file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise KeysNotFound(f"{self._path}: {error.strerror}; write one key a line into it") from None
        self._keys = _parse(data, self._path)
        if mode & 0o077 and not _is_credential(self._path):
            log.warning("asr33: %s can be read by others: chmod 600 %s", self._path, self._path)

    def name_of(self, key: str) -> str | None:
        """The name of the key, None for a stranger's. All are compared, so that the time it takes tells nothing."""
        self._reload_if_changed()
        digest, found = _digest(key.encode("utf-8", "surrogateescape")), None
        for known in self._keys:
            if hmac.compare_digest(known.digest, digest):
                found = known.name
        return found

    def _reload_if_changed(self) -> None:
        """A file that has changed is read again; one that is no good now, once."""
        try:
            mark = _version_of(self._path.stat())
        except OSError:
            mark = None
        if mark == self._file_version:
            return
        self._file_version = mark
        try:
            self.reload()
        except ModelError as error:
            log.warning("asr33: %s; the keys before it hold", error)
        else:
            log.info("asr33: %s was read again: %d keys", self._path, len(self))


def _parse(data: bytes, path: Path) -> tuple[_Key, ...]:
    if len(data) > MAX_FILE_BYTES:  # what is cut off could end in mid-key
        raise KeysDamaged(f"{path}: over {MAX_FILE_BYTES:,} bytes, which is no file of keys; write one key a line")
    keys = []
    for number, line in enumerate(data.removeprefix(BOM).splitlines(), 1):
        key, rest = (*line.split(None, 1), b"", b"")[:2]
        if not key or key.startswith(b"#"):
            continue
        if not MIN_KEY_LENGTH <= len(key) <= MAX_KEY_LENGTH or not all(0x21 <= byte <= 0x7E for byte in key):
            raise KeysDamaged(
                f"{path} line {number}: a key has {MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} characters of ASCII, no blank"
            )
        name = "".join(filter(str.isprintable, rest.decode("utf-8", "replace"))).strip()[:MAX_NAME_LENGTH]
        keys.append(_Key(_digest(key), name or f"line {number}"))
    if not keys:
        raise KeysDamaged(f"{path}: no key in it; write one a line, as openssl rand -hex 24 makes them")
    return tuple(keys)


def _digest(key: bytes) -> bytes:
    """Of one length, so that a comparison does not tell that of the key."""
    return hashlib.sha256(key).digest()


def _version_of(status: os.stat_result) -> object:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _is_credential(path: Path) -> bool:
    """systemd keeps these where nobody else comes by, whatever the mode says (systemd.exec(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and Path(str(folder)) in path.parents
