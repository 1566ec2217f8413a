"""Samples of a run on the Teletype, while the run goes on: one at a time, and none that would have to wait.

A machine that is busy, or away, is told of once in a while, and is no reason to stop training.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol


class Paper(Protocol):
    def show(self, step: int, text: str) -> None:
        """Returns at once, never fails."""
        ...


class NoPaper:
    """Nobody has asked for it."""

    def show(self, step: int, text: str) -> None:
        pass


class Sheet:
    """`strike` is worked in a thread; `say` hears why it could not be."""

    def __init__(self, strike: Callable[[str], None], say: Callable[[str], None], pool: ThreadPoolExecutor) -> None:
        self._strike, self._say, self._pool = strike, say, pool
        self._last: Future[None] | None = None

    def show(self, step: int, text: str) -> None:
        if self._last is not None:
            if not self._last.done():
                return  # the paper is slower than the card: the next sample is the fresher one
            self.told()
        self._last = self._pool.submit(self._strike, f"-- STEP {step} --\n{text.rstrip()}\n\n")

    def told(self) -> None:
        """Wait for what is being struck, and say why if it was not."""
        if self._last is not None and (error := self._last.exception()) is not None:
            self._say(f"the sample is not on the paper: {error}")
        self._last = None


@contextmanager
def paper(port: str | None, say: Callable[[str], None]) -> Iterator[Paper]:
    """The machine at this line, `-` for the daemon's; without one nothing is struck. Raises ConfigError."""
    if port is None:
        yield NoPaper()
        return
    strike = striking(port)
    with ThreadPoolExecutor(1, "paper") as pool:
        sheet = Sheet(strike, say, pool)
        try:
            yield sheet
        finally:
            with suppress(KeyboardInterrupt):
                sheet.told()


def striking(port: str) -> Callable[[str], None]:
    """How a text gets onto the paper at that line. Raises ConfigError."""
    from daemon import config, reach
    from daemon.orders import Print

    chosen = config.load({"line": {"port": None if port == "-" else port}})

    async def struck(text: str) -> None:
        async with reach.reached(chosen) as machine:
            await machine.do(Print(text), lambda done, total: None)

    return lambda text: asyncio.run(struck(text))
