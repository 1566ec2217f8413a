"""The scope that BREAK cancels: `asyncio.timeout(None)`, whose deadline the keyboard sets."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

from drivers import events


class BreakSource(Protocol):
    """Cancels the innermost scope at a BREAK. A scope that is entered stores the scope around it."""

    def enter_scope(self, scope: BreakScope) -> BreakScope | None: ...

    def leave_scope(self, outer: BreakScope | None) -> None: ...


class BreakScope:
    """An `async with` scope whose body BREAK or ^C cancels; `is_broken` and `route` report it afterwards."""

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
        except TimeoutError:  # only the scope's own cancellation becomes a TimeoutError; the body's own is in `error`
            return True
        return False

    def cancel(self, route: events.BreakRoute) -> None:
        """Cancels the body at its next wait."""
        if not (self.is_broken or self._is_over):
            self.route = route
            self._timeout.reschedule(asyncio.get_running_loop().time())
