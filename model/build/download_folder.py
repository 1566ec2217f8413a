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
from model.build.hub_repository import HubFile, RepositoryListing, RepositoryRefused

HASH_READ_BYTES = 1 << 20
SHA256_HEX_DIGITS = 64  # hex digits; git's sha1 has 40

# Writes the rest of a file behind what there is of it; hears how many bytes there are.
FetchFile = Callable[[str, HubFile, BinaryIO, Callable[[int], None]], None]
# Hears (which file, how many bytes there are, of how many).
OnProgress = Callable[[str, int, int], None]


class HashWrong(ModelError):
    """What came is not what the hub told of."""

    exit_code = 65


class NoRoom(ModelError):
    """The disk does not take it."""

    exit_code = 73


def download_folder_path(models_folder: Path, name: str) -> Path:
    return models_folder / f".{name}.pull"


@contextmanager
def open_download_folder(models_folder: Path, name: str) -> Iterator[Path]:
    """The folder, for this process alone. What came in vain is gone afterwards; what can be gone on with stays.

    Raises ModelBusy, and NoRoom where there is no making it.
    """
    folder = download_folder_path(models_folder, name)
    with _report_write_errors(folder):
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
            delete_download_folder(folder)
            raise
        finally:
            _remove_empty_parts(folder)
    finally:
        os.close(handle)


def _remove_empty_parts(folder: Path) -> None:
    """Where nothing came there is nothing to go on with."""
    with suppress(OSError):
        for part in folder.glob("*.part"):
            if part.stat().st_size == 0:
                part.unlink()
        folder.rmdir()


def delete_download_folder(folder: Path) -> None:
    """What was fetched has served."""
    shutil.rmtree(folder, ignore_errors=True)


def fetch_files(
    folder: Path, names: Sequence[str], listing: RepositoryListing, fetch_file: FetchFile, on_progress: OnProgress
) -> None:
    """The files, in the folder and of the right hash. Raises HashWrong, NoRoom, and what `get` raises."""
    for name in names:
        stored = listing.files[name]
        with _report_write_errors(folder):
            if not _is_complete(folder / name, stored):
                _fetch_file(folder, name, stored, fetch_file, on_progress)


def _fetch_file(folder: Path, name: str, hub_file: HubFile, fetch_file: FetchFile, on_progress: OnProgress) -> None:
    part = folder / f"{name}.{hub_file.digest[:12]}.part"  # of another commit's file nothing is gone on with
    with part.open("ab") as file:
        if file.tell() > hub_file.bytes:
            file.truncate(0)
        _require_disk_space(folder, hub_file.bytes - file.tell())
        fetch_file(name, hub_file, file, lambda there: on_progress(name, there, hub_file.bytes))
        file.flush()
        os.fsync(file.fileno())
    if not _is_complete(part, hub_file):
        raise HashWrong(f"{name}: what came is not what the hub told of, by its hash; nothing of it is kept: try again")
    part.replace(folder / name)


def _is_complete(path: Path, hub_file: HubFile) -> bool:
    return path.is_file() and path.stat().st_size == hub_file.bytes and _hub_digest(path, hub_file) == hub_file.digest


def _hub_digest(path: Path, hub_file: HubFile) -> str:
    """As the hub counts it: sha256, or what git calls a file."""
    large = len(hub_file.digest) == SHA256_HEX_DIGITS
    found = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % hub_file.bytes, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(HASH_READ_BYTES):
            found.update(chunk)
    return found.hexdigest()


def _require_disk_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise NoRoom(
            f"{folder.parent}: {needed_bytes / 1e6:,.0f} MB are to come, and there is room for {free / 1e6:,.0f}; "
            "make room, or name another disk in ASR33_MODELS"
        )


@contextmanager
def _report_write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except OSError as error:
        raise NoRoom(
            f"{folder.parent}: cannot be written ({error.strerror or error}); nothing of it is kept: make room there, "
            "or name another disk in ASR33_MODELS"
        ) from None
