"""A visit to a machine in a public place: it lasts until the visitor has pressed no key for `[hall] forget_after`."""

from __future__ import annotations

import asyncio

from drivers.clock import Clock


class Visit:
    """The visit of one machine. With `forget_after_s` 0 it never ends."""

    def __init__(self, forget_after_s: float, clock: Clock) -> None:
        self._forget_after_s, self._clock = forget_after_s, clock
        self._ends_at = float("inf")
        self._keyed = 0

    @property
    def is_public_place(self) -> bool:
        return self._forget_after_s > 0

    @property
    def is_over(self) -> bool:
        return self._clock.now() >= self._ends_at

    def extend(self) -> None:
        """Begins or prolongs the visit: the visitor does something, or an answer has ended."""
        if self.is_public_place:
            self._ends_at = self._clock.now() + self._forget_after_s

    def note_keys(self, keyed: int) -> None:
        """Prolongs the visit if there is a new key among those of the machine's life."""
        if keyed != self._keyed:
            self._keyed = keyed
            self.extend()

    def end(self) -> None:
        """There is no visitor until the next key."""
        self._ends_at = float("inf")

    async def cancel_at_end(self, reading: asyncio.Future[str]) -> None:
        """Cancels the reading of a line at the end of the visit."""
        while self.is_public_place and not self.is_over:
            await self._clock.sleep_until(min(self._ends_at, self._clock.now() + self._forget_after_s))
        if self.is_over:
            reading.cancel()
