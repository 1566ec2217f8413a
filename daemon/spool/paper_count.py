"""Counts the paper and the ribbon in a small file, as an observer of the machine's strokes.

An error of that file does not end the session; a killed daemon loses thirty lines of the count at most.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from daemon.spool.paper_supply import PaperSupply
from drivers.events import CharacterStruck, Event
from drivers.paper.paper import LF

_SAVE_INTERVAL_LINES = 30
# The file is overwritten in place: a new file and its rename would write five pages of the disk each time, half a
# megabyte an hour.
_FILE_BYTES = 64

_log = logging.getLogger("asr33")


class PaperCount:
    """The supply of one machine. `is_warning_due`: the paper became low, and the operator was not told yet."""

    def __init__(self, path: Path) -> None:
        self.supply = PaperSupply()
        self._path = path
        self._unsaved_lines = 0
        self._is_error_logged = False
        with contextlib.suppress(OSError, ValueError, TypeError):
            self.supply = _decode(path.read_text(encoding="ascii"))
        self._was_low = self.supply.state in ("low", "held")
        self.is_warning_due = False

    def on_event(self, event: Event) -> None:
        if not isinstance(event, CharacterStruck):
            return
        self.supply.note_struck(event.byte)
        if event.byte != LF:
            return
        self._unsaved_lines += 1
        if self.supply.state in ("low", "held") and not self._was_low:
            self._was_low = self.is_warning_due = True
            left = self.supply.lines_left
            _log.warning("%s lines of paper are left: put in a new roll, then say asr33 roll new", left)
        if self._unsaved_lines >= _SAVE_INTERVAL_LINES:
            self.save()

    def begin_roll(self, lines: int) -> None:
        """Counts down from the lines of a new roll."""
        self.supply.lines_left = lines
        self._was_low, self.is_warning_due = self.supply.state in ("low", "held"), False
        self.save()

    def begin_ribbon(self) -> None:
        self.supply.ribbon_chars = 0
        self.save()

    def close(self) -> None:
        self.save()

    def save(self) -> None:
        self._unsaved_lines = 0
        text = json.dumps(asdict(self.supply)).ljust(_FILE_BYTES - 1) + "\n"
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, text.encode("ascii"), 0)
            finally:
                os.close(fd)
        except OSError as error:
            if not self._is_error_logged:
                _log.error("%s: %s; the paper is not counted after a restart", self._path, error.strerror)
            self._is_error_logged = True


def _decode(text: str) -> PaperSupply:
    """Raises ValueError or TypeError for a damaged file."""
    plain = json.loads(text)
    lines, chars = plain["lines_left"], plain["ribbon_chars"]
    return PaperSupply(None if lines is None else int(lines), max(0, int(chars)))
