"""The shared parts of the commands' display: progress, durations, tables; and the signal handlers."""

from __future__ import annotations

import io
import os
import signal

import pytest

from tools.cli.progress import ProgressLine, StageProgress, format_duration
from tools.cli.signals import handle_signals
from tools.cli.table import format_table


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_on_a_terminal_the_line_is_overwritten_and_cleared() -> None:
    clock, terminal = Clock(), Terminal()
    with ProgressLine(stream=terminal, clock=clock, redraw_s=1.0) as line:
        line.show("too early")
        clock.now = 2.0
        line.show("first")
        clock.now = 2.5
        line.show("within the redraw interval")
        clock.now = 3.0
        line.show(lambda: "second")
        line.print_line("a line that stays")
        line.show("now", now=True)
    assert terminal.getvalue() == "\rfirst\x1b[K\rsecond\x1b[K\r\x1b[Ka line that stays\n\rnow\x1b[K\r\x1b[K"


def test_in_a_file_a_line_comes_at_each_interval() -> None:
    clock, stream = Clock(), io.StringIO()
    line = ProgressLine(stream=stream, clock=clock, line_interval_s=10.0)
    for clock.now in (1.0, 2.0, 11.0, 12.0):
        line.show(f"at {clock.now:.0f} s")
    line.clear()
    assert stream.getvalue() == "asr33: at 2 s\nasr33: at 12 s\n"


def test_each_stage_has_its_own_speed() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = StageProgress(ProgressLine(stream=stream, clock=clock, line_interval_s=0.0), clock=clock)
    clock.now = 10.0
    progress.update("reading", 50, 100)
    progress.update("writing", 0, 100)
    clock.now = 15.0
    progress.update("writing", 10, 100)
    assert stream.getvalue() == "asr33: reading: 50%, 10 s left\nasr33: writing: 10%, 45 s left\n"


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (99, "99 s"), (720, "12 min"), (4800, "1 h 20 min")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_table_aligns_its_columns() -> None:
    lines = format_table(("NAME", "MB", "WHERE"), [("tiny", "0.1", "/a"), ("gpt2", "250.0", "/models")], left=(0, -1))
    assert list(lines) == ["NAME     MB  WHERE", "tiny    0.1  /a", "gpt2  250.0  /models"]


def test_a_table_without_a_heading_has_only_its_rows() -> None:
    assert list(format_table(("", ""), [("a", "10"), ("bb", "5")])) == ["a   10", "bb   5"]


def test_signal_handlers_are_restored() -> None:
    before, received = signal.getsignal(signal.SIGTERM), list[signal.Signals]()
    with handle_signals(received.append, [signal.SIGTERM]):
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
