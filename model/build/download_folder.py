"""The folder of an unfinished pull, `.NAME.pull` beside the models. Does not know the hub.

A file in it is complete and has the right hash, or is a `.part` that a later pull continues. The folder is deleted when
the model is made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from model.build.hub_repository import DownloadRejected, HubFile, RepositoryListing
from model.store.draft import lock_folder, sibling_folder
from model.store.store import pull_is_busy

HASH_READ_BYTES = 1 << 20
SHA256_HEX_DIGITS = 64  # git's sha1 has 40

# Appends the rest of a file. Arguments: name, size and hash, the open file, a callback for the bytes that are there.
FetchFile = Callable[[str, HubFile, BinaryIO, Callable[[int], None]], None]
OnProgress = Callable[[str, int, int], None]  # receives (name of the file, bytes that are there, bytes in all)


@contextmanager
def open_download_folder(models_folder: Path, name: str) -> Iterator[Path]:
    """Yields the folder, locked for this process; keeps partial files that a later pull can continue.

    Raises ModelError while another process pulls the model, and if the folder cannot be made.
    """
    folder = sibling_folder(models_folder / name, "pull")
    with _translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder, pull_is_busy(folder)):
        try:
            yield folder
        except DownloadRejected:
            delete_download_folder(folder)
            raise
        finally:
            _remove_empty_parts(folder)


def _remove_empty_parts(folder: Path) -> None:
    """Deletes empty partial files, and the folder if it is empty then."""
    with suppress(OSError):
        for part in folder.glob("*.part"):
            if part.stat().st_size == 0:
                part.unlink()
        folder.rmdir()


def delete_download_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def fetch_files(
    folder: Path, names: Sequence[str], listing: RepositoryListing, fetch_file: FetchFile, on_progress: OnProgress
) -> None:
    """Fetches the files that are incomplete, and checks their hashes.

    Raises DownloadRejected for a wrong hash or a full disk, and the errors of `fetch_file`.
    """
    for name in names:
        hub_file = listing.files[name]
        with _translate_write_errors(folder):
            if not _is_complete(folder / name, hub_file):
                _fetch_file(folder, name, hub_file, fetch_file, on_progress)


def _fetch_file(folder: Path, name: str, hub_file: HubFile, fetch_file: FetchFile, on_progress: OnProgress) -> None:
    part = folder / f"{name}.{hub_file.digest[:12]}.part"  # another commit's file has another digest
    with part.open("ab") as file:
        if file.tell() > hub_file.bytes:
            file.truncate(0)
        _require_disk_space(folder, hub_file.bytes - file.tell())
        fetch_file(name, hub_file, file, lambda done: on_progress(name, done, hub_file.bytes))
        file.flush()
        os.fsync(file.fileno())
    if not _is_complete(part, hub_file):
        raise DownloadRejected(f"{name}: its hash differs from the hub's; the download is deleted: try again")
    part.replace(folder / name)


def _is_complete(path: Path, hub_file: HubFile) -> bool:
    return path.is_file() and path.stat().st_size == hub_file.bytes and _hub_digest(path, hub_file) == hub_file.digest


def _hub_digest(path: Path, hub_file: HubFile) -> str:
    """The hash that the hub lists: sha256 of a large file, git's blob hash of a small one."""
    is_sha256 = len(hub_file.digest) == SHA256_HEX_DIGITS
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(b"blob %d\0" % hub_file.bytes, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(HASH_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _require_disk_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DownloadRejected(
            f"{folder.parent}: the download needs {needed_bytes / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; "
            "make room, or name another disk in ASR33_MODELS",
            "create",
        )


@contextmanager
def _translate_write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadRejected(
            f"{folder.parent}: cannot be written ({error.strerror or error}); the download is deleted: make room, "
            "or name another disk in ASR33_MODELS",
            "create",
        ) from None
