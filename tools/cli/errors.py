"""Errors of the commands: one line that names the cure, and a kind that gives the exit code."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "usage", "argument", "damaged", "missing", "unavailable", "failed", "system", "create", "output", "busy", "denied"
]  # fmt: skip
EXIT_CODES: dict[Kind, int] = {
    "usage": 2,  # as argparse ends
    "argument": 64,  # EX_USAGE of sysexits.h: an impossible URL or name
    "damaged": 65,  # EX_DATAERR
    "missing": 66,  # EX_NOINPUT
    "unavailable": 69,  # EX_UNAVAILABLE: a line, a library, a server
    "failed": 70,  # EX_SOFTWARE
    "system": 71,  # EX_OSERR: too little memory, too few threads
    "create": 73,  # EX_CANTCREAT
    "output": 74,  # EX_IOERR
    "busy": 75,  # EX_TEMPFAIL
    "denied": 77,  # EX_NOPERM
}


class ToolError(Exception):
    """A command cannot do what it was asked to; `kind` says why."""

    kind: Kind = "failed"

    def __init__(self, message: str, kind: Kind | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.kind]
