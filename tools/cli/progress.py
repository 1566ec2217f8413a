"""The progress display of all commands: on a terminal one line that is overwritten, in a file a line every 10 s."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from model.printable import escape_controls
from tools.cli.output import terminal_width

QUIET_S = 2.0  # shorter work shows no progress
REDRAW_S = 0.2  # between two updates on a terminal
LINE_INTERVAL_S = 10.0  # between two lines elsewhere


class ProgressLine:
    """Shows how far a command is. With `line_interval_s=None` only `now` lines are shown where there is no terminal."""

    def __init__(
        self,
        *,
        prefix: str = "asr33: ",
        quiet_s: float | None = None,
        line_interval_s: float | None = LINE_INTERVAL_S,
        redraw_s: float = REDRAW_S,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stream`: standard error by default; `prefix` begins each line that is not on a terminal."""
        self._stream = sys.stderr if stream is None else stream
        self.is_terminal = self._stream is not None and self._stream.isatty()
        self._prefix, self._clock = prefix, clock
        self._interval_s = redraw_s if self.is_terminal else line_interval_s
        self._next = clock() + (QUIET_S if quiet_s is None else quiet_s)
        self._is_drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def show(self, text: str | Callable[[], str], *, now: bool = False) -> None:
        """Shows the text if an update is due, or at once with `now`. A callable is called only if it is shown."""
        moment = self._clock()
        if not now and (self._interval_s is None or moment < self._next):
            return
        self._next = moment + (self._interval_s or 0.0)
        line = escape_controls(text if isinstance(text, str) else text())
        if self.is_terminal:
            self._is_drawn = True
            self._write(f"\r{line[: terminal_width(self._stream) - 1]}\x1b[K")
        else:
            self._write(f"{self._prefix}{line}\n")

    def print_line(self, text: str) -> None:
        """Writes a line that stays, above the progress line."""
        self.clear()
        self._write(escape_controls(text, keep="\n") + "\n")

    def clear(self) -> None:
        """Removes the line from the terminal; the next output begins in its place."""
        if self._is_drawn:
            self._is_drawn = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # the terminal is closed, or the file's disk is full
                self._stream.write(text)
                self._stream.flush()


class StageProgress:
    """Shows the share of a stage that is done, and the time left: each stage has its own speed.

    With a unit the text is `120 of 900 characters, 3 min left`, without one `reading: 13 %, 3 min left`.
    """

    def __init__(self, line: ProgressLine, unit: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._line, self._unit, self._clock = line, unit, clock
        self._stage: str | None = None
        self._started_at, self._first_done = clock(), 0

    def update(self, stage: str, done: int, total: int) -> None:
        """Shows that `done` of `total` parts of this stage are complete."""
        if self._stage not in (None, stage):
            self._started_at, self._first_done = self._clock(), done
        self._stage = stage
        if done > self._first_done:
            self._line.show(lambda: self._text(stage, done, total))

    def _text(self, stage: str, done: int, total: int) -> str:
        seconds = self._clock() - self._started_at
        left = format_duration(max(0, total - done) * seconds / (done - self._first_done))
        if self._unit:
            return f"{done:,} of {total:,} {self._unit}, {left} left"
        return f"{stage}: {done / total:.0%}, {left} left"


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `1 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{round(seconds)} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
