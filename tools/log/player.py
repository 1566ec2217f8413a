"""Plays a recorded sheet in this terminal, or strikes it on a machine."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemon import config
from daemon.control.client import Machine, acquire_machine, stopped_by_operator
from daemon.control.protocol import PrintJob, StrikeJob
from daemon.errors import StoppedByOperator
from drivers.clock import CHARACTER_S, WallClock
from drivers.paper.paper import CR, LF, Paper
from drivers.profile import Profile
from drivers.virtual import Strike
from tools.cli.output import print_message
from tools.cli.signals import handle_in_loop
from tools.log.playback import KEY_HELP, Playback, PlaybackTarget, marked_strokes, shorten_silences
from tools.log.recording import SheetRecording
from tools.paper_view.stream import PaperView
from tools.print import report_waiting
from tools.virtual.command import run_until_first_ends
from tools.virtual.terminal_keys import forward_keys, stdin_is_terminal

MACHINE_BATCH = 10  # strokes of one job: a key acts within a second
INTERRUPTED = 130  # 128 + SIGINT, as shells count


async def replay(recording: SheetRecording, args: argparse.Namespace) -> int:
    """Plays to the end, or until Ctrl-C; returns the exit code. Raises DaemonError, DriverError, ToolError."""
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
