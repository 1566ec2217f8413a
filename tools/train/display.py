"""A run as its operator sees it: a bar on a terminal, a line now and then elsewhere. It knows no torch."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from tools.train.loop import StepReport

LINE_EVERY_S = 30.0
SLOW_S = 2.0  # work that is done sooner than this leaves no line behind


def format_duration(seconds: float) -> str:
    """Two figures: `1 h 52 min`, `3 min 20 s`, `9 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def progress_line(report: StepReport, bits_per_byte: float | None) -> str:
    """What there is to say of a step, in 70 columns; the held-out figure is the last one there was."""
    held = "" if bits_per_byte is None else f"  {bits_per_byte:.3f} bits/byte"
    return (
        f"step {report.state.step}  loss {report.loss:.2f}  {report.tokens_per_s:,.0f} tok/s{held}"
        f"  {format_duration(report.remaining_s)} left"
    )


class HangupTolerantStream:
    """A stream that goes on when its terminal is gone: what is written from then on is lost, and no error.

    SIGHUP may come a moment after the first line that could not be written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding
        self.fileno = stream.fileno
        self.isatty = stream.isatty

    def write(self, text: str) -> int:
        self._ignore_hangup(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._ignore_hangup(self._stream.flush)

    def _ignore_hangup(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # What the stream still holds must go somewhere: Python flushes it once more at its exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def make_console() -> Console:
    """Standard output."""
    return Console(file=cast(IO[str], HangupTolerantStream(sys.stdout)))


class TrainDisplay:
    """All that a run prints. `stop` is asked at every sign of progress, and may raise."""

    def __init__(
        self, console: Console, check_stop: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self.check_stop = check_stop
        self._clock = clock
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._printed_at = float("-inf")

    def print_line(self, text: str) -> None:
        """A line of its own, above the bar if there is one."""
        console = self._console if self._bar is None else self._bar.console
        console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def print_sample(self, text: str) -> None:
        """What the model would write now, indented, without what a terminal might obey."""
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        self.print_line("\n".join(f"    {part}" for part in shown.strip().splitlines()))

    @contextmanager
    def show_work(self, title: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
        """Yields `advance(more)`, of `total` in all; without a total the bar only shows that something is done."""
        begun = said_at = self._clock()
        so_far = 0.0
        with self._open_bar(title, total):

            def advance(more: float) -> None:
                nonlocal said_at, so_far
                self.check_stop()
                so_far += more
                self._update_bar(so_far, title)
                if self._bar is None and total and self._clock() - said_at > LINE_EVERY_S:
                    said_at = self._clock()
                    self.print_line(f"{title}: {100 * so_far / total:.0f} %")

            yield advance
        if self._clock() - begun > SLOW_S:
            self.print_line(f"{title}: {format_duration(self._clock() - begun)}")

    @contextmanager
    def show_training(self) -> Iterator[Callable[[StepReport, float | None], None]]:
        """Yields `show(report, bits per byte or None)`, wanted after each step."""
        with self._open_bar("training", 1.0):
            yield self._show_step

    def _show_step(self, report: StepReport, bits_per_byte: float | None) -> None:
        text = progress_line(report, bits_per_byte)
        self._update_bar(report.done, text)
        if self._bar is None and (report.is_evaluated or self._clock() - self._printed_at >= LINE_EVERY_S):
            self._printed_at = self._clock()
            self.print_line(f"{100 * report.done:5.1f} %  {text}")

    @contextmanager
    def _open_bar(self, title: str, total: float | None) -> Iterator[None]:
        if not self._console.is_terminal:
            self.print_line(f"{title} ...")
            yield
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(None), TaskProgressColumn())
        with Progress(*columns, console=self._console, transient=True, expand=True) as self._bar:
            self._task = self._bar.add_task(title, total=total)
            try:
                yield
            finally:
                self._bar.stop()
                self._bar = None

    def _update_bar(self, so_far: float, title: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=so_far, description=title)
