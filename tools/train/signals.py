"""Remembers Ctrl-C, SIGTERM and a closed terminal until the training reaches a point where it can stop."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Self

from tools.cli.signals import handle_signals


class StoppedBySignal(Exception):
    """A signal asked the command to end. `exit_code` is 128 plus the signal's number, as in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopSignals:
    """In its block a signal is only recorded; `raise_if_stopped` raises. A second signal has no effect."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._handlers = handle_signals(self._on_signal)

    def __enter__(self) -> Self:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handlers.__exit__(None, None, None)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._signal is None:
            self._signal = number
            # The signal may interrupt a print: a buffered stream must not be entered twice.
            with suppress(OSError):  # after SIGHUP the terminal is closed
                os.write(2, b"\nasr33: stopping after this step\n")

    def raise_if_stopped(self) -> None:
        """Raises StoppedBySignal after a signal."""
        if self._signal is not None:
            raise StoppedBySignal(self._signal)
