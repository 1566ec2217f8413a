"""`asr33 virtual`: the machine alone, at the far end of a pty; this terminal is its keyboard and its paper.

Ctrl-C is BREAK, twice within a second leaves. Ctrl-] and a letter works what a terminal has no key for: H the HERE IS
key, S and X the reader's START and STOP, P the punch, L the knob between LINE and LOCAL, M the motor, O opens the loop
for a second, U pulls the cable and plugs it in.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO

from drivers.clock import CHARACTER_S, WallClock
from drivers.paper import BEL, CR, LF, Paper, glyph_of
from drivers.profile import Wheel
from drivers.virtual import SocketPort, Strike, VirtualTeletype
from drivers.virtual.faults import parse
from tools import fit
from tools.keys import at_terminal, operate
from tools.levers import Levers

_TWICE_S = 1.0  # two Ctrl-C within this leave


class OutputLost(Exception):
    """What is printed here can be kept nowhere. `exit_code` is EX_IOERR of sysexits.h."""

    exit_code: ClassVar[int] = 74


def add_arguments(parser: argparse.ArgumentParser) -> None:
    line = parser.add_mutually_exclusive_group()
    line.add_argument("--link", type=Path, metavar="PATH", help="a name for the pty, which asr33 run --line takes")
    line.add_argument("--listen", metavar="HOST:PORT", help="a TCP port, as of a serial server, in place of a pty")
    parser.add_argument("--fast", action="store_true", help="print as fast as bytes come, not ten a second")
    parser.add_argument("--events", type=Path, metavar="FILE", help="write a JSON line for each strike")
    parser.add_argument("--punch", type=Path, metavar="FILE", help="what is punched, raw, appended row by row")
    parser.add_argument("--paper", type=Path, metavar="FILE", help="the sheet, at the end: text, or a picture if .png")
    fit.add_arguments(parser)
    parser.add_argument(
        "--faults",
        default="",
        metavar="LIST",
        help="lost=SHARE, doubled=SHARE, flipped=SHARE of the bytes; split reads; slow or fast line, by 1 %%; "
        "unplug=N or open=N after so many bytes; cold motor. As lost=0.001,split,slow",
    )
    parser.add_argument("--seed", type=int, default=33, help="of the faults' chance")


def main(args: argparse.Namespace) -> int:
    """Runs until SIGTERM, or Ctrl-C twice within a second. Raises DriverError, OutputLost, BrokenPipeError."""
    keeping = Keeping()
    virtual = _built(args, keeping.take)
    with contextlib.ExitStack() as stack:
        keep = _keeper(args.paper) if args.paper else None
        if args.events:
            keeping.record = stack.enter_context(contextlib.closing(Record(args.events)))
        if args.punch:
            keeping.rows = stack.enter_context(contextlib.closing(Record(args.punch, "ab", "rows")))
            keeping.tape = virtual.station.punch.tape
        try:
            asyncio.run(_run(virtual, args.link))
        finally:
            keeping.take_rows()
            if keep is not None:
                keep(virtual.machine.paper, virtual.machine.profile.wheel)
    return 0


def _built(args: argparse.Namespace, on_strike: Callable[[Strike], None]) -> VirtualTeletype:
    clock = WallClock()
    return VirtualTeletype(
        clock,
        link=args.link,
        character_s=0.0 if args.fast else CHARACTER_S,
        on_strike=on_strike,
        fitted=fit.fitted(args),
        faults=parse(args.faults),
        chance=random.Random(args.seed),
        port=SocketPort(clock, *fit.address(args.listen)) if args.listen else None,
    )


async def _run(machine: VirtualTeletype, link: Path | None) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    async with machine:
        say(f"asr33 virtual: the line is {link or machine.path}")
        if at_terminal():
            say("asr33 virtual: Ctrl-] and ? names the levers; Ctrl-C is BREAK, twice within a second leaves")
        levers = Levers(machine, lambda note: say(f"asr33 virtual: {note}"))
        await first_of(leave.wait(), machine.running(), operate(levers, twice_within(_TWICE_S, time.monotonic)))
    if at_terminal():
        say("")  # the shell's prompt is not for the paper's line


class Keeping:
    """What is kept of the machine's work, and what of it is shown."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.rows: Record | None = None
        self.tape = bytearray()
        self._punched = 0

    def take(self, strike: Strike) -> None:
        if self.record is not None:
            self.record.write(json.dumps(asdict(strike)).encode() + b"\n")
        self.take_rows()
        show(strike, sys.stdout)

    def take_rows(self) -> None:
        """What the punch has made since the last time."""
        if self.rows is not None and (rows := bytes(self.tape[self._punched :])):
            self.rows.write(rows)
            self._punched += len(rows)


def _keeper(path: Path) -> Callable[[Paper, Wheel], None]:
    """How the sheet is kept at the end. What stands against it is said now. Raises OutputLost, ModuleNotFoundError."""
    contents: Callable[[Paper, Wheel], Iterable[bytes]] = _text
    if path.suffix.lower() == ".png":
        from drivers.picture import pages

        def drawn(paper: Paper, wheel: Wheel) -> Iterable[bytes]:
            return pages(paper.lines, columns=paper.columns, wheel=wheel)

        contents = drawn
    with contextlib.closing(Record(path, "ab")):
        pass
    return lambda paper, wheel: _keep(path, contents(paper, wheel))


def _keep(path: Path, sheets: Iterable[bytes]) -> None:
    """A sheet too long for one picture goes on in sheet-2.png."""
    for number, data in enumerate(sheets, 1):
        place = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            place.write_bytes(data)
        except OSError as error:
            raise OutputLost(
                f"{place} cannot be written ({error.strerror}): name a file in a folder of yours"
            ) from None


def _text(paper: Paper, wheel: Wheel) -> Iterable[bytes]:
    text = paper.text() + "\n"
    return [(text.translate({0x5E: "↑", 0x5F: "←"}) if wheel == "1963" else text).encode()]


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
    """A file that grows, there at once for whoever follows it. A full disk ends it in a word."""

    def __init__(self, path: Path, mode: Literal["wb", "ab"] = "wb", what: str = "strikes") -> None:
        self._path = path
        self._what = what
        try:
            self._file = path.open(mode, buffering=0)
        except OSError as error:
            raise OutputLost(f"{path} cannot be written ({error.strerror}): name a file in a folder of yours") from None

    def write(self, data: bytes) -> None:
        if self._file.closed:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self.close()
            say(f"asr33 virtual: no more {self._what} go to {self._path} ({error.strerror}); the paper goes on")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
