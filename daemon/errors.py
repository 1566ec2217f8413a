"""Errors of the daemon: one line that names the cure, and a kind that gives the exit code."""

from __future__ import annotations

from typing import Literal

Kind = Literal["create", "busy", "protocol", "config", "failed"]
# EX_CANTCREAT, EX_TEMPFAIL, EX_PROTOCOL, EX_CONFIG and EX_SOFTWARE of sysexits.h.
EXIT_CODES: dict[Kind, int] = {"create": 73, "busy": 75, "protocol": 76, "config": 78, "failed": 70}


class DaemonError(Exception):
    """The daemon or a command that uses it cannot go on; `kind` says why."""

    kind: Kind = "failed"

    def __init__(self, message: str, kind: Kind | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.kind]


class ConfigError(DaemonError):
    """A setting is unknown or has a wrong value."""

    kind = "config"


class ProtocolError(DaemonError):
    """A message on the control socket is malformed, unknown or too long."""

    kind = "protocol"


class StoppedByOperator(DaemonError):
    """The operator pressed BREAK; the rest of the job is dropped."""

    exit_code = 130  # as after Ctrl-C


class DaemonRefused(DaemonError):
    """The daemon refused a request, or its machine failed; the exit code comes from the daemon."""

    exit_code: int = 69

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SpoolRefused(DaemonError):
    """The spool does not take a job, or has no such job; `retry_after_s`: when it may, or None."""

    exit_code: int = 75

    def __init__(self, message: str, exit_code: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.exit_code, self.retry_after_s = exit_code, retry_after_s
