"""`asr33 virtual`: the machine alone, at the far end of a pty; this terminal is its keyboard and its paper."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, ClassVar, TextIO

from drivers.clock import CHARACTER_S, WallClock
from drivers.paper import BEL, CR, LF, glyph_of
from drivers.virtual import Strike, VirtualTeletype
from tools.keys import at_terminal, operate

_TWICE_S = 1.0  # two Ctrl-C within this leave


class OutputLost(Exception):
    """What is printed here can be kept nowhere. `exit_code` is EX_IOERR of sysexits.h."""

    exit_code: ClassVar[int] = 74


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--link", type=Path, metavar="PATH", help="a name for the pty, which asr33 run --line takes")
    parser.add_argument("--fast", action="store_true", help="print as fast as bytes come, not ten a second")
    parser.add_argument("--events", type=Path, metavar="FILE", help="write a JSON line for each strike")


def main(args: argparse.Namespace) -> int:
    """Runs until SIGTERM, or Ctrl-C twice within a second. Raises DriverError, OutputLost, BrokenPipeError."""
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(contextlib.closing(Record(args.events))) if args.events else None
        asyncio.run(_run(args.link, 0.0 if args.fast else CHARACTER_S, record))
    return 0


async def _run(link: Path | None, character_s: float, record: Record | None) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)

    def on_strike(strike: Strike) -> None:
        if record is not None:
            record.write(strike)
        show(strike, sys.stdout)

    async with VirtualTeletype(WallClock(), link=link, character_s=character_s, on_strike=on_strike) as machine:
        say(f"asr33 virtual: the line is {link or machine.path}")
        if at_terminal():
            say("asr33 virtual: Ctrl-C is BREAK; twice within a second leaves")
        await first_of(leave.wait(), machine.running(), operate(machine, twice_within(_TWICE_S, time.monotonic)))
    if at_terminal():
        say("")  # the shell's prompt is not for the paper's line


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Run all until one ends, then end the others; what went wrong in any of them is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def twice_within(seconds: float, clock: Callable[[], float]) -> Callable[[int], bool]:
    """The rule by which Ctrl-C leaves here: when it comes a second time at once."""
    last = float("-inf")

    def leaves(overtaken: int) -> bool:
        nonlocal last
        before, last = last, clock()
        return last - before < seconds

    return leaves


def show(strike: Strike, out: TextIO) -> None:
    """What a strike looks like in a terminal; a file gets no carriage returns, and no bells. Raises as `written`."""
    terminal = out.isatty()
    if strike.byte == LF:
        # A terminal goes to its margin with each line feed, a Model 33 stays where it is.
        text = f"\n\x1b[{strike.column}C" if terminal and strike.column else "\n"
    elif strike.byte in (CR, BEL):
        text = chr(strike.byte) if terminal else ""
    else:
        text = glyph_of(strike.byte)
    with written():
        out.write(text)
        out.flush()


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Standard output takes what is written in here. Raises OutputLost, and BrokenPipeError if its reader has left."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or "it is closed"
        raise OutputLost(f"the paper can go nowhere ({reason}): give standard output a place that takes it") from None


def say(line: str) -> None:
    """To whoever sits at the terminal; nobody there is no error."""
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")


class Record:
    """A file of strikes, one line of JSON each, there at once for whoever follows it. A full disk ends it in a word."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise OutputLost(f"{path} cannot be written ({error.strerror}): name a file in a folder of yours") from None

    def write(self, strike: Strike) -> None:
        if self._file.closed:
            return
        fields = {"start": strike.start, "byte": strike.byte, "column": strike.column, "smeared": strike.smeared}
        try:
            self._file.write(json.dumps(fields).encode() + b"\n")
        except OSError as error:
            self.close()
            say(f"asr33 virtual: no more strikes go to {self._path} ({error.strerror}); the paper goes on")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
