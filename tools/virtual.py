"""`asr33 virtual`: the machine alone, at the far end of a pty; this terminal is its keyboard and its paper."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from drivers.clock import WallClock
from drivers.errors import DriverError, NoSuchKey
from drivers.paper import BEL, CR, LF, glyph_of
from drivers.virtual import CHARACTER_S, Strike, VirtualTeletype

_CONTROL_C = "\x03"
_TWICE_S = 1.0  # two Ctrl-C within this leave


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--link", type=Path, metavar="PATH", help="a name for the pty, which asr33 run --line takes")
    parser.add_argument("--fast", action="store_true", help="print as fast as bytes come, not ten a second")
    parser.add_argument("--events", type=Path, metavar="FILE", help="write a JSON line for each strike")


def main(args: argparse.Namespace) -> int:
    """Runs until SIGTERM, or Ctrl-C twice within a second."""
    with contextlib.ExitStack() as stack:
        try:
            record = stack.enter_context(args.events.open("w", encoding="utf-8")) if args.events else None
            asyncio.run(_run(args.link, 0.0 if args.fast else CHARACTER_S, record))
        except (DriverError, OSError) as error:
            sys.stderr.write(f"asr33 virtual: {error}\n")
            return 1
    return 0


async def _run(link: Path | None, character_s: float, record: TextIO | None) -> None:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, leave.set)

    def on_strike(strike: Strike) -> None:
        if record is not None:
            write_event(strike, record)
        try:
            show(strike, sys.stdout)
        except OSError:  # nobody reads the paper any more
            leave.set()

    keys: asyncio.Queue[str] = asyncio.Queue()
    async with VirtualTeletype(WallClock(), link=link, character_s=character_s, on_strike=on_strike) as machine:
        with _keyboard(_Fingers(keys, leave).press):
            sys.stderr.write(f"asr33 virtual: the line is {link or machine.path}\r\n")
            typist = asyncio.create_task(_type(machine, keys))
            await leave.wait()
            typist.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await typist


def show(strike: Strike, out: TextIO) -> None:
    """What a strike looks like in a terminal; a file gets no carriage returns, and no bells."""
    if strike.byte == LF:
        out.write("\n")
    elif strike.byte in (CR, BEL):
        out.write(chr(strike.byte) if out.isatty() else "")
    else:
        out.write(glyph_of(strike.byte))
    out.flush()


def write_event(strike: Strike, record: TextIO) -> None:
    """One line of JSON at once, so that whoever follows the file sees it as it happens."""
    fields = {"start": strike.start, "byte": strike.byte, "column": strike.column, "smeared": strike.smeared}
    record.write(json.dumps(fields) + "\n")
    record.flush()


class _Fingers:
    """What is pressed here, on its way to the machine's keys; a Ctrl-C overtakes all of it."""

    def __init__(self, keys: asyncio.Queue[str], leave: asyncio.Event) -> None:
        self._keys = keys
        self._leave = leave
        self._broke_at = float("-inf")

    def press(self, key: str) -> None:
        if key == _CONTROL_C:
            while not self._keys.empty():
                self._keys.get_nowait()
            if time.monotonic() - self._broke_at < _TWICE_S:
                self._leave.set()
            self._broke_at = time.monotonic()
        self._keys.put_nowait(key)


async def _type(machine: VirtualTeletype, keys: asyncio.Queue[str]) -> None:
    """Keys to the machine, one after the other, at its own pace."""
    while True:
        key = await keys.get()
        if key == _CONTROL_C:
            await machine.press_break()
            continue
        with contextlib.suppress(NoSuchKey):  # a key that this terminal has and a Model 33 has not
            await machine.type(key)


@contextlib.contextmanager
def _keyboard(press: Callable[[str], None]) -> Iterator[None]:
    """This terminal's keys, each as it is pressed; without a terminal those of stdin, the end of a line is RETURN."""
    loop = asyncio.get_running_loop()
    if not sys.stdin.isatty():
        # A thread, because a file cannot be waited for; a daemon, because nothing can interrupt its read.
        threading.Thread(target=_read_stdin, args=(loop, press), daemon=True).start()
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    sys.stderr.write("asr33 virtual: Ctrl-C is BREAK; twice within a second leaves\r\n")
    loop.add_reader(fd, _read_keys, fd, press)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        sys.stderr.write("\n")


def _read_keys(fd: int, press: Callable[[str], None]) -> None:
    data = os.read(fd, 1024)
    if len(data) > 1 and data[:1] == b"\x1b":
        return  # an arrow or a function key
    for byte in data:
        press(chr(byte))


def _read_stdin(loop: asyncio.AbstractEventLoop, press: Callable[[str], None]) -> None:
    while key := sys.stdin.read(1):
        try:
            loop.call_soon_threadsafe(press, "\r" if key == "\n" else key)
        except RuntimeError:  # the loop is closed: we are leaving
            return
