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
from drivers.virtual.faults import parse_faults
from tools import virtual_options
from tools.cli.output import AppendFile, check_stdout
from tools.cli.terminal_keys import forward_keys, stdin_is_terminal
from tools.paper_view import save
from tools.paper_view.stream import PaperView
from tools.virtual_controls import VirtualControls

_DOUBLE_PRESS_S = 1.0  # two Ctrl-C within this leave


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
    virtual_options.add_arguments(parser)
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
    check_stdout()
    keeping = VirtualRecorder()
    virtual = _build_machine(args, keeping.on_strike)
    shown = keeping.view = PaperView(virtual.typing_unit.profile, sys.stdout)
    with contextlib.ExitStack() as stack:
        keep = save.paper_saver(args.paper) if args.paper else None
        if args.events:
            keeping.strike_file = stack.enter_context(
                contextlib.closing(AppendFile(args.events, on_error=shown.print_message))
            )
        if args.punch:
            keeping.row_file = stack.enter_context(
                contextlib.closing(AppendFile(args.punch, "ab", "rows", shown.print_message))
            )
            keeping.tape = virtual.sim.punch.tape
        try:
            asyncio.run(_run_machine(virtual, args.link, shown))
        finally:
            keeping.record_rows()
            shown.close()
            if keep is not None:
                keep(virtual.typing_unit.paper, virtual.typing_unit.profile.wheel)
    return 0


def _build_machine(args: argparse.Namespace, on_strike: Callable[[Strike], None]) -> VirtualTeletype:
    clock = WallClock()
    return VirtualTeletype(
        clock,
        link=args.link,
        character_s=0.0 if args.fast else CHARACTER_S,
        on_strike=on_strike,
        equipment=virtual_options.equipment_from_arguments(args),
        faults=parse_faults(args.faults),
        rng=random.Random(args.seed),
        port=SocketPort(clock, *virtual_options.parse_address(args.listen)) if args.listen else None,
    )


async def _run_machine(machine: VirtualTeletype, link: Path | None, view: PaperView) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    async with machine:
        view.print_message(f"asr33 virtual: the line is {link or machine.path}")
        if stdin_is_terminal():
            view.print_message("asr33 virtual: Ctrl-C is BREAK, twice at once leaves; Ctrl-] ? names the levers")
        if view.width_warning:
            view.print_message(f"asr33 virtual: {view.width_warning}")
        levers = VirtualControls(machine, lambda note: view.print_message(f"asr33 virtual: {note}"))
        await run_until_first_ends(
            leave.wait(),
            machine.wait_until_stopped(),
            forward_keys(levers, leave_on_double_press(_DOUBLE_PRESS_S, time.monotonic)),
        )


class VirtualRecorder:
    """What is kept of the machine's work, and what of it is shown."""

    def __init__(self) -> None:
        self.view: PaperView | None = None
        self.strike_file: AppendFile | None = None
        self.row_file: AppendFile | None = None
        self.tape = bytearray()
        self._recorded_rows = 0

    def on_strike(self, strike: Strike) -> None:
        if self.strike_file is not None:
            self.strike_file.write(json.dumps(asdict(strike)).encode() + b"\n")
        self.record_rows()
        if self.view is not None:
            self.view.show_strike(strike)

    def record_rows(self) -> None:
        """What the punch has made since the last time."""
        if self.row_file is not None and (rows := bytes(self.tape[self._recorded_rows :])):
            self.row_file.write(rows)
            self._recorded_rows += len(rows)


async def run_until_first_ends(*works: Coroutine[Any, Any, object]) -> None:
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


def leave_on_double_press(seconds: float, clock: Callable[[], float]) -> Callable[[int], bool]:
    """The rule by which Ctrl-C leaves here: when it comes a second time at once."""
    last = float("-inf")

    def leaves(overtaken: int) -> bool:
        nonlocal last
        before, last = last, clock()
        return last - before < seconds

    return leaves
