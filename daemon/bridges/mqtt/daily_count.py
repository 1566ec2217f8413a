"""Counts the characters of the day, as an observer of the machine's strokes; a restart goes on with the count."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path

from drivers.events import CharacterStruck, Event
from drivers.paper.paper import LF

_SAVE_INTERVAL_LINES = 10

_log = logging.getLogger("asr33")


class DailyCount:
    """The characters that were struck since midnight, in local time."""

    def __init__(self, path: Path | None, today: Callable[[], date] = date.today) -> None:
        """Reads the file; without one the count begins at 0."""
        self._path, self._today = path, today
        self._day, self._chars, self._unsaved_lines = today(), 0, 0
        self._is_error_logged = False
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                plain = json.loads(path.read_text(encoding="ascii"))
                if plain["day"] == self._day.isoformat():
                    self._chars = max(0, int(plain["chars"]))

    @property
    def chars(self) -> int:
        self._check_day()
        return self._chars

    def on_event(self, event: Event) -> None:
        if not isinstance(event, CharacterStruck):
            return
        if event.byte > 0x20:
            self._chars += 1
        elif event.byte == LF:
            self._check_day()
            self._unsaved_lines += 1
            if self._unsaved_lines >= _SAVE_INTERVAL_LINES:
                self.save()

    def save(self) -> None:
        """Writes the file; an error of the disk is logged once."""
        self._unsaved_lines = 0
        if self._path is None:
            return
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            temporary.write_text(json.dumps({"day": self._day.isoformat(), "chars": self._chars}), encoding="ascii")
            temporary.replace(self._path)
        except OSError as error:
            if not self._is_error_logged:
                _log.error("%s: %s; the day's count begins anew after a restart", self._path, error.strerror)
            self._is_error_logged = True

    def _check_day(self) -> None:
        if (day := self._today()) != self._day:
            self._day, self._chars = day, 0
