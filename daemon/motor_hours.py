"""The hours of a motor that somebody switches, summed over sessions in a small file: a machine is oiled by them.

Knows the file and what the teletype tells; switches nothing.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from drivers.events import CharacterStruck, Event, MotorSwitched

_SAVE_INTERVAL_S = 60.0  # what a daemon that is killed loses at most

_log = logging.getLogger("asr33.log")


class MotorHours:
    """The sum so far, in seconds, as `total_s`; a file that cannot be read or written stops no paper."""

    def __init__(self, path: Path) -> None:
        self.total_s = 0.0
        self._path = path
        self._running_since: float | None = None
        self._saved_at = float("-inf")
        self._error_logged = False
        with contextlib.suppress(OSError, ValueError):
            self.total_s = max(0.0, float(path.read_text(encoding="ascii")))

    def on_event(self, event: Event) -> None:
        """What the teletype tells."""
        match event:
            case MotorSwitched(at=at, on=True):
                self._running_since = self._saved_at = at
            case MotorSwitched(on=False, ran_s=ran_s):
                self._running_since = None
                self.total_s += ran_s
                self._save(self.total_s)
            case CharacterStruck(at=at) if self._running_since is not None and at - self._saved_at > _SAVE_INTERVAL_S:
                self._saved_at = at
                self._save(self.total_s + at - self._running_since)

    def close(self, now: float) -> None:
        """The motor may run on; nobody counts it any more."""
        if self._running_since is not None:
            self.total_s += max(0.0, now - self._running_since)
            self._running_since = None
            self._save(self.total_s)

    def _save(self, total_s: float) -> None:
        new = self._path.with_name(self._path.name + ".new")
        try:
            new.write_text(f"{total_s:.0f}\n", encoding="ascii")
            new.replace(self._path)
        except OSError as error:
            if not self._error_logged:
                _log.error("%s: %s; the motor's hours are not kept", self._path, error.strerror)
            self._error_logged = True
