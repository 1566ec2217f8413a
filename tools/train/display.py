"""Prints a run for the user: a progress line on a terminal, else a line every 30 seconds. It does not use torch."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from tools.cli.progress import ProgressLine, format_duration
from tools.train.loop import StepReport

LINE_INTERVAL_S = 30.0
SLOW_S = 2.0  # shorter work leaves no line behind


def format_report(report: StepReport, bits_per_byte: float | None) -> str:
    """A step in 70 columns; `bits_per_byte` is that of the last evaluation."""
    held_out = "" if bits_per_byte is None else f"  {bits_per_byte:.3f} bits/byte"
    return (
        f"step {report.state.step}  loss {report.loss:.2f}  {report.tokens_per_s:,.0f} tok/s{held_out}"
        f"  {format_duration(report.remaining_s)} left"
    )


class HangupTolerantStream:
    """A stream that drops its output without an error after its terminal is closed.

    SIGHUP may arrive only after the first line that cannot be written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
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
            # Python flushes the stream's buffer once more at exit: give it a file that accepts it.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def open_stdout() -> TextIO:
    return cast(TextIO, HangupTolerantStream(sys.stdout))


class TrainDisplay:
    """Prints all output of a run. It calls `check_stop`, which may raise, at each progress of slow work."""

    def __init__(
        self, stream: TextIO, check_stop: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.check_stop = check_stop
        self._stream, self._clock = stream, clock
        self._line = ProgressLine(quiet_s=0.0, stream=stream, clock=clock)
        self._printed_at = float("-inf")

    def print_line(self, text: str) -> None:
        """Prints a line that stays, above the progress line if there is one."""
        self._line.clear()
        self._stream.write(text + "\n")  # an error must end the run, unlike one of the progress line
        self._stream.flush()

    def print_sample(self, text: str) -> None:
        """Prints a text of the model, indented, without control characters."""
        printable = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        self.print_line("\n".join(f"    {part}" for part in printable.strip().splitlines()))

    @contextmanager
    def show_work(self, title: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
        """Yields `advance(amount)`, of `total` in all. Without a total only the title is shown."""
        started_at = printed_at = self._clock()
        done = 0.0

        def advance(amount: float) -> None:
            nonlocal printed_at, done
            self.check_stop()
            done += amount
            if not total:
                return
            text = f"{title}: {100 * done / total:.0f} %"
            if self._line.is_terminal:
                self._line.show(text)
            elif self._clock() - printed_at > LINE_INTERVAL_S:
                printed_at = self._clock()
                self.print_line(text)

        with self._show_title(title):
            yield advance
        if self._clock() - started_at > SLOW_S:
            self.print_line(f"{title}: {format_duration(self._clock() - started_at)}")

    @contextmanager
    def show_training(self) -> Iterator[Callable[[StepReport, float | None], None]]:
        """Yields `show(report, bits per byte or None)`, to be called after each step."""
        with self._show_title("training"):
            yield self._show_step

    def _show_step(self, report: StepReport, bits_per_byte: float | None) -> None:
        text = f"{100 * report.done:5.1f} %  {format_report(report, bits_per_byte)}"
        if self._line.is_terminal:
            self._line.show(text)
        elif report.is_evaluated or self._clock() - self._printed_at >= LINE_INTERVAL_S:
            self._printed_at = self._clock()
            self.print_line(text)

    @contextmanager
    def _show_title(self, title: str) -> Iterator[None]:
        text = f"{title} ..."
        if self._line.is_terminal:
            self._line.show(text, now=True)
        else:
            self.print_line(text)
        try:
            yield
        finally:
            self._line.clear()
