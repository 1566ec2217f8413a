"""What a person can have set or asked wrong; every message names the cure, in one line."""

from __future__ import annotations

from typing import ClassVar


class ConfigError(ValueError):
    """A setting that is unknown, or of the wrong kind."""

    exit_code: ClassVar[int] = 78  # EX_CONFIG of sysexits.h


class LogUnmakable(Exception):
    """The session log cannot be begun where it should be kept."""

    exit_code: ClassVar[int] = 73  # EX_CANTCREAT


class ProtocolError(ValueError):
    """What came over a daemon's socket is no order or reply that is known."""

    exit_code: ClassVar[int] = 76  # EX_PROTOCOL


class MachineBusy(Exception):
    """Somebody types at the machine, or is being answered."""

    exit_code: ClassVar[int] = 75  # EX_TEMPFAIL


class StoppedByOperator(Exception):
    """The operator pressed BREAK, and the rest is not printed."""

    exit_code: ClassVar[int] = 130


class DaemonRefused(Exception):
    """The daemon says no, or its machine failed it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
