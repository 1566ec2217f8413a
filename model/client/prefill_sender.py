"""A prompt on its way to a server while it is still being typed: one request at a time, and the newest text wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class PrefillSender:
    """`send` has one text read, and returns when it is."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._latest = self._sent = ""
        self._sending: asyncio.Task[None] | None = None

    def submit(self, text: str) -> None:
        """So far has it come."""
        self._latest = text
        if text != self._sent and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._send_until_current())

    def cancel(self) -> None:
        """The answer takes the whole of it."""
        self._latest = ""
        if self._sending is not None:
            self._sending.cancel()

    async def close(self) -> None:
        self.cancel()
        if self._sending is not None:
            await asyncio.wait({self._sending})

    async def _send_until_current(self) -> None:
        while self._latest and self._latest != self._sent:
            self._sent = self._latest
            await self._send(self._sent)
