"""Reads a command's standard input."""

from __future__ import annotations

import sys

from tools.cli.errors import ToolError
from tools.cli.output import print_message


def read_stdin(noun: str, alternative: str) -> bytes:
    """Returns all of standard input; at a terminal it first asks the user to type the `noun`.

    Raises ToolError, which names the `alternative`, if standard input is closed or cannot be read.
    """
    if sys.stdin is None:
        raise ToolError(f"no {noun}: {alternative}, or pipe one in", "missing")
    if sys.stdin.isatty():
        print_message(f"asr33: type the {noun} here; Ctrl-D on a line of its own ends it")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise ToolError(f"standard input: {error.strerror}; {alternative}", "missing") from None
