"""Replaces a file as a whole, so that no reader and no power cut leaves half of it. Knows no content."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replace_atomically(target: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path to write to; after the block it is synced and replaces the target. Raises OSError.

    After an error the temporary file is removed and the target is unchanged. `temporary`: beside the target, by default
    with the process number in its name.
    """
    temporary = temporary or temporary_path(target)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def temporary_path(target: Path) -> Path:
    """Returns the path beside the target that this process writes to first."""
    return target.with_name(f".{target.name}.{os.getpid()}")


def fsync_path(path: Path) -> None:
    """Flushes a file's content, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
