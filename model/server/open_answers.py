"""Counts the open answers, of the server and of each API key, against their limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from model.server import refusals
from model.server.limits import RequestLimits
from model.server.refusals import CancelReason
from model.server.streaming import ClientStream


class OpenAnswers:
    """The clients with an open answer; a client whose request has several choices counts once for each."""

    def __init__(self, limits: RequestLimits, has_several_keys: Callable[[], bool]) -> None:
        self.clients: set[ClientStream] = set()
        self.count = 0
        self._limits, self._has_several_keys = limits, has_several_keys
        self._has_none = asyncio.Event()

    @asynccontextmanager
    async def register(self, client: ClientStream, count: int = 1) -> AsyncIterator[None]:
        """Counts the client's answers as open. Raises HttpError if the server or the key has too many open answers.

        A client with a `count` of 0 takes no place of others; it ends with the others when the server does.
        """
        self._require_room_for(client, count)
        client.answer_count = count
        self.clients.add(client)
        self.count += count
        try:
            yield
        finally:
            self.clients.discard(client)
            self.count -= client.answer_count
            if not self.clients:
                self._has_none.set()

    def register_choices(self, client: ClientStream, count: int) -> None:
        """Counts each of the `count` choices of a registered client. Raises HttpError if these are too many."""
        limits = self._limits
        most = min(limits.open_answers, limits.answers_per_key) if self._has_several_keys() else limits.open_answers
        if count > most:
            raise refusals.MANY_CHOICES.error(most)
        self._require_room_for(client, count - 1)
        self.count += count - 1
        client.answer_count = count

    async def wait_until_none(self, seconds: float) -> bool:
        """Whether all answers ended within that time."""
        self._has_none.clear()
        if self.clients:
            try:
                await asyncio.wait_for(self._has_none.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def cancel_all(self, reason: CancelReason) -> None:
        for client in list(self.clients):
            client.cancel(reason)

    def _require_room_for(self, client: ClientStream, count: int) -> None:
        """Raises HttpError unless the client may have so many answers more."""
        if self.count + count > self._limits.open_answers:
            raise refusals.ANSWERS_FULL.error(self._limits.open_answers)
        if self._has_several_keys():
            clients_of_key = (other for other in self.clients if other.key_name == client.key_name)
            if sum(other.answer_count for other in clients_of_key) + count > self._limits.answers_per_key:
                raise refusals.KEY_FULL.error(self._limits.answers_per_key)
