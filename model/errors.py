"""What can go wrong with a model; every message names the cure, in one line.

`exit_code` is what a command ends with that meets the error (sysexits.h).
"""

from __future__ import annotations

from typing import ClassVar


class ModelError(Exception):
    """The root: something about a model that its user can mend."""

    exit_code: ClassVar[int] = 70


class ModelNotFound(ModelError, FileNotFoundError):
    """No model of that name, or no file at that path."""

    exit_code = 66
    __str__ = Exception.__str__


class ModelDamaged(ModelError, ValueError):
    """A file of the model is not what its manifest says, or not a model of ours."""

    exit_code = 65


class ModelBusy(ModelError, RuntimeError):
    """Another process is writing the model."""

    exit_code = 75


class EngineMissing(ModelError, ImportError):
    """A library or a device that the model was to run on is not there."""

    exit_code = 69


class EngineFailed(ModelError, RuntimeError):
    """The machine has too little of something to run the model: memory, threads."""

    exit_code = 71


class PromptTooLong(ModelError, ValueError):
    """The prompt does not fit the context."""

    exit_code = 65


class Busy(ModelError, RuntimeError):
    """All rows are taken, and all places of those who wait for one."""

    exit_code = 75


class NoSuchAlphabet(ModelError, ValueError):
    """Characters that an answer was to keep to, by a name that nobody knows."""

    exit_code = 65


class NoSuchToken(ModelError, ValueError):
    """An answer that was to go on behind tokens which this model does not have."""

    exit_code = 65


class ServerLost(ModelError, ConnectionError):
    """A server that does not answer, or broke off; it may yet, `again_s` from now at the earliest if it said so."""

    exit_code = 69

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeyRefused(ModelError, PermissionError):
    """A key that a server does not take, that cannot be read, or that must not go this way."""

    exit_code = 77
    __str__ = Exception.__str__


class RequestRefused(ModelError, ValueError):
    """A server that will not do what it is asked, however often."""

    exit_code = 76


class AddressWrong(ModelError, ValueError):
    """A URL that no model server can have."""

    exit_code = 64


class TextNotFound(ModelError, FileNotFoundError):
    """A text file that cannot be opened."""

    exit_code = 66
    __str__ = Exception.__str__


class TextDamaged(ModelError, ValueError):
    """Bytes that are not text, or text that is not what was said of it."""

    exit_code = 65


class ExportRefused(ModelError, ValueError):
    """A model rounded to fewer bits that is not near enough to what it was made from."""

    exit_code = 65
