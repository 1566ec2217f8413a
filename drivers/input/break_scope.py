"""What BREAK ends: `asyncio.timeout(None)`, the standard library's own cancel scope, rescheduled by the keyboard."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

from drivers import events


class BreakSource(Protocol):
    """Who tells a scope that BREAK came; it keeps the innermost one."""

    def enter_scope(self, scope: BreakScope) -> BreakScope | None: ...

    def leave_scope(self, outer: BreakScope | None) -> None: ...


class BreakScope:
    """`async with`: a body that BREAK or ^C ends wherever it waits; `broken` and `route` say so afterwards."""

    def __init__(self, source: BreakSource) -> None:
        self.route: events.BreakRoute | None = None
        self._source = source
        self._outer: BreakScope | None = None
        self._is_over = False
        self._timeout = asyncio.timeout(None)

    @property
    def is_broken(self) -> bool:
        return self.route is not None

    async def __aenter__(self) -> BreakScope:
        await self._timeout.__aenter__()
        self._outer = self._source.enter_scope(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._is_over = True
        self._source.leave_scope(self._outer)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:  # only its own cancellation becomes one here; one out of the body passes by in `error`
            return True
        return False

    def cancel(self, route: events.BreakRoute) -> None:
        """The body is cancelled at its next wait."""
        if not (self.is_broken or self._is_over):
            self.route = route
            self._timeout.reschedule(asyncio.get_running_loop().time())
