"""A prompt on its way to a server while it is still being typed: one request at a time, and the newest text wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Along:
    """`send` has one text read, and returns when it is."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._heard = self._sent = ""
        self._sending: asyncio.Task[None] | None = None

    def heard(self, text: str) -> None:
        """So far has it come."""
        self._heard = text
        if text != self._sent and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """The answer takes the whole of it."""
        self._heard = ""
        if self._sending is not None:
            self._sending.cancel()

    async def close(self) -> None:
        self.stop()
        if self._sending is not None:
            await asyncio.wait({self._sending})

    async def _run(self) -> None:
        while self._heard and self._heard != self._sent:
            self._sent = self._heard
            await self._send(self._sent)
