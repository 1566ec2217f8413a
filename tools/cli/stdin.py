"""What a command is given on standard input; loads nothing that takes time."""

from __future__ import annotations

import sys

from model.errors import TextNotFound
from tools.cli.output import print_message


def read_stdin(noun: str, alternative: str) -> bytes:
    """All of it; a terminal is asked to type `what`. Raises TextNotFound, which names `otherwise`, if it is closed."""
    if sys.stdin is None:
        raise TextNotFound(f"no {noun}: {alternative}, or pipe one in")
    if sys.stdin.isatty():
        print_message(f"asr33: type the {noun} here; Ctrl-D on a line of its own ends it")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise TextNotFound(f"standard input: {error.strerror}; {alternative}") from None
