"""What can go wrong with a machine and its line; every message names the cure, in one line.

DriverError
├── LineNotFound   no such port                        (FileNotFoundError)
├── LineBusy       another program holds it            (OSError)
├── LineRefused    this user may not open it           (PermissionError)
├── LineUnfit      there, but no line for a Teletype   (ValueError)
├── LineLost       the line hung up                    (ConnectionError)
├── NoSuchKey      a Model 33 has no key for it        (ValueError)
├── TapeDamaged    a row is not what it should be      (ValueError)
├── MotorStuck     the motor's switch does not work
├── Interrupted    the operator pressed BREAK or ^C
└── EndOfInput     the operator typed ^D               (EOFError)
"""

from __future__ import annotations

from typing import ClassVar


class DriverError(Exception):
    """The root: something about a machine or its line. `exit_code` is what a command ends with (sysexits.h)."""

    exit_code: ClassVar[int] = 69


class LineNotFound(DriverError, FileNotFoundError):
    """No port of that name."""

    __str__ = Exception.__str__


class LineBusy(DriverError, OSError):
    """Another program holds the port."""

    __str__ = Exception.__str__


class LineRefused(DriverError, PermissionError):
    """This user may not open the port."""

    exit_code = 77

    __str__ = Exception.__str__


class LineUnfit(DriverError, ValueError):
    """Something is there, but it cannot be the line of a Teletype."""


class LineLost(DriverError, ConnectionError):
    """The line hung up: unplugged, or the far end went away."""

    __str__ = Exception.__str__


class NoSuchKey(DriverError, ValueError):
    """The keyboard of a Model 33 cannot send this."""

    exit_code = 65


class TapeDamaged(DriverError, ValueError):
    """A paper tape does not hold what it should, or cannot."""

    exit_code = 65


class MotorStuck(DriverError):
    """The motor could not be switched."""


class Interrupted(DriverError):
    """The operator pressed BREAK or ^C while a line was read."""


class EndOfInput(DriverError, EOFError):
    """The operator typed ^D on an empty line."""
