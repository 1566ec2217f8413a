"""Where a command's output goes: standard output, a word at the terminal, a file that grows, a file in one piece.

Knows that outputs can be closed, full, or a reader who has left; nothing of paper.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class OutputLost(Exception):
    """What is printed here can be kept nowhere. `exit_code` is EX_IOERR of sysexits.h."""

    exit_code: ClassVar[int] = 74


def print_message(line: str) -> None:
    """To whoever sits at the terminal; nobody there is no error."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Standard output takes what is written in here. Raises OutputLost, and BrokenPipeError if its reader has left."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _stdout_error(error.strerror or "it is closed") from None


def check_stdout() -> None:
    """Raises OutputLost if standard output was closed by whoever started us."""
    if sys.stdout is None:
        raise _stdout_error("it is closed")


def _stdout_error(reason: str) -> OutputLost:
    return OutputLost(f"the paper can go nowhere ({reason}): give standard output a place that takes it")


class AppendFile:
    """A file that grows, there at once for whoever follows it. A full disk ends it in a word to `tell`."""

    def __init__(
        self,
        path: Path,
        mode: Literal["wb", "ab"] = "wb",
        contents: str = "strikes",
        on_error: Callable[[str], None] = print_message,
    ) -> None:
        self._path = path
        self._contents = contents
        self._on_error = on_error
        try:
            self._file = path.open(mode, buffering=0)
        except OSError as error:
            raise write_error(path, error) from None

    def write(self, data: bytes) -> None:
        if self._file.closed:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self.close()
            self._on_error(
                f"asr33 virtual: no more {self._contents} go to {self._path} ({error.strerror}); the paper goes on"
            )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def check_writable(path: Path) -> None:
    """Nothing is changed. Raises OutputLost if `put` could not write there."""
    place, beside = _target_and_temporary(path)
    try:
        if beside is None:
            place.open("ab").close()
        else:
            beside.touch()
            beside.unlink()
    except OSError as error:
        raise write_error(path, error) from None


def write_atomic(path: Path, data: bytes) -> None:
    """The whole of a file, in the place of what was there; all or nothing. Raises OutputLost."""
    place, beside = _target_and_temporary(path)
    try:
        if beside is None:
            place.write_bytes(data)
            return
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    except OSError as error:
        if beside is not None:
            with contextlib.suppress(OSError):
                beside.unlink()
        raise write_error(path, error) from None


def _target_and_temporary(path: Path) -> tuple[Path, Path | None]:
    """The file that a link leads to, and where it is written first; nowhere, if it is no plain file."""
    place = path.resolve()
    plain = place.is_file() or not place.exists()
    return place, place.with_name(f".{place.name}.{os.getpid()}") if plain else None


def write_error(path: Path, error: OSError) -> OutputLost:
    """Why a file cannot be written, and what helps."""
    cure = (
        "make room, or name a file on another disk" if error.errno in _DISK_FULL else "name a file in a folder of yours"
    )
    return OutputLost(f"{path} cannot be written ({error.strerror}): {cure}")
