"""The API keys of a server, kept as digests. Each line of the file has a key, a blank, and a name for the log:

# the reading room
q6Zr...  north-window
Xw0v...
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import stat
from pathlib import Path

from model.errors import ModelError
from model.store.regular_file import open_regular

MIN_KEY_LENGTH, MAX_KEY_LENGTH = 16, 512  # characters; a shorter key could be guessed
MAX_NAME_LENGTH = 64
MAX_FILE_BYTES = 1_000_000
BOM = b"\xef\xbb\xbf"  # some editors put it at the start of a file

log = logging.getLogger("asr33.serve")


# SHA-256 of the key, and its name. All digests have one length, so that a comparison does not reveal the key's length.
DigestAndName = tuple[bytes, str]


class ApiKeys:
    """The keys in a file, read again when the file changes."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError."""
        self._path = path
        self._file_version: object = None
        self._keys: list[DigestAndName] = []
        self._read_file()

    def __len__(self) -> int:
        return len(self._keys)

    def reload(self) -> None:
        """Reads the file again and logs the result. If the file has an error, the old keys stay valid."""
        try:
            self._read_file()
        except ModelError as error:
            log.warning("asr33: %s; the old keys stay valid", error)
        else:
            log.info("asr33: %s was read again: %d keys", self._path, len(self))

    def _read_file(self) -> None:
        """Raises ModelError of the kind "missing" or "damaged"."""
        try:
            with open_regular(self._path) as file:
                status = os.fstat(file.fileno())
                self._file_version = _version_of(status)
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ModelError(f"{self._path}: {error.strerror}; make a file, with one key a line", "missing") from None
        self._keys = _parse_keys(data, self._path)
        if status.st_mode & 0o077 and not _is_credential(self._path):
            log.warning("asr33: %s can be read by others: chmod 600 %s", self._path, self._path)

    def name_of(self, key: str) -> str | None:
        """The name of a key, None for an unknown key. Every key is compared, so that the duration reveals nothing."""
        self._reload_if_changed()
        digest, name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest(), None
        for known_digest, known_name in self._keys:
            if hmac.compare_digest(known_digest, digest):
                name = known_name
        return name

    def _reload_if_changed(self) -> None:
        """Reads a changed file again. A version that cannot be read is tried once."""
        try:
            version = _version_of(self._path.stat())
        except OSError:
            version = None
        if version != self._file_version:
            self._file_version = version
            self.reload()


def _parse_keys(data: bytes, path: Path) -> list[DigestAndName]:
    """Raises ModelError, whose message shows no key."""
    if len(data) > MAX_FILE_BYTES:  # the part that was read could end inside a key
        raise ModelError(f"{path}: over {MAX_FILE_BYTES:,} bytes, too much for keys; write one key a line", "damaged")
    keys = []
    for number, line in enumerate(data.removeprefix(BOM).splitlines(), 1):
        key, key_name = (*line.split(None, 1), b"", b"")[:2]
        if not key or key.startswith(b"#"):
            continue
        if not MIN_KEY_LENGTH <= len(key) <= MAX_KEY_LENGTH or not all(0x21 <= byte <= 0x7E for byte in key):
            rule = f"a key has {MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} characters of ASCII, no blank"
            raise ModelError(f"{path} line {number}: {rule}", "damaged")
        name = "".join(filter(str.isprintable, key_name.decode("utf-8", "replace"))).strip()[:MAX_NAME_LENGTH]
        keys.append((hashlib.sha256(key).digest(), name or f"line {number}"))
    if not keys:
        raise ModelError(f"{path}: no key in it; write one a line, as openssl rand -hex 24 makes them", "damaged")
    return keys


def _version_of(status: os.stat_result) -> object:
    if not stat.S_ISREG(status.st_mode):  # the time of a FIFO or a folder changes with each use
        return status.st_mode, status.st_ino
    return status.st_mtime_ns, status.st_size, status.st_ino


def _is_credential(path: Path) -> bool:
    """Whether systemd provides the file, in a folder that is closed to other users (systemd.exec(5), Credentials)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and Path(str(folder)) in path.parents
