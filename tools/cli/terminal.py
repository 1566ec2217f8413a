"""Whoever sits at this terminal while a machine works: told how far it is, asked to press RETURN, his Ctrl-C heard.

Knows standard input and standard error; no machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, ClassVar

from tools.cli.output import print_message
from tools.cli.stdin import read_stdin as read_stdin

QUIET_S = 2.0  # what takes no longer needs no telling
RETURN_TIMEOUT_S = 300.0  # nobody else has the machine while RETURN is waited for
_UPDATE_INTERVAL_S = 0.4
INTERRUPTED = 130  # 128 and SIGINT, as shells count


class PromptAbandoned(Exception):
    """Whoever was asked at this terminal has typed Ctrl-D, or has gone away."""

    exit_code: ClassVar[int] = INTERRUPTED


class Unattended(Exception):
    """Somebody must do something by hand, and no terminal is here to ask at."""

    exit_code: ClassVar[int] = 69


def run_until_interrupted(work: Coroutine[Any, Any, None]) -> int:
    """Runs it; Ctrl-C, SIGTERM and a terminal that is closed cancel it once, and a second time is not waited for."""
    return asyncio.run(_run_until_interrupted(work))


def termination_signals() -> list[signal.Signals]:
    """Those by which a command is told to leave; under nohup a closed terminal is none."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


async def _run_until_interrupted(work: Coroutine[Any, Any, None]) -> int:
    working = asyncio.ensure_future(work)
    loop, code, leaving = asyncio.get_running_loop(), 0, termination_signals()

    def stop(number: signal.Signals) -> None:
        nonlocal code
        code = 128 + number
        working.cancel()
        for other in leaving:
            loop.remove_signal_handler(other)
            signal.signal(other, signal.SIG_DFL)

    for number in leaving:
        loop.add_signal_handler(number, stop, number)
    try:
        await working
    except asyncio.CancelledError as stopped:
        if not code:
            raise
        if stopped.args:  # how far it came
            print_message(f"asr33: {stopped}")
    return code


class ProgressLine:
    """How far it is and how long it will be, on one line that is written over; nothing where no terminal is."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._started_at = self._updated_at = time.monotonic()
        self._shown = False
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._terminal and done and now - self._started_at > QUIET_S and now - self._updated_at > _UPDATE_INTERVAL_S:
            self._updated_at, self._shown = now, True
            self._write(f"\r{format_progress(done, total, now - self._started_at, self._unit)}\x1b[K")

    def clear(self) -> None:
        if self._shown:
            self._write("\r\x1b[K")

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def format_progress(done: int, total: int, seconds: float, unit: str) -> str:
    """So much of so much, and the minutes left at this pace."""
    left_s = seconds * (total - done) / done
    left = f"{left_s:.0f} s" if left_s < 90 else f"{left_s / 60:.0f} min"
    return f"{done:,} of {total:,} {unit}, {left} left"


def has_terminal() -> bool:
    """Whether somebody can be asked here."""
    return _terminal_fd() is not None


async def prompt_for_return(action: str) -> None:
    """Back when RETURN is pressed at this terminal; at once where there is none. Raises Left, also after PATIENCE_S."""
    if not has_terminal():
        print_message(f"asr33: {action}")
        return
    print_message(f"asr33: {action}, then press RETURN here")
    try:
        async with asyncio.timeout(RETURN_TIMEOUT_S):
            await read_terminal_line()
    except TimeoutError:
        raise PromptAbandoned(
            f"nobody has pressed RETURN for {RETURN_TIMEOUT_S / 60:.0f} minutes: the machine is given back"
        ) from None


async def read_terminal_line() -> str:
    """A line from this terminal, without its end. Raises Left at Ctrl-D; never back where there is no terminal."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()
    fd = _terminal_fd()
    if fd is None:
        return await typed

    def readable() -> None:
        loop.remove_reader(fd)
        try:
            data = os.read(fd, 4096)
        except OSError:  # the terminal is gone
            data = b""
        if typed.done():
            return
        if data:
            typed.set_result(data.decode(errors="replace").rstrip("\n"))
        else:
            typed.set_exception(PromptAbandoned("left by Ctrl-D"))

    loop.add_reader(fd, readable)
    try:
        return await typed
    finally:
        loop.remove_reader(fd)


def _terminal_fd() -> int | None:
    """Where this terminal's keys are read: where standard input is a text, from the terminal that messages go to."""
    for stream in (sys.stdin, sys.stderr):
        if stream is not None and stream.isatty():
            return stream.fileno()
    return None
