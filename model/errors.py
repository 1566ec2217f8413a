"""Errors of models. Each has a message of one line, which names the cure, and a kind, which gives the exit code."""

from __future__ import annotations

from typing import Literal

from model.printable import escape_controls

Kind = Literal[
    "argument",
    "damaged",
    "missing",
    "no host",
    "unavailable",
    "failed",
    "system",
    "create",
    "busy",
    "protocol",
    "denied",
    "config",
]
EXIT_CODES: dict[Kind, int] = {
    "argument": 64,  # EX_USAGE of sysexits.h: an impossible URL or option
    "damaged": 65,  # EX_DATAERR
    "missing": 66,  # EX_NOINPUT
    "no host": 68,  # EX_NOHOST: an address that this computer does not have
    "unavailable": 69,  # EX_UNAVAILABLE: a library, a device, a server
    "failed": 70,  # EX_SOFTWARE
    "system": 71,  # EX_OSERR: too little memory, too few threads
    "create": 73,  # EX_CANTCREAT
    "busy": 75,  # EX_TEMPFAIL
    "protocol": 76,  # EX_PROTOCOL
    "denied": 77,  # EX_NOPERM
    "config": 78,  # EX_CONFIG
}


MAX_MESSAGE_CHARS = 2000


def _to_line(message: str) -> str:
    """One line without control characters: it may quote a stranger's file. In a long one the middle is left out."""
    line, half = escape_controls(message), MAX_MESSAGE_CHARS // 2
    return line if len(line) <= MAX_MESSAGE_CHARS else f"{line[:half]} [...] {line[-half:]}"


class ModelError(Exception):
    """A model or a server cannot do what the caller wants; `kind` says why."""

    kind: Kind = "failed"

    def __init__(self, message: str = "", kind: Kind | None = None) -> None:
        super().__init__(_to_line(message))
        if kind is not None:
            self.kind = kind

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.kind]


class ModelNotFound(ModelError):
    """No model has this name, or no file is at this path."""

    kind = "missing"


class ModelDamaged(ModelError, ValueError):
    """A file of the model differs from its manifest, or is not an asr33 model."""

    kind = "damaged"


class EngineMissing(ModelError):
    """The library or the device that should run the model is absent."""

    kind = "unavailable"


class EngineFailed(ModelError):
    """The machine lacks memory or threads to run the model."""

    kind = "system"


class PromptTooLong(ModelError):
    """The prompt does not fit the context."""

    kind = "damaged"


class InvalidParameter(ModelError):
    """The model does not support the value of the request parameter `param`, named as on the wire."""

    kind = "damaged"

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class ServerLost(ModelError):
    """A server does not answer, or its answer breaks off. `retry_after_s` is the wait that the server requested."""

    kind = "unavailable"

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
