"""Whether a server still works on an answer, judged by what the reader waits for and not by the bytes that arrive.

Before the first word a server may think for long, if it gives a sign of life. After it the reader's wait counts: a
server that sends less than a character a second is as good as silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from model.errors import ServerLost

SILENCE_LIMIT_S = 5.0  # after which a server counts as lost
PROBE_AFTER_S = 2.0  # of silence, then the server is asked whether it is alive; an asr33 server is not silent so long
STALL_PROBE_AFTER_S = 1.0  # the same in mid-answer
LOCAL_AFTER_S = 2.0  # seconds of silence after which the local model continues
# A reply or an event that has begun is complete at once; one that is not after this time comes byte by byte.
UNFINISHED_LIMIT_S = 5.0
S_PER_CHAR = 1.0  # of waiting that each character makes good: a slower server is stalled


class ServerSilent(ServerLost):
    """A server gave no sign of life in time, or too few words."""


class WatchedServer(Protocol):
    """The part of a server that tells whether it is alive."""

    @property
    def device(self) -> str: ...

    @property
    def unfinished_since(self) -> float | None:
        """When the head of a reply, or the event that is arriving, began; None between two of them. Loop time."""
        ...

    async def is_alive(self) -> bool:
        """Whether the server replies to a health check; an answer may take longer."""
        ...


@dataclass(slots=True)
class StallMeter:
    """The seconds that the reader has waited, less those that the text is worth; `waited_s` is a growing total."""

    max_s: float
    start_s: float  # of the total
    before_s: float = 0.0  # stalled before

    def stalled_s(self, waited_s: float) -> float:
        return min(self.max_s, self.before_s + waited_s - self.start_s)

    def note_text(self, chars: int, waited_s: float) -> None:
        self.before_s = max(0.0, self.stalled_s(waited_s) - chars * S_PER_CHAR)
        self.start_s = waited_s


class LivenessGuard:
    """Watches one attempt at one server."""

    def __init__(self, server: WatchedServer, reader_waited_s: Callable[[], float], dead_stall_s: float) -> None:
        """`reader_waited_s`: the seconds that the reader has waited for text, in all.

        `dead_stall_s`: the limit in mid-answer for a server that does not reply to a health check.
        """
        self._server, self._waited_s, self._dead_stall_s = server, reader_waited_s, dead_stall_s
        self._meter = StallMeter(SILENCE_LIMIT_S, reader_waited_s())
        self._has_sign = self._has_text = False

    def note_sign(self) -> None:
        """Call at each sign of life: the head of a reply, a word."""
        self._has_sign = True

    def note_text(self, chars: int) -> None:
        if not self._has_text:
            self._has_text, self._meter = True, StallMeter(SILENCE_LIMIT_S, self._waited_s())
        self._meter.note_text(chars, self._waited_s())

    async def wait_for_failure(self) -> str:
        """Returns the reason when the server counts as lost."""
        start = _now()
        while not self._has_text:
            if reason := await self._check_before_text(start):
                return reason
        while True:
            if reason := await self._check_stall():
                return reason

    async def _check_before_text(self, start: float) -> str | None:
        since = self._server.unfinished_since
        due_s = PROBE_AFTER_S if since is None else since + UNFINISHED_LIMIT_S - _now()
        await asyncio.sleep(min(PROBE_AFTER_S, max(due_s, 0.0)))
        if self._has_text:
            return None
        if (since := self._server.unfinished_since) is not None and _now() - since >= UNFINISHED_LIMIT_S:
            return "its reply comes byte by byte: is the server, or the network, overloaded?"
        if not self._has_sign and not await is_alive_before(self._server.is_alive, start + SILENCE_LIMIT_S):
            await asyncio.sleep(start + SILENCE_LIMIT_S - _now())
            if not self._has_sign:
                return f"no sign of life for {SILENCE_LIMIT_S:g} seconds: is the server stopped, or too busy?"
        self._has_sign = True
        return None

    async def _check_stall(self) -> str | None:
        """Returns the reason, or None when the reader waits no more."""
        while self._stalled_s() < STALL_PROBE_AFTER_S:  # noqa: ASYNC110 - it is the time that must pass
            await asyncio.sleep(STALL_PROBE_AFTER_S - self._stalled_s())
        probe_s = self._dead_stall_s - STALL_PROBE_AFTER_S
        limit_s = SILENCE_LIMIT_S
        if not await is_alive_before(self._server.is_alive, _now() + probe_s):
            limit_s = self._dead_stall_s
        while (left := limit_s - self._stalled_s()) > 0:
            await asyncio.sleep(left)
            if self._stalled_s() < STALL_PROBE_AFTER_S:
                return None
        return f"too few words for {limit_s:g} seconds: is the server stopped, or too slow?"

    def _stalled_s(self) -> float:
        return self._meter.stalled_s(self._waited_s())


@asynccontextmanager
async def fail_if_silent(guard: LivenessGuard, name: str) -> AsyncIterator[None]:
    """Raises ServerSilent in the block when the guard finds that the server counts as lost."""
    reasons: list[str] = []

    async def watch() -> None:
        reasons.append(await guard.wait_for_failure())
        limit.reschedule(_now())

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        async with asyncio.timeout(None) as limit:
            yield
    except TimeoutError:
        if not reasons or not limit.expired():
            raise
        raise ServerSilent(f"{name}: {reasons[0]}") from None
    finally:
        watching.cancel()
        await asyncio.wait({watching})


@asynccontextmanager
async def limit_silence(seconds: float | None, message: str) -> AsyncIterator[None]:
    """Raises ServerSilent in place of the TimeoutError of this limit."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ServerSilent(message) from None


async def is_alive_before(is_alive: Callable[[], Awaitable[bool]], deadline: float) -> bool:
    """Whether the health check succeeds before this moment of the loop's time."""
    try:
        async with asyncio.timeout_at(deadline):
            return await is_alive()
    except TimeoutError:
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()
