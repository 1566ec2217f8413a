"""The outputs of a command: standard output, messages on standard error, a file that is replaced as a whole.

It handles outputs that are closed, are full, or lose their reader.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from model.printable import escape_controls
from model.store.atomic_file import replace_atomically, temporary_path
from tools.cli.errors import ToolError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def print_message(line: str) -> None:
    """Writes one line to standard error, or nothing if that is closed; the line may have names from anywhere."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(escape_controls(line) + "\n")
            sys.stderr.flush()


def print_output(text: str) -> None:
    """Writes text to standard output: to a terminal without the characters that act on it, elsewhere as it is."""
    sys.stdout.write(escape_controls(text, keep="\n\t") if sys.stdout.isatty() else text)
    sys.stdout.flush()


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Raises ToolError for a failed write to standard output; BrokenPipeError passes, since its reader has left."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _stdout_error(error.strerror or "it is closed") from None


def check_stdout() -> None:
    """Raises ToolError if standard output was closed before the command started."""
    if sys.stdout is None:
        raise _stdout_error("it is closed")


def _stdout_error(reason: str) -> ToolError:
    return ToolError(f"standard output cannot be written ({reason}): redirect it to a file or a terminal", "output")


def terminal_width(stream: TextIO) -> int:
    """Returns the columns of the stream's terminal; 80 if it does not report them."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80


def check_writable(path: Path) -> None:
    """Raises ToolError if `write_atomic` could not write there; changes nothing."""
    target = path.resolve()
    try:
        if _is_replaceable(target):
            temporary = temporary_path(target)
            temporary.touch()
            temporary.unlink()
        else:
            target.open("ab").close()
    except OSError as error:
        raise write_error(path, error) from None


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces the whole file or leaves it unchanged; follows links, and writes a device directly. Raises ToolError."""
    target = path.resolve()
    try:
        with replace_atomically(target) if _is_replaceable(target) else contextlib.nullcontext(target) as file:
            file.write_bytes(data)
    except OSError as error:
        raise write_error(path, error) from None


def _is_replaceable(target: Path) -> bool:
    """Whether the target is a plain file or does not exist yet. A device or a pipe is never replaced."""
    return target.is_file() or not target.exists()


def write_error(path: Path, error: OSError) -> ToolError:
    """Returns an error that names the file, the reason and the cure."""
    is_full = error.errno in _DISK_FULL
    cure = "make room, or name a file on another disk" if is_full else "name a file in a folder of yours"
    return ToolError(f"{path} cannot be written ({error.strerror}): {cure}", "output")
