"""Replay: the times and the keys of a playback on a clock that jumps, and the same paper on a virtual machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_kept_session import KeptSession
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for
from fakes_teletype import PROSE, JumpingClock, TeletypeBench, on_jumping_loop, read_terminal_until, terminal
from hypothesis import given
from hypothesis import strategies as st

from daemon.archive.session_reader import parse_session, read_session
from daemon.control.client import DirectMachine
from daemon.control.protocol import StrikeJob
from daemon.errors import ProtocolError
from drivers.profile import Profile
from tools.log.playback import Playback, marked_strokes, shorten_silences
from tools.log.player import MachineTarget, describe_differences
from tools.log.recording import SheetRecording, leaves_mark, record_sheet

TIMES = [0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 60.0, 60.1]
MARKS = [3, 6]


class _Screen:
    """A target that records when each stroke came."""

    is_instant = True

    def __init__(self, batch: int = 1, stroke_s: float = 0.0) -> None:
        self.is_instant = not stroke_s
        self.struck: list[tuple[float, int]] = []
        self.lines: list[float] = []
        self._batch, self._stroke_s = batch, stroke_s

    def batch_size(self) -> int:
        return self._batch

    async def strike(self, first: int, end: int) -> None:
        for number in range(first, end):
            self.struck.append((round(JumpingClock().now(), 3), number))
            await asyncio.sleep(self._stroke_s)

    async def begin_line(self) -> None:
        self.lines.append(JumpingClock().now())

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.struck]

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.struck]


async def play(
    screen: _Screen, keys: Sequence[tuple[float, str]] = (), times: Sequence[float] = TIMES, speed: float = 1.0
) -> Playback:
    playback = Playback(times, MARKS, screen, JumpingClock(), speed=speed)
    for at, key in keys:
        asyncio.get_running_loop().call_later(at, playback.press, key)
    await playback.play()
    return playback


@on_jumping_loop
async def test_each_stroke_comes_at_its_time() -> None:
    screen = _Screen()
    await play(screen)
    assert screen.times == TIMES


@on_jumping_loop
async def test_a_speed_shortens_all_times() -> None:
    screen = _Screen()
    await play(screen, speed=2.0)
    assert screen.times == [at / 2 for at in TIMES]


@on_jumping_loop
async def test_keys_change_the_speed_from_now_on() -> None:
    screen = _Screen()
    playback = await play(screen, [(1.0, "+"), (2.0, "+"), (2.4, "1"), (3.0, "-")])
    # A second at 1, one at 2 and 0.4 s at 4 is 4.6 s of the sheet.
    assert screen.times[3] == 2.8
    assert playback.speed == 0.5


@on_jumping_loop
async def test_space_stops_the_time_and_a_point_strikes_one() -> None:
    screen = _Screen()
    await play(screen, [(1.0, " "), (11.0, "."), (12.0, "."), (20.0, " ")])
    assert screen.struck[3:6] == [(11.0, 3), (12.0, 4), (20.1, 5)]


@on_jumping_loop
async def test_brackets_go_to_answers() -> None:
    screen = _Screen()
    await play(screen, [(1.0, "]"), (1.5, "["), (3.0, "]")])
    # The first answer; then from the beginning, since it has only just begun; then over the silence.
    assert screen.numbers == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6, 7]
    assert screen.times[3:] == [1.0, 1.1, 1.2, 1.5, 1.6, 1.7, 3.0, 3.1, 3.2, 58.0, 58.1]
    assert len(screen.lines) == 1


@on_jumping_loop
async def test_a_bracket_prints_a_late_answer_again() -> None:
    screen = _Screen()
    await play(screen, [(10.0, "["), (12.0, "]"), (12.05, "]")])
    assert screen.times[6:9] == [10.0, 10.1, 10.2]
    assert screen.numbers == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7]


@on_jumping_loop
async def test_on_a_machine_a_bracket_leaves_out_what_lies_between() -> None:
    machine = _Screen(stroke_s=0.1)
    await play(machine, [(1.0, "]"), (1.05, "]")])
    assert machine.numbers == [0, 1, 2, 3, 6, 7]
    assert len(machine.lines) == 1


@on_jumping_loop
async def test_a_machine_is_not_hurried_and_its_silences_stay() -> None:
    text = [number / 10 for number in range(100)]
    machine = _Screen(batch=10, stroke_s=0.1)
    await play(machine, times=[*text, 30.0], speed=4.0)
    assert machine.times[99] == pytest.approx(9.9, abs=0.1)
    assert machine.times[100] - machine.times[99] == pytest.approx(20 / 4, abs=0.6)


@on_jumping_loop
async def test_a_machine_is_asked_for_a_break_in_a_long_silence() -> None:
    calls: list[tuple[int, int]] = []

    class Asked(_Screen):
        async def strike(self, first: int, end: int) -> None:
            calls.append((first, end))
            await super().strike(first, end)

    await play(Asked())
    assert calls.count((6, 6)) > 8


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30), st.floats(0, 100))
def test_shortened_silences_keep_what_is_shorter(gaps: list[float], idle_s: float) -> None:
    times = [sum(gaps[:count]) for count in range(1, len(gaps) + 1)]
    shortened = shorten_silences(times, idle_s)
    assert shortened[0] == 0
    for (before, after), (first, second) in zip(pairwise(times), pairwise(shortened), strict=True):
        assert second - first == pytest.approx(min(after - before, idle_s), abs=1e-6)


def six_hours() -> KeptSession:
    """A night with thirteen answers: five minutes of paper."""
    kept = KeptSession()
    for number in range(13):
        kept.wait(1800)
        kept.type("WHAT IS IT?")
        kept.wait(5)
        kept.answer(f"Number {number} is a long answer in some words. " * 5)
    return kept


@on_jumping_loop
async def test_six_hours_with_five_minutes_of_paper_play_in_six_minutes() -> None:
    recording, _ = record_sheet(six_hours().read())
    assert recording.duration_s > 6 * 3600
    assert 280 < len(recording.strokes) / 10 < 310
    bench = TeletypeBench()
    times = shorten_silences([stroke.at_s for stroke in recording.strokes], 2.0)
    target = MachineTarget(recording, DirectMachine(bench.tty))
    await Playback(times, [], target, JumpingClock()).play()
    assert JumpingClock().now() < 360
    assert codes_of(bench) == [stroke.byte for stroke in recording.strokes]


def codes_of(bench: TeletypeBench) -> list[int]:
    return [strike.byte for strike in bench.typing_unit.strikes]


@on_jumping_loop
async def test_the_replay_of_a_session_is_the_same_paper_strike_for_strike(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, ScriptedModel(split_words(PROSE)))
    await daemon.type("WHO WAS\x7f\x7f\x7fIS ADA LOVELACE? " + "AND SO ON " * 9)
    await daemon.type("GO ON")
    await asyncio.sleep(60)
    daemon.running.cancel()
    await asyncio.wait({daemon.running})
    kept = daemon.bench.typing_unit.strikes
    daemon.log.close()
    records = [json.loads(line) for line in daemon.log.path.read_text().splitlines()]
    records = [{"t": 0.0, "ev": "session", "wall": "2026-11-30T18:00:00Z"}, *records]
    session = parse_session(daemon.log.path, records)
    assert len(session.strokes) == len(kept) > 500

    replayed = await replay_on_new_machine(record_sheet(session)[0])
    assert [(strike.byte, strike.column) for strike in replayed.typing_unit.strikes] == [
        (strike.byte, strike.column) for strike in kept
    ]
    assert replayed.typing_unit.paper.lines == daemon.bench.typing_unit.paper.lines
    gaps = [after.start - before.start for before, after in pairwise(kept)]
    again = [after.start - before.start for before, after in pairwise(replayed.typing_unit.strikes)]
    assert max(abs(first - second) for first, second in zip(gaps, again, strict=True)) < 0.11


async def replay_on_new_machine(recording: SheetRecording) -> TeletypeBench:
    bench = TeletypeBench(profile=Profile(duplex="full"))
    times = shorten_silences([stroke.at_s for stroke in recording.strokes], float("inf"))
    await Playback(times, [], MachineTarget(recording, DirectMachine(bench.tty)), JumpingClock()).play()
    assert bench.typing_unit.driver_errors == []
    return bench


@on_jumping_loop
async def test_overstrike_is_replayed_in_its_passes() -> None:
    kept = KeptSession()
    kept.print("".join(f"{char}\b{char}" for char in "BOLD") + "\n", overstrike=True)
    kept.print_raw("OOO\rXXX\n")
    recording, _ = record_sheet(kept.read())
    bench = await replay_on_new_machine(recording)
    assert bench.typing_unit.paper.lines == recording.paper().lines
    assert bench.typing_unit.paper.lines[1] == ["OX"] * 3


def test_a_job_of_strikes_cannot_work_the_reader_or_the_punch() -> None:
    for code in set(range(256)) - {7, 10, 13} - set(range(0x20, 0x7F)):
        with pytest.raises(ProtocolError, match=f"0x{code:02X} is no glyph"):
            StrikeJob(bytes((code,)))


def test_strokes_that_leave_no_mark_are_left_out() -> None:
    assert [code for code in range(128) if leaves_mark(code)] == [7, 10, 13, *range(0x20, 0x7F)]


def test_a_machine_that_prints_otherwise_is_named() -> None:
    assert describe_differences(Profile(), Profile()) == []
    [narrow] = describe_differences(Profile(columns=86), Profile())
    assert "86 columns and this machine 72" in narrow
    assert describe_differences(Profile(return_feeds=True), Profile()) != []


def test_marks_are_the_first_strokes_of_answers() -> None:
    assert marked_strokes([0.0, 1.0, 2.0], [0.5, 1.0, 9.0]) == [1, 1]


# The command.


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def short_session() -> KeptSession:
    kept = KeptSession()
    kept.print("\nREADY\n")
    kept.type("WHAT IS A TELETYPE?")
    kept.wait(3600)
    kept.answer("A machine that prints ten characters a second.")
    kept.print_raw("OOO\rXXX\n")
    return kept


def test_a_session_is_replayed_on_a_line_that_the_command_opens(sandbox: Sandbox, tmp_path: Path) -> None:
    recording, _ = record_sheet(read_session(short_session().write(tmp_path / "kept")))
    sandbox.start_machine("--fast")
    words = ["log", "replay", "--log", str(tmp_path / "kept"), "--line", str(sandbox.link), "--fast"]
    assert sandbox.run_command(*words, "--idle", "0", "--speed", "100") == (0, "")
    wait_for(lambda: sandbox.paper_text().endswith("XXX\n"))
    assert bytes(sandbox.strikes())[: len(recording.strokes)] == bytes(stroke.byte for stroke in recording.strokes)
    assert set(bytes(sandbox.strikes())[len(recording.strokes) :]) <= {10, 13}


def test_a_session_is_replayed_through_a_daemon(sandbox: Sandbox, tmp_path: Path) -> None:
    recording, _ = record_sheet(read_session(short_session().write(tmp_path / "kept")))
    sandbox.start_machine("--fast")
    sandbox.start_daemon("--fast")
    wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
    before = len(sandbox.strikes())
    words = ["log", "replay", "--log", str(tmp_path / "kept"), "--line", str(sandbox.link), "--idle", "0"]
    assert sandbox.run_command(*words, "--speed", "100") == (0, "")
    wait_for(lambda: sandbox.paper_text().endswith("XXX\n\nREADY\n"))
    struck = bytes(sandbox.strikes())[before:]
    assert bytes(stroke.byte for stroke in recording.strokes) in struck


def test_a_terminal_shows_the_sheet_and_obeys_its_keys(tmp_path: Path) -> None:
    short_session().write(tmp_path)
    with terminal() as (master, slave):
        words = [sys.executable, "-m", "tools.main", "log", "replay", "--log", str(tmp_path), "--speed", "20"]
        playing = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT)
        read_terminal_until(master, "space pauses.*READY.*TELETYPE\\?")
        os.write(master, b"]")  # over the hour of silence
        read_terminal_until(master, "PRINTS.*X\x1b.*X\x1b.*X\x1b")
        assert playing.wait(20) == 0
        waiting = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT)
        read_terminal_until(master, "TELETYPE\\?")
        os.write(master, b"\x03")
        read_terminal_until(master, r"stopped after \d+ of \d+ strokes")
        assert waiting.wait(20) == 130


def test_a_pipe_gets_the_sheet_as_text(tmp_path: Path) -> None:
    short_session().write(tmp_path)
    words = [
        sys.executable,
        "-m",
        "tools.main",
        "log",
        "replay",
        "--log",
        str(tmp_path),
        "--speed",
        "100",
        "--idle",
        "0",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, cwd=ROOT)
    assert done.stdout.split("\n")[1:3] == ["READY", "WHAT IS A TELETYPE?"]
    assert done.stderr == ""
