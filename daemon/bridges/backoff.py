"""When a lost connection is tried again, and which of its failures the log has already."""

from __future__ import annotations

import logging
import random

FIRST_WAIT_S, MAX_WAIT_S = 2.0, 300.0
REFUSED_WAIT_S = 600.0  # after a wrong password: the server would ban a client that comes back at once
LIVED_S = 60.0  # a connection that stays so long is good: the next wait is short again
_MAX_TOLD = 100

_log = logging.getLogger("asr33")


class Backoff:
    """The waits of one connection, which grow while it fails."""

    def __init__(self, rng: random.Random | None = None, first_wait_s: float = FIRST_WAIT_S) -> None:
        self._rng = rng or random.Random()
        self._wait_s = self._first_wait_s = first_wait_s
        self._told: set[str] = set()  # since the last good connection

    def note_end(self, lived_s: float) -> None:
        """Notes how long a connection lived, before its failure is told."""
        if lived_s >= LIVED_S:
            self._wait_s = self._first_wait_s
            self._told.clear()

    def choose_wait(self, *, is_refused: bool = False, is_asked: bool = False) -> float:
        """Returns the seconds until the next attempt, with jitter: a thousand clients must not come back at once.

        `is_refused`: another attempt alone does not help; `is_asked`: the server asks for a new connection.
        """
        jitter = self._rng.uniform(0.75, 1.25)
        if is_refused:
            return REFUSED_WAIT_S * jitter
        if is_asked:
            return jitter
        wait_s, self._wait_s = self._wait_s, min(MAX_WAIT_S, self._wait_s * 2)
        return wait_s * jitter

    def tell_once(self, text: str) -> None:
        """Writes a warning, once for each text."""
        if text not in self._told:
            if len(self._told) < _MAX_TOLD:
                self._told.add(text)
            _log.warning("%s", text)
