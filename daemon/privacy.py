"""Whether the session is private: what is struck then is on the paper only.

A small file keeps the state over a restart. Observers of the paper, such as a live page or a carbon copy, get no event
in that time; the session log counts its records, and the conversation forgets them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from model.store.atomic_file import fsync_path

T = TypeVar("T")

_log = logging.getLogger("asr33")


class Privacy:
    """The switch. `listeners` are called with each new state, after it has come into force."""

    def __init__(self, state_file: Path | None = None) -> None:
        """Reads the state from the file. Without a file the state ends with the process."""
        self.listeners: list[Callable[[bool], None]] = []
        self._state_file = state_file
        self.is_on = state_file is not None and _is_there(state_file)
        if self.is_on:
            _forbid_core_dumps()

    def switch_on(self) -> bool:
        """Returns whether the state survives a restart: the file is on the disk."""
        is_kept = self._state_file is not None and _create(self._state_file)
        _forbid_core_dumps()
        self._set(True)
        return is_kept

    def switch_off(self) -> None:
        if self._state_file is not None:
            try:
                self._state_file.unlink(missing_ok=True)
                fsync_path(self._state_file.parent)
            except OSError as error:
                _log.warning("%s: %s; the next session will begin private", self._state_file, error.strerror)
        self._set(False)

    def hide_from(self, observer: Callable[[T], None]) -> Callable[[T], None]:
        """Returns an observer that gets nothing while the session is private."""

        def observe(event: T) -> None:
            if not self.is_on:
                observer(event)

        return observe

    def _set(self, on: bool) -> None:
        self.is_on = on
        for listener in self.listeners:
            listener(on)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # no daemon of this user can have written it
        return False
    except (OSError, ValueError):
        return True
    return True


def _create(path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        fsync_path(path.parent)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        _log.warning("%s: %s; a restart will end the private time", path, reason)
        return False
    return True


def _forbid_core_dumps() -> None:
    """Lets the kernel write no image of this process's memory from now on: it keeps what was private for long."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # A limit of 1 byte stops a dump to a program too, which ignores a limit of 0: core(5).
    limit = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (limit, hard))
