"""How long a server that is asked may give no sign of life, where somebody else could answer in its place.

A word, a comment or the head of a reply is one. Others than ours may say nothing until the first word, and a proxy may
keep back what ours says: who is silent is asked beside it whether he is there. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from model.errors import ServerLost

SILENCE_LIMIT_S = 5.0  # of silence, after which it counts as lost
PROBE_AFTER_S = 2.0  # after which it is asked whether it is there; our own is never silent for longer


class ServerSilent(ServerLost):
    """It was asked, and gave no sign of life in time."""


@asynccontextmanager
async def fail_if_silent(name: str, is_alive: Callable[[], Awaitable[bool]]) -> AsyncIterator[Callable[[], None]]:
    """The block gets what to call at each sign; without one in time, and nobody `there` either, it ends in NoSign."""

    async def knock() -> None:
        await asyncio.sleep(PROBE_AFTER_S)
        if await is_alive():
            limit.reschedule(None)

    def heard() -> None:
        if limit.when() is not None and not limit.expired():
            limit.reschedule(None)
            knocking.cancel()

    knocking = asyncio.get_running_loop().create_task(knock())
    try:
        async with asyncio.timeout(SILENCE_LIMIT_S) as limit:
            yield heard
    except TimeoutError:
        if not limit.expired():
            raise
        raise ServerSilent(f"{name}: not a word for {SILENCE_LIMIT_S:g} seconds: is it stopped, or too busy?") from None
    finally:
        knocking.cancel()
        await asyncio.wait({knocking})
