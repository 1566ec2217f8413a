"""Samples of a run on the Teletype, while the run goes on: one at a time, and none that would have to wait.

A machine that is busy, or away, is told of once in a while, and is no reason to stop training.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol


class SamplePrinter(Protocol):
    def print_sample(self, step: int, text: str) -> None:
        """Returns at once, never fails."""
        ...


class NullSamplePrinter:
    """Nobody has asked for it."""

    def print_sample(self, step: int, text: str) -> None:
        pass


class TeletypeSamplePrinter:
    """`strike` is worked in a thread; `say` hears why it could not be."""

    def __init__(
        self, print_text: Callable[[str], None], print_line: Callable[[str], None], pool: ThreadPoolExecutor
    ) -> None:
        self._print_text, self._print_line, self._pool = print_text, print_line, pool
        self._pending: Future[None] | None = None

    def print_sample(self, step: int, text: str) -> None:
        if self._pending is not None:
            if not self._pending.done():
                return  # the paper is slower than the card: the next sample is the fresher one
            self.wait_and_report()
        self._pending = self._pool.submit(self._print_text, f"-- STEP {step} --\n{text.rstrip()}\n\n")

    def wait_and_report(self) -> None:
        """Wait for what is being struck, and say why if it was not."""
        if self._pending is not None and (error := self._pending.exception()) is not None:
            self._print_line(f"the sample is not on the paper: {error}")
        self._pending = None


@contextmanager
def open_sample_printer(port: str | None, print_line: Callable[[str], None]) -> Iterator[SamplePrinter]:
    """The machine at this line, `-` for the daemon's; without one nothing is struck. Raises ConfigError."""
    if port is None:
        yield NullSamplePrinter()
        return
    strike = make_print_function(port)
    with ThreadPoolExecutor(1, "paper") as pool:
        sheet = TeletypeSamplePrinter(strike, print_line, pool)
        try:
            yield sheet
        finally:
            with suppress(KeyboardInterrupt):
                sheet.wait_and_report()


def make_print_function(port: str) -> Callable[[str], None]:
    """How a text gets onto the paper at that line. Raises ConfigError."""
    from daemon import config
    from daemon.control import client
    from daemon.control.protocol import PrintJob

    chosen = config.load_config({"line": {"port": None if port == "-" else port}})

    async def struck(text: str) -> None:
        async with client.acquire_machine(chosen) as machine:
            await machine.run_job(PrintJob(text), lambda done, total: None)

    return lambda text: asyncio.run(struck(text))
