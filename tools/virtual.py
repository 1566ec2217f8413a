"""`asr33 virtual`: the machine alone, at the far end of a pty; this terminal is its keyboard and its paper.

Ctrl-C is BREAK, twice within a second leaves. Ctrl-] and a letter works what a terminal has no key for: H the HERE IS
key, S and X the reader's START and STOP, P the punch, L the knob between LINE and LOCAL, M the motor, O opens the loop
for a second, U pulls the cable and plugs it in, T tears off the punched tape and puts it into the reader.
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
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drivers.clock import CHARACTER_S, WallClock
from drivers.virtual import SocketPort, Strike, VirtualTeletype
from drivers.virtual.faults import parse
from tools import fit, sheet
from tools.keys import at_terminal, operate
from tools.levers import Levers
from tools.output import Record, open_output
from tools.shown import Shown

_TWICE_S = 1.0  # two Ctrl-C within this leave


def add_arguments(parser: argparse.ArgumentParser) -> None:
    line = parser.add_mutually_exclusive_group()
    line.add_argument("--link", type=Path, metavar="PATH", help="a name for the pty, which asr33 run --line takes")
    line.add_argument("--listen", metavar="HOST:PORT", help="a TCP port, as of a serial server, in place of a pty")
    parser.add_argument("--fast", action="store_true", help="print as fast as bytes come, not ten a second")
    parser.add_argument("--events", type=Path, metavar="FILE", help="write a JSON line for each strike")
    parser.add_argument("--punch", type=Path, metavar="FILE", help="what is punched, raw, appended row by row")
    parser.add_argument(
        "--paper",
        type=Path,
        metavar="FILE",
        help="the sheet, at the end, in place of what was there: text, or a picture if .png",
    )
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
    open_output()
    keeping = Keeping()
    virtual = _built(args, keeping.take)
    shown = keeping.shown = Shown(virtual.machine.profile, sys.stdout)
    with contextlib.ExitStack() as stack:
        keep = sheet.keeper(args.paper) if args.paper else None
        if args.events:
            keeping.record = stack.enter_context(contextlib.closing(Record(args.events, tell=shown.say)))
        if args.punch:
            keeping.rows = stack.enter_context(contextlib.closing(Record(args.punch, "ab", "rows", shown.say)))
            keeping.tape = virtual.station.punch.tape
        try:
            asyncio.run(_run(virtual, args.link, shown))
        finally:
            keeping.take_rows()
            shown.leave()
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


async def _run(machine: VirtualTeletype, link: Path | None, shown: Shown) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    async with machine:
        shown.say(f"asr33 virtual: the line is {link or machine.path}")
        if at_terminal():
            shown.say("asr33 virtual: Ctrl-C is BREAK, twice at once leaves; Ctrl-] ? names the levers")
        if shown.narrow:
            shown.say(f"asr33 virtual: {shown.narrow}")
        levers = Levers(machine, lambda note: shown.say(f"asr33 virtual: {note}"))
        await first_of(leave.wait(), machine.running(), operate(levers, twice_within(_TWICE_S, time.monotonic)))


class Keeping:
    """What is kept of the machine's work, and what of it is shown."""

    def __init__(self) -> None:
        self.shown: Shown | None = None
        self.record: Record | None = None
        self.rows: Record | None = None
        self.tape = bytearray()
        self._punched = 0

    def take(self, strike: Strike) -> None:
        if self.record is not None:
            self.record.write(json.dumps(asdict(strike)).encode() + b"\n")
        self.take_rows()
        if self.shown is not None:
            self.shown.take(strike)

    def take_rows(self) -> None:
        """What the punch has made since the last time."""
        if self.rows is not None and (rows := bytes(self.tape[self._punched :])):
            self.rows.write(rows)
            self._punched += len(rows)


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
