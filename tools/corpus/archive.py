"""What was handed over - a file, a folder or a ZIP - as members with names, each read as a stream.

Nothing is unpacked, no link is followed, no name from inside becomes a path on this disk. It does not know what is in
the members: a ZIP inside a ZIP, or in a folder, is a member like any other.
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

from tools.corpus.errors import CorpusNotFound, MemberError
from tools.corpus.record import DamagedItem

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_MEMBER_BYTES = 4 << 30  # bytes of one member, unpacked
MAX_COMPRESSION_RATIO = 200  # times: no text packs better than this by deflate, but for a bomb
RATIO_CHECK_BYTES = 64 << 20  # bytes from which that is looked at
HEAD_BYTES = 4096
CHUNK_BYTES = 1 << 16
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the first member's header, or the end of a ZIP that has none
UTF8_NAME_FLAG = 1 << 11  # of a ZIP entry's flags: APPNOTE.TXT 4.4.4, bit 11

_READ_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,  # encrypted
    NotImplementedError,  # packed in a way that Python does not know
    UnicodeDecodeError,  # a name
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One file. `name` is its path inside what was handed over, with slashes; `place` tells it to a person."""

    name: str
    location: str
    size: int
    open_raw: Callable[[], IO[bytes]]

    def open(self) -> IO[bytes]:
        """Its bytes from the start. Raises MemberRefused where they cannot be had; so does reading them."""
        try:
            return io.BufferedReader(_MemberStream(self.open_raw(), self.location), CHUNK_BYTES)
        except _READ_ERRORS as error:
            raise MemberError(f"{self.location}: {_error_text(error)}") from None

    def read_head(self, count: int = HEAD_BYTES) -> bytes:
        """Its first bytes, to look at. Raises MemberRefused."""
        with self.open() as file:
            return file.read(count)


class _MemberStream(io.RawIOBase):
    """A stream whose faults name the member."""

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
        except _READ_ERRORS as error:
            raise MemberError(f"{self._location}: {_error_text(error)}") from None
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except _READ_ERRORS as error:
            raise MemberError(f"{self._location}: {_error_text(error)}") from None

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def read_bytes(file: IO[bytes], member: Member, count: int = -1) -> bytes:
    """So many bytes, or all. Raises MemberRefused where the member is damaged."""
    try:
        return file.read(count)
    except _READ_ERRORS as error:
        raise MemberError(f"{member.location}: {_error_text(error)}") from None


def iter_members(path: Path) -> Iterator[Member | DamagedItem]:
    """All that can be read under the path, by name; what cannot is told and gone over. Raises CorpusNotFound."""
    try:
        mode = path.stat().st_mode  # a link that a person names himself is meant
    except OSError as error:
        raise CorpusNotFound(f"{path}: {error.strerror}; name a file, a folder or a ZIP that can be read") from None
    if stat.S_ISDIR(mode):
        yield from _iter_folder(path)
    elif not stat.S_ISREG(mode):
        raise CorpusNotFound(f"{path}: neither a file nor a folder; name a file, a folder or a ZIP")
    else:
        alone = Member(path.name, str(path), path.stat().st_size, partial(_open_file, path))
        yield from _iter_zip(path) if is_zip(alone) else [alone]


def is_zip(member: Member) -> bool:
    """Whether it begins as a ZIP does, whole or not. A program with a ZIP behind it is none."""
    try:
        return member.read_head(4) in ZIP_MAGIC
    except MemberError:
        return False


def _iter_folder(top: Path) -> Iterator[Member | DamagedItem]:
    closed: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=closed.append, followlinks=False):
        for name in sorted(folders):
            if _is_symlink(Path(folder) / name):
                yield DamagedItem(str(Path(folder) / name), "a link, which is not followed")
        folders.sort()
        for name in sorted(names):
            yield _file_member(top, Path(folder) / name)
    for error in closed:
        yield DamagedItem(str(error.filename), f"a folder that cannot be read: {error.strerror}")


def _is_symlink(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # whatever it is, going into it will be told
        return False


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _file_member(top: Path, path: Path) -> Member | DamagedItem:
    try:
        found = path.lstat()
    except OSError as error:
        return DamagedItem(str(path), error.strerror or "it cannot be read")
    if stat.S_ISLNK(found.st_mode):
        return DamagedItem(str(path), "a link, which is not followed")
    if not stat.S_ISREG(found.st_mode):
        return DamagedItem(str(path), "not a file")
    return Member(path.relative_to(top).as_posix(), str(path), found.st_size, partial(_open_file, path))


def _iter_zip(path: Path) -> Iterator[Member | DamagedItem]:
    try:
        archive = zipfile.ZipFile(cast(IO[bytes], _ReopeningFile(path)))
    except (*_READ_ERRORS, ValueError) as error:
        yield DamagedItem(str(path), f"not a whole ZIP ({_error_text(error)}); fetch it again")
        return
    entries = archive.infolist()
    if fault := _archive_rejection(entries, path.stat().st_size):
        yield DamagedItem(str(path), fault)
        return
    for name, entry in sorted(((_entry_name(entry), entry) for entry in entries), key=lambda pair: pair[0]):
        if name.endswith("/"):
            continue
        place = f"{path}: {name}"
        if fault := _entry_rejection(name, entry):
            yield DamagedItem(place, fault)
        else:
            yield Member(name, place, entry.file_size, partial(archive.open, entry))


class _ReopeningFile:
    """A file that is open only while it is read from: a folder may have more ZIPs than a process may have files open.

    It has what ZipFile asks of a file.
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
        at = offset + (self._path.stat().st_size if start is None else start)
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = at
        return at

    def read(self, count: int = -1) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read(count)
        self._position += len(data)
        return data


def _entry_name(entry: zipfile.ZipInfo) -> str:
    """Its name, with slashes, though some programs of Windows write it otherwise. Others write UTF-8 and do not say so,
    and Python then reads the IBM PC's first code page."""
    name = entry.filename
    if not (entry.flag_bits & UTF8_NAME_FLAG or name.isascii()):
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _archive_rejection(entries: list[zipfile.ZipInfo], size: int) -> str:
    """Why a whole archive is not to be touched; empty if it may be."""
    if sum(entry.compress_size for entry in entries) > size:
        return "its members lie over each other: no archive, but a bomb"
    whole = sum(entry.file_size for entry in entries if entry.file_size <= MAX_MEMBER_BYTES)
    if whole > RATIO_CHECK_BYTES and whole > MAX_COMPRESSION_RATIO * size:
        return f"{whole / size:.0f} times its packed size: no texts, but a bomb"
    return ""


def _entry_rejection(name: str, entry: zipfile.ZipInfo) -> str:
    """Why a member is not to be touched; empty if it may be."""
    parts = name.split("/")
    if ".." in parts or not parts[0] or ":" in parts[0][:2]:
        return "its name leads out of the archive"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link, which is not followed"
    if entry.flag_bits & 1:
        return "encrypted; give a ZIP without a password"
    if entry.file_size > MAX_MEMBER_BYTES:
        return f"{entry.file_size / 1e9:.1f} GB, more than any text; take it out of the archive and give it by itself"
    if entry.file_size > RATIO_CHECK_BYTES and entry.file_size > MAX_COMPRESSION_RATIO * max(1, entry.compress_size):
        return f"{entry.file_size / max(1, entry.compress_size):.0f} times its packed size: no text, but a bomb"
    return ""


def _error_text(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
