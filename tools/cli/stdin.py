"""Reads files and standard input whole, but no more than the caller can use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from tools.cli.errors import ToolError
from tools.cli.output import print_message


def read_stdin(noun: str, alternative: str, max_bytes: int) -> bytes:
    """Returns all of standard input; at a terminal it first asks the user to type the `noun`.

    Raises ToolError, which names the `alternative`, if standard input is closed, cannot be read or is too long.
    """
    file = open_stdin(noun, alternative)
    if file.isatty():
        print_message(f"asr33: type the {noun} here; Ctrl-D on a line of its own ends it")
    try:
        return _read_bounded(file, "standard input", max_bytes)
    except OSError as error:
        raise ToolError(f"standard input: {error.strerror}; {alternative}", "missing") from None


def open_stdin(noun: str, alternative: str) -> BinaryIO:
    """Returns standard input. Raises ToolError if it is closed."""
    if sys.stdin is None:
        raise ToolError(f"no {noun}: {alternative}, or pipe one in", "missing")
    return sys.stdin.buffer


def read_file(path: Path, max_bytes: int) -> bytes:
    """Returns the bytes of a file. Raises OSError, and ToolError if it is longer; a device has no end."""
    with path.open("rb") as file:
        return _read_bounded(file, str(path), max_bytes)


def _read_bounded(file: BinaryIO, source: str, max_bytes: int) -> bytes:
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ToolError(f"{source} is longer than {max_bytes:,} bytes: give it in parts", "damaged")
    return data
