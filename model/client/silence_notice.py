"""Tells the reader once that no word comes, where no other model can take over.

The notice is due when the reader has waited for so long; before the first word a server that is alive gets more time,
since it may read a long prompt, or have others to serve first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from model.client.liveness import SILENCE_LIMIT_S, UNFINISHED_LIMIT_S, StallMeter, WatchedServer, is_alive_before

PROBE_BEFORE_S = 5.0  # the notice is due, the server is asked whether it is alive
BUSY_FACTOR = 3  # by which a server that is alive may be silent for longer before its first word

_log = logging.getLogger("asr33")


class SilenceNotice:
    """Watches one answer, which may take several attempts."""

    def __init__(self, send: Callable[[], bool], reader_waited_s: Callable[[], float], after_s: float) -> None:
        """`send` gives the reader the notice, and returns False if another model takes over.

        `reader_waited_s`: the seconds that the reader has waited, in all.
        """
        self._send, self._waited_s, self._after_s = send, reader_waited_s, after_s
        self._meter = StallMeter(BUSY_FACTOR * after_s, reader_waited_s())
        self._server: WatchedServer | None = None  # that works on the answer
        self._lost_since: float | None = None  # of all servers
        self._has_text = self._is_sent = False
        self._changed = asyncio.Event()

    def note_attempt(self, server: WatchedServer) -> None:
        self._server, self._has_text = server, False
        self._changed.set()

    def note_lost(self, since: float | None) -> None:
        """Call when the attempt has failed. `since`: when the last of all servers was lost, in loop time."""
        self._server, self._lost_since = None, since
        self._changed.set()

    def note_text(self, chars: int) -> None:
        """The reader may get another notice when the text has made good the wait before the last one."""
        if not self._has_text:
            self._has_text, self._lost_since = True, None
            self._meter = StallMeter(self._after_s, self._waited_s(), self._after_s if self._is_sent else 0.0)
        self._meter.note_text(chars, self._waited_s())
        if self._is_sent and self._meter.stalled_s(self._waited_s()) == 0:
            self._is_sent = False
            self._changed.set()

    async def watch(self) -> None:
        """Sends the notice when it is due; runs until it is cancelled."""
        while True:
            self._changed.clear()
            left_s = self._after_s - self._silent_s()
            if self._is_sent or left_s > PROBE_BEFORE_S:
                await self._wait_for_change(None if self._is_sent else left_s - PROBE_BEFORE_S)
            elif self._is_reading_prompt() and await is_alive_before(self._server_is_alive, _now() + max(left_s, 1.0)):
                await self._wait_for_change(PROBE_BEFORE_S)
            elif (left_s := self._after_s - self._silent_s()) > 0:
                await self._wait_for_change(left_s)
            else:
                self._is_sent = self._send()
                if not self._is_sent:
                    await self._wait_for_change(SILENCE_LIMIT_S)
                elif self._server is not None:
                    reason = f"no word for {self._silent_s():.0f} seconds, and there is no other model"
                    _log.warning("%s: %s: is the server stopped, or too slow?", self._server.device, reason)

    def _silent_s(self) -> float:
        lost_s = 0.0 if self._lost_since is None else _now() - self._lost_since
        return max(lost_s, self._meter.stalled_s(self._waited_s()))

    def _is_reading_prompt(self) -> bool:
        """Whether the silence is that of a server before its first word, and not too long."""
        if self._server is None or self._has_text or self._silent_s() >= BUSY_FACTOR * self._after_s:
            return False
        since = self._server.unfinished_since
        return since is None or _now() - since < UNFINISHED_LIMIT_S

    async def _server_is_alive(self) -> bool:
        return self._server is not None and await self._server.is_alive()

    async def _wait_for_change(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
