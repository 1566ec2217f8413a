"""Whoever sits at this terminal while a machine works: told how far it is, asked to press RETURN, his Ctrl-C heard.

Knows standard input and standard error; no machine.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

from tools.virtual import say

SOON_S = 2.0  # what takes no longer needs no telling
_EVERY_S = 0.5
INTERRUPTED, TERMINATED = 130, 143  # 128 and the signal, as shells count


def until_interrupted(work: Coroutine[Any, Any, None]) -> int:
    """Runs it; Ctrl-C and SIGTERM cancel it once, and a second one does not wait for what it still does then."""
    return asyncio.run(_until_interrupted(work))


async def _until_interrupted(work: Coroutine[Any, Any, None]) -> int:
    working = asyncio.ensure_future(work)
    loop, code = asyncio.get_running_loop(), 0

    def stop(number: signal.Signals) -> None:
        nonlocal code
        code = 128 + number
        working.cancel()
        for other in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(other)
            signal.signal(other, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await working
    except asyncio.CancelledError:
        if not code:
            raise
    return code


class Told:
    """How far it is and how long it will be, on one line that is written over; nothing where no terminal is."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = self._last = time.monotonic()
        self._shown = False
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def tell(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._terminal and done and now - self._begun > SOON_S and now - self._last > _EVERY_S:
            self._last, self._shown = now, True
            sys.stderr.write(f"\r{progress(done, total, now - self._begun, self._what)}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def progress(done: int, total: int, seconds: float, what: str) -> str:
    """So much of so much, and the minutes left at this pace."""
    left_s = seconds * (total - done) / done
    left = f"{left_s:.0f} s" if left_s < 90 else f"{left_s / 60:.0f} min"
    return f"{done:,} of {total:,} {what}, {left} left"


async def asked_to(do: str) -> None:
    """Back when RETURN is pressed at this terminal; at once where nobody can."""
    if sys.stdin is None or not sys.stdin.isatty():
        say(f"asr33: {do}")
        return
    say(f"asr33: {do}, then press RETURN")
    await line_typed()


async def line_typed() -> str:
    """A line from this terminal, without its end. Never back where there is no terminal."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()
    if sys.stdin is None or not sys.stdin.isatty():
        return await typed
    fd = sys.stdin.fileno()

    def readable() -> None:
        data = os.read(fd, 4096)
        loop.remove_reader(fd)  # also at the end of the terminal's input: nobody is there then
        if data and not typed.done():
            typed.set_result(data.decode(errors="replace").rstrip("\n"))

    loop.add_reader(fd, readable)
    try:
        return await typed
    finally:
        loop.remove_reader(fd)
