"""Ctrl-C, SIGTERM and a lost terminal, remembered until the work is at a place where it may be left."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self


class StoppedBySignal(Exception):
    """Somebody asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as a shell counts a death by signal


class StopSignals:
    """While it is entered a signal only leaves word; `check` raises Stopped where that does no harm.

    A second signal, while the first is obeyed, changes nothing.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has set SIGHUP aside, and means it.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal = number
            # The signal may have come amid a print: a buffered stream must not be entered twice.
            with suppress(OSError):  # nor be relied upon: SIGHUP says that the terminal is gone
                os.write(2, b"\nasr33: stopping after this step\n")

    def raise_if_stopped(self) -> None:
        if self._signal is not None:
            raise StoppedBySignal(self._signal)
