"""Reads a file, a folder or a ZIP as members: names with streams.

Nothing is extracted, no link is followed, and no name in an archive becomes a path on this disk. This module does not
know what the members contain. A ZIP inside a ZIP or a folder is a member like any other.
"""

from __future__ import annotations

import errno
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from tools.cli.errors import ToolError
from tools.corpus.record import DamagedItem

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_MEMBER_BYTES = 4 << 30  # uncompressed size of one member
MAX_COMPRESSION_RATIO = 200  # deflate compresses no text better; more is a ZIP bomb
RATIO_CHECK_BYTES = 64 << 20  # smaller members are not checked for the ratio
HEAD_BYTES = 4096
CHUNK_BYTES = 1 << 16
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # a member's header; the end record of an empty ZIP
UTF8_NAME_FLAG = 1 << 11  # bit 11 of an entry's flags, APPNOTE.TXT 4.4.4

READ_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,  # encrypted
    NotImplementedError,  # unknown compression method
    UnicodeDecodeError,  # a name
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class MemberError(ToolError):
    """A file cannot or must not be read: it is damaged, too large, encrypted, or a bomb."""

    kind = "damaged"


@dataclass(frozen=True, slots=True)
class Member:
    """A file. `name` is its path inside the folder or ZIP, with slashes; `location` identifies it in messages."""

    name: str
    location: str
    size: int
    open_raw: Callable[[], IO[bytes]]

    def open(self) -> io.BufferedReader:
        """Returns a stream of the content. Raises MemberError; so does reading the stream."""
        try:
            return io.BufferedReader(_MemberStream(self.open_raw(), self.location), CHUNK_BYTES)
        except READ_ERRORS as error:
            raise MemberError(f"{self.location}: {_error_text(error)}") from None

    def read_head(self, count: int = HEAD_BYTES) -> bytes:
        """Returns the first bytes. Raises MemberError."""
        with self.open() as file:
            return file.read(count)

    def peek_head(self, count: int = HEAD_BYTES) -> bytes:
        """Returns the first bytes, or b"" if they cannot be read: the importer reports that error."""
        with suppress(MemberError):
            return self.read_head(count)
        return b""


class _MemberStream(io.RawIOBase):
    """A stream whose errors are MemberErrors that name the member."""

    def __init__(self, file: IO[bytes], location: str) -> None:
        self._file = file
        self._location = location

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._file.read(len(view))
        except READ_ERRORS as error:
            raise MemberError(f"{self._location}: {_error_text(error)}") from None
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except READ_ERRORS as error:
            raise MemberError(f"{self._location}: {_error_text(error)}") from None

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def iter_members(path: Path) -> Iterator[Member | DamagedItem]:
    """Yields the members of a path in the order of their names, and a DamagedItem for each unreadable file.

    Raises ToolError ("missing").
    """
    try:
        mode = path.stat().st_mode  # a link that the user names is followed
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}; name a readable file, folder or ZIP", "missing") from None
    if stat.S_ISDIR(mode):
        yield from _iter_folder(path)
    elif not stat.S_ISREG(mode):
        raise ToolError(f"{path}: neither a file nor a folder; name a file, a folder or a ZIP", "missing")
    else:
        member = Member(path.name, str(path), path.stat().st_size, partial(_open_file, path))
        yield from _iter_zip(path) if is_zip(member) else [member]


def is_zip(member: Member) -> bool:
    """Whether the member begins like a ZIP, complete or not. A program with a ZIP at its end does not."""
    return member.peek_head(4) in ZIP_MAGIC


def has_bomb_ratio(size: int, compressed_size: int) -> bool:
    """Whether a large file was compressed better than any text."""
    return size > RATIO_CHECK_BYTES and size > MAX_COMPRESSION_RATIO * compressed_size


def parent_folder(name: str) -> str:
    """Returns the folder of a member's name with its slash, "" at the top."""
    return name[: name.rfind("/") + 1]


def _iter_folder(top: Path) -> Iterator[Member | DamagedItem]:
    errors: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=errors.append, followlinks=False):
        for name in sorted(folders):
            if _is_symlink(Path(folder) / name):
                yield DamagedItem(str(Path(folder) / name), "a link, which is not followed")
        folders.sort()
        for name in sorted(names):
            yield _file_member(top, Path(folder) / name)
    for error in errors:
        yield DamagedItem(str(error.filename), f"a folder that cannot be read: {error.strerror}")


def _is_symlink(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # os.walk reports it
        return False


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _file_member(top: Path, path: Path) -> Member | DamagedItem:
    try:
        info = path.lstat()
    except OSError as error:
        return DamagedItem(str(path), error.strerror or "it cannot be read")
    if stat.S_ISLNK(info.st_mode):
        return DamagedItem(str(path), "a link, which is not followed")
    if not stat.S_ISREG(info.st_mode):
        return DamagedItem(str(path), "not a file")
    return Member(path.relative_to(top).as_posix(), str(path), info.st_size, partial(_open_file, path))


def _iter_zip(path: Path) -> Iterator[Member | DamagedItem]:
    try:
        archive = zipfile.ZipFile(cast(IO[bytes], _ReopeningFile(path)))
    except (*READ_ERRORS, ValueError) as error:
        yield DamagedItem(str(path), f"not a complete ZIP ({_error_text(error)}); fetch it again")
        return
    entries = archive.infolist()
    if fault := _archive_rejection(entries, path.stat().st_size):
        yield DamagedItem(str(path), fault)
        return
    for name, entry in sorted(((_entry_name(entry), entry) for entry in entries), key=lambda pair: pair[0]):
        if name.endswith("/"):
            continue
        location = f"{path}: {name}"
        if fault := _entry_rejection(name, entry):
            yield DamagedItem(location, fault)
        else:
            yield Member(name, location, entry.file_size, partial(archive.open, entry))


class _ReopeningFile:
    """A file that is open only during a read, because a folder may hold more ZIPs than a process may open.

    It has the methods that ZipFile uses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        position = offset + (self._path.stat().st_size if start is None else start)
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = position
        return position

    def read(self, count: int = -1) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read(count)
        self._position += len(data)
        return data


def _entry_name(entry: zipfile.ZipInfo) -> str:
    """Returns the name with slashes; some Windows programs write backslashes.

    Some programs write UTF-8 without setting the flag. Python then decodes the name as code page 437.
    """
    name = entry.filename
    if not (entry.flag_bits & UTF8_NAME_FLAG or name.isascii()):
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _archive_rejection(entries: list[zipfile.ZipInfo], size: int) -> str:
    """Returns why the archive must not be read, or ""."""
    if sum(entry.compress_size for entry in entries) > size:
        return "its members overlap: a ZIP bomb"
    total = sum(entry.file_size for entry in entries if entry.file_size <= MAX_MEMBER_BYTES)
    if has_bomb_ratio(total, size):
        return f"{total / size:.0f} times its compressed size: a ZIP bomb"
    return ""


def _entry_rejection(name: str, entry: zipfile.ZipInfo) -> str:
    """Returns why the member must not be read, or ""."""
    parts = name.split("/")
    if ".." in parts or not parts[0] or ":" in parts[0][:2]:
        return "its name points outside the archive"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link, which is not followed"
    if entry.flag_bits & 1:
        return "encrypted; add a ZIP without a password"
    if entry.file_size > MAX_MEMBER_BYTES:
        return f"{entry.file_size / 1e9:.1f} GB, too large for a text; extract it and add it separately"
    compressed_size = max(1, entry.compress_size)
    if has_bomb_ratio(entry.file_size, compressed_size):
        return f"{entry.file_size / compressed_size:.0f} times its compressed size: a ZIP bomb"
    return ""


def _error_text(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
