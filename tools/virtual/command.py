"""`asr33 virtual`: a virtual machine at the far end of a pty; this terminal is its keyboard and its paper.

Ctrl-C is BREAK; twice within a second it leaves. Ctrl-] and a letter works the controls that a terminal has no key for:
H the HERE IS key, S and X the reader's START and STOP, P the punch, L the switch between LINE and LOCAL, M the motor, O
opens the loop for a second, U unplugs the cable and plugs it in, T puts the punched tape into the reader.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from drivers.clock import CHARACTER_S, WallClock
from drivers.virtual import SocketPort, Strike, VirtualTeletype
from drivers.virtual.faults import parse_faults
from tools.cli.output import check_stdout
from tools.cli.signals import handle_in_loop
from tools.paper_view.stream import PaperView
from tools.virtual import options
from tools.virtual.controls import VirtualControls
from tools.virtual.recorder import AppendFile, VirtualRecorder, paper_saver
from tools.virtual.terminal_keys import forward_keys, stdin_is_terminal

_DOUBLE_PRESS_S = 1.0  # Ctrl-C twice within this time leaves


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    line = parser.add_mutually_exclusive_group()
    line.add_argument("--link", type=Path, metavar="PATH", help="link to the pty, for asr33 run --line (default: none)")
    line.add_argument("--listen", metavar="HOST:PORT", help="a TCP port, as of a serial server (default: a pty)")
    add("--fast", action="store_true", help="print at full speed, not at 10 characters/s (default: off)")
    add("--events", type=Path, metavar="FILE", help="a JSON line for each strike (default: none)")
    add("--punch", type=Path, metavar="FILE", help="the punched rows, raw, appended as they come (default: none)")
    paper_help = "the sheet, written at the end: text, or a picture if the name ends in .png (default: none)"
    add("--paper", type=Path, metavar="FILE", help=paper_help)
    options.add_arguments(parser)
    faults_help = (
        "faults of the line, separated by commas: lost=SHARE, doubled=SHARE, flipped=SHARE of the bytes; split "
        "(reads); slow or fast (by 1 %%); unplug=N or open=N (after N bytes); cold (motor) (default: none)"
    )
    add("--faults", default="", metavar="LIST", help=faults_help)
    add("--seed", type=int, default=33, metavar="N", help="random seed of the faults (default 33)")


def main(args: argparse.Namespace) -> int:
    """Runs until SIGTERM, or Ctrl-C twice within a second. Raises DriverError, ToolError, BrokenPipeError."""
    check_stdout()
    recorder = VirtualRecorder()
    machine = _build_machine(args, recorder.on_strike)
    view = recorder.view = PaperView(machine.typing_unit.profile, sys.stdout)

    def report(message: str) -> None:
        view.print_message(f"asr33 virtual: {message}")

    with contextlib.ExitStack() as stack:
        save_paper = paper_saver(args.paper) if args.paper else lambda *_: None
        if args.events:
            recorder.strike_file = AppendFile(args.events, "wb", "strikes", report)
            stack.callback(recorder.strike_file.close)
        if args.punch:
            recorder.row_file = AppendFile(args.punch, "ab", "rows", report)
            stack.callback(recorder.row_file.close)
            recorder.tape = machine.sim.punch.tape
        try:
            asyncio.run(_run_machine(machine, args.link, view.width_warning, report))
        finally:
            recorder.record_rows()
            view.close()
            save_paper(machine.typing_unit.paper, machine.typing_unit.profile.wheel)
    return 0


def _build_machine(args: argparse.Namespace, on_strike: Callable[[Strike], None]) -> VirtualTeletype:
    clock = WallClock()
    return VirtualTeletype(
        clock,
        link=args.link,
        character_s=0.0 if args.fast else CHARACTER_S,
        on_strike=on_strike,
        equipment=options.equipment_from_arguments(args),
        faults=parse_faults(args.faults),
        rng=random.Random(args.seed),
        port=SocketPort(clock, *options.parse_address(args.listen)) if args.listen else None,
    )


async def _run_machine(
    machine: VirtualTeletype, link: Path | None, warning: str, report: Callable[[str], None]
) -> None:
    stop = asyncio.Event()
    with handle_in_loop(lambda _: stop.set(), once=False):
        async with machine:
            report(f"the line is {link or machine.path}")
            if stdin_is_terminal():
                report("Ctrl-C is BREAK, twice at once leaves; Ctrl-] ? lists the controls")
            if warning:
                report(warning)
            typing = forward_keys(
                VirtualControls(machine, report), leave_on_double_press(_DOUBLE_PRESS_S, time.monotonic)
            )
            await run_until_first_ends(stop.wait(), machine.wait_until_stopped(), typing)


async def run_until_first_ends(*works: Coroutine[Any, Any, object]) -> None:
    """Runs all coroutines until one ends, then cancels the others; raises the error of any of them."""
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
    """Returns a rule for `forward_keys`: Ctrl-C leaves when it comes twice within the seconds."""
    last_s = float("-inf")

    def should_leave(dropped_keys: int) -> bool:
        nonlocal last_s
        before_s, last_s = last_s, clock()
        return last_s - before_s < seconds

    return should_leave
