"""The folder that a pull fetches into: each file whole and of the right hash, or begun and gone on with.

It lies beside the models, as `.NAME.pull`, and is gone when the model is made. Who fetches it does not know.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from model.errors import ModelBusy, ModelError
from model.repository import Listing, RepositoryRefused, Stored

CHUNK = 1 << 20
SHA256 = 64  # hex digits; git's sha1 has 40

# Writes the rest of a file behind what there is of it; hears how many bytes there are.
Fetch = Callable[[str, Stored, BinaryIO, Callable[[int], None]], None]
# Hears (which file, how many bytes there are, of how many).
Progress = Callable[[str, int, int], None]


class HashWrong(ModelError):
    """What came is not what the hub told of."""

    exit_code = 65


class NoRoom(ModelError):
    """The disk does not take it."""

    exit_code = 73


def folder_of(home: Path, name: str) -> Path:
    return home / f".{name}.pull"


@contextmanager
def place(home: Path, name: str) -> Iterator[Path]:
    """The folder, for this process alone. What came in vain is gone afterwards; what can be gone on with stays.

    Raises ModelBusy, and NoRoom where there is no making it.
    """
    folder = folder_of(home, name)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelBusy(f"{folder}: another process pulls this model; let it end, or stop it") from None
        try:
            yield folder
        except (HashWrong, NoRoom, RepositoryRefused):
            clear(folder)
            raise
        finally:
            _tidy(folder)
    finally:
        os.close(handle)


def _tidy(folder: Path) -> None:
    """Where nothing came there is nothing to go on with."""
    with suppress(OSError):
        for part in folder.glob("*.part"):
            if part.stat().st_size == 0:
                part.unlink()
        folder.rmdir()


def clear(folder: Path) -> None:
    """What was fetched has served."""
    shutil.rmtree(folder, ignore_errors=True)


def fetch(folder: Path, names: Sequence[str], listing: Listing, get: Fetch, progress: Progress) -> None:
    """The files, in the folder and of the right hash. Raises HashWrong, NoRoom, and what `get` raises."""
    for name in names:
        stored = listing.files[name]
        with _writing(folder):
            if not _whole(folder / name, stored):
                _one(folder, name, stored, get, progress)


def _one(folder: Path, name: str, stored: Stored, get: Fetch, progress: Progress) -> None:
    part = folder / f"{name}.{stored.digest[:12]}.part"  # of another commit's file nothing is gone on with
    with part.open("ab") as file:
        if file.tell() > stored.bytes:
            file.truncate(0)
        _require_room(folder, stored.bytes - file.tell())
        get(name, stored, file, lambda there: progress(name, there, stored.bytes))
        file.flush()
        os.fsync(file.fileno())
    if not _whole(part, stored):
        raise HashWrong(f"{name}: what came is not what the hub told of, by its hash; nothing of it is kept: try again")
    part.replace(folder / name)


def _whole(path: Path, stored: Stored) -> bool:
    return path.is_file() and path.stat().st_size == stored.bytes and _digest(path, stored) == stored.digest


def _digest(path: Path, stored: Stored) -> str:
    """As the hub counts it: sha256, or what git calls a file."""
    large = len(stored.digest) == SHA256
    found = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % stored.bytes, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _require_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise NoRoom(
            f"{folder.parent}: {wanted / 1e6:,.0f} MB are to come, and there is room for {free / 1e6:,.0f}; "
            "make room, or name another disk in ASR33_MODELS"
        )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except OSError as error:
        raise NoRoom(
            f"{folder.parent}: cannot be written ({error.strerror or error}); nothing of it is kept: make room there, "
            "or name another disk in ASR33_MODELS"
        ) from None
