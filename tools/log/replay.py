"""Play a session again: in this terminal, or with --line on a virtual or a real machine.

A machine gets the same strokes in the same columns. It strikes no faster than ten characters a second, so a higher
--speed only shortens its silences. A running daemon at that line lends its machine, and BREAK there ends the replay.

At a terminal: space pauses, . strikes one character, + and - double and halve the speed, 1 is the normal speed,
[ goes back to an answer and ] on to the next one, Ctrl-C leaves. Paper cannot go back: [ prints the answer again, and
on a machine ] leaves out what lies between.

asr33 log replay LAST --idle 2
asr33 log replay 2026-11-30 --line /dev/ttyUSB0
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemon import config
from daemon.archive.session_reader import read_session
from daemon.control.client import Machine, acquire_machine, stopped_by_operator
from daemon.control.protocol import PrintJob, StrikeJob
from daemon.errors import StoppedByOperator
from drivers.clock import CHARACTER_S, WallClock
from drivers.paper.paper import CR, LF, Paper
from drivers.profile import Profile
from drivers.virtual import Strike
from model.log_format import log_to_stderr
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError
from tools.cli.output import check_stdout, print_message
from tools.cli.signals import handle_in_loop
from tools.log.log_folder import LAST, find_session, resolve_folder
from tools.log.playback import (
    KEY_HELP,
    MAX_SPEED,
    MIN_SPEED,
    Playback,
    PlaybackTarget,
    marked_strokes,
    shorten_silences,
)
from tools.log.recording import SheetRecording, record_sheet
from tools.paper_view.stream import PaperView
from tools.print import report_waiting
from tools.run import add_machine_argument
from tools.virtual.command import run_until_first_ends
from tools.virtual.terminal_keys import forward_keys, stdin_is_terminal

MACHINE_BATCH = 10  # strokes of one job: a key acts within a second
MAX_IDLE_S = 86_400.0
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("session", nargs="?", default=LAST, metavar="SESSION", help="the session (default: LAST)")
    speed = ranged_number(float, MIN_SPEED, MAX_SPEED)
    add("--speed", type=speed, default=1.0, metavar="N", help="times the speed of the session (default 1)")
    idle = ranged_number(float, 0, MAX_IDLE_S)
    add("--idle", type=idle, metavar="S", help="longest silence in seconds (default: as it was)")
    add("--line", metavar="PORT", help="the line of the machine to play on (default: this terminal)")
    add("--wait", action="store_true", help="wait for a turn if the machine is busy (default: off)")
    add("--fast", action="store_true", help="send at full speed, to a machine that is --fast too (default: off)")
    add_machine_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, DaemonError, DriverError, BrokenPipeError."""
    log_to_stderr(logging.WARNING)
    if args.line is None:
        check_stdout()
    path = find_session(resolve_folder(args), args.session)
    recording, _ = record_sheet(read_session(path))
    if not recording.strokes:
        raise ToolError(f"{path.stem}: nothing was struck in this session; asr33 log list shows others", "missing")
    return asyncio.run(_replay(recording, args))


async def _replay(recording: SheetRecording, args: argparse.Namespace) -> int:
    async with _open_target(recording, args) as target:
        strike_times = [stroke.at_s for stroke in recording.strokes]
        times = shorten_silences(strike_times, float("inf") if args.idle is None else args.idle)
        marks = marked_strokes(strike_times, [marker.at_s for marker in recording.markers])
        playback = Playback(times, marks, target, WallClock(), speed=args.speed)
        stop = asyncio.Event()
        works = [playback.play(), stop.wait()]
        if stdin_is_terminal():
            print_message(f"asr33: {KEY_HELP}")
            works.append(forward_keys(_PlaybackKeys(playback), lambda _: True))
        with handle_in_loop(lambda _: stop.set(), once=False):
            await run_until_first_ends(*works)
        if playback.next < len(recording.strokes):
            print_message(f"asr33: stopped after {playback.next:,} of {len(recording.strokes):,} strokes")
            return INTERRUPTED
    return 0


class _PlaybackKeys:
    """Keys of this terminal for a playback."""

    def __init__(self, playback: Playback) -> None:
        self._playback = playback

    async def type(self, text: str) -> None:
        self._playback.press(text)

    async def press_break(self) -> None:
        raise AssertionError("Ctrl-C leaves")


@asynccontextmanager
async def _open_target(recording: SheetRecording, args: argparse.Namespace) -> AsyncIterator[PlaybackTarget]:
    if args.line is None:
        view = PaperView(recording.profile, sys.stdout)
        if view.width_warning:
            view.print_message(f"asr33: {view.width_warning}")
        try:
            yield TerminalTarget(recording, view)
        finally:
            view.close()
        return
    chosen = config.load_config({"line": {"port": args.line}}, config_file=args.config, machine_file=args.machine)
    character_s = 0.0 if args.fast else CHARACTER_S
    async with acquire_machine(chosen, wait=args.wait, character_s=character_s, on_queued=report_waiting) as machine:
        for message in describe_differences(recording.profile, machine.profile):
            print_message(f"asr33: {message}")
        target = MachineTarget(recording, machine)
        if recording.strokes[0].byte not in (CR, LF):
            await target.begin_line()
        yield target
        await target.begin_line()


def describe_differences(recorded: Profile, machine: Profile) -> list[str]:
    """Returns a message for each way in which the paper of this machine will differ."""
    messages = []
    if machine.columns < recorded.columns:
        columns = f"the session has lines of {recorded.columns} columns and this machine {machine.columns}"
        messages.append(f"{columns}: the ends of longer lines are struck over each other")
    if _feeds_of(machine) != _feeds_of(recorded):
        messages.append("this machine returns or feeds by itself where that of the session did not: lines may differ")
    return messages


def _feeds_of(profile: Profile) -> tuple[bool, bool, bool]:
    return profile.auto_return, profile.return_feeds, profile.feed_returns


class TerminalTarget:
    """The paper in this terminal, or as plain text in a file or a pipe."""

    is_instant = True

    def __init__(self, recording: SheetRecording, view: PaperView) -> None:
        self._recording, self._view = recording, view
        self._paper = Paper.for_profile(recording.profile)  # for the column of each stroke

    def batch_size(self) -> int:
        return 1

    async def strike(self, first: int, end: int) -> None:
        for stroke in self._recording.strokes[first:end]:
            self._show(stroke.byte)
        await asyncio.sleep(0)  # a key may have come

    async def begin_line(self) -> None:
        if self._paper.column:
            self._show(CR)
            self._show(LF)

    def _show(self, byte: int) -> None:
        self._view.show_strike(Strike(0.0, byte, min(self._paper.column, self._paper.columns - 1)))
        self._paper.feed(bytes((byte,)))


class MachineTarget:
    """A machine, through its daemon or on a line that this command has opened."""

    is_instant = False

    def __init__(self, recording: SheetRecording, machine: Machine) -> None:
        self._codes = bytes(stroke.byte for stroke in recording.strokes)
        self._machine = machine

    def batch_size(self) -> int:
        return MACHINE_BATCH

    async def strike(self, first: int, end: int) -> None:
        await self._run_job(StrikeJob(self._codes[first:end]))

    async def begin_line(self) -> None:
        await self._run_job(PrintJob(""))

    async def _run_job(self, job: StrikeJob | PrintJob) -> None:
        try:
            await self._machine.run_job(job, lambda done, total: None)
        except StoppedByOperator:
            raise stopped_by_operator(self._machine.struck) from None
