"""Errors of a Teletype and its line: one line that names the cure, and a kind that gives the exit code.

Only an error that some caller catches by name has a class of its own. Every other error is a plain DriverError.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["usage", "damaged", "missing", "busy", "unavailable", "failed", "denied"]
EXIT_CODES: dict[Kind, int] = {
    "usage": 2,  # as argparse ends
    "damaged": 65,  # EX_DATAERR of sysexits.h: a damaged tape, a key that does not exist, a picture size out of range
    "missing": 69,  # EX_UNAVAILABLE: there is no such port
    "busy": 69,  # another program holds the port
    "unavailable": 69,  # the device cannot be the line of a Teletype, or the line hung up
    "failed": 69,  # the motor could not be switched
    "denied": 77,  # EX_NOPERM: this user may not open the port
}


class DriverError(Exception):
    """The machine or its line cannot carry out a request; `kind` says why."""

    kind: Kind = "unavailable"

    def __init__(self, message: str = "", kind: Kind | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.kind]


class LineLost(DriverError):
    """The line hung up: the adapter was unplugged, or the far end went away."""


class NoSuchKey(DriverError):
    """The keyboard of a Model 33 cannot send this character."""

    kind = "damaged"


class TapeDamaged(DriverError):
    """A paper tape does not hold the expected rows, or the rows cannot be punched as text."""

    kind = "damaged"


class Interrupted(DriverError):
    """The operator pressed BREAK or ^C while a line was read."""


class EndOfInput(DriverError):
    """The operator typed ^D on an empty line."""
