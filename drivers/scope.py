"""What BREAK ends: `asyncio.timeout(None)`, the standard library's own cancel scope, rescheduled by the keyboard."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

from drivers import events


class Breakable(Protocol):
    """Who tells a scope that BREAK came; it keeps the innermost one."""

    def enter(self, scope: BreakScope) -> BreakScope | None: ...

    def leave(self, outer: BreakScope | None) -> None: ...


class BreakScope:
    """`async with`: a body that BREAK or ^C ends wherever it waits; `broken` and `route` say so afterwards."""

    def __init__(self, teletype: Breakable) -> None:
        self.route: events.Route | None = None
        self._teletype = teletype
        self._outer: BreakScope | None = None
        self._over = False
        self._timeout = asyncio.timeout(None)

    @property
    def broken(self) -> bool:
        return self.route is not None

    async def __aenter__(self) -> BreakScope:
        await self._timeout.__aenter__()
        self._outer = self._teletype.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._over = True
        self._teletype.leave(self._outer)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:  # only its own cancellation becomes one here; one out of the body passes by in `error`
            return True
        return False

    def end(self, route: events.Route) -> None:
        """The body is cancelled at its next wait."""
        if not (self.broken or self._over):
            self.route = route
            self._timeout.reschedule(asyncio.get_running_loop().time())
