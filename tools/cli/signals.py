"""The signal handlers of all commands: SIGINT, SIGTERM and SIGHUP end the work in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from tools.cli.output import print_message

OnSignal = Callable[[signal.Signals], object]
Signals = Sequence[signal.Signals]


def termination_signals() -> list[signal.Signals]:
    """Returns SIGINT, SIGTERM, and SIGHUP unless it is ignored, as under nohup."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


@contextlib.contextmanager
def handle_in_loop(handler: OnSignal, numbers: Signals | None = None, *, once: bool = True) -> Iterator[None]:
    """In a running event loop a signal calls the handler; with `once` the second signal kills the process.

    Outside the main thread, where no handler can be set, it does nothing. `numbers`: termination_signals by default.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, handled = asyncio.get_running_loop(), list(termination_signals() if numbers is None else numbers)

    def on_signal(number: signal.Signals) -> None:
        if once:
            for each in handled:
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)
        handler(number)

    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def handle_signals(handler: OnSignal, numbers: Signals | None = None) -> Iterator[None]:
    """Without an event loop: each signal calls the handler, which may raise. The former handlers are restored."""
    handled = termination_signals() if numbers is None else numbers
    before = {number: signal.signal(number, lambda number, _: handler(signal.Signals(number))) for number in handled}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def run_until_interrupted(work: Coroutine[Any, Any, None]) -> int:
    """Runs the coroutine and returns the exit code: 0, or 128 and the signal that cancelled it.

    The first signal cancels the work, which may still tidy up; the second kills the process.
    """

    async def run() -> int:
        working = asyncio.ensure_future(work)
        received: list[signal.Signals] = []

        def cancel(number: signal.Signals) -> None:
            received.append(number)
            working.cancel()

        with handle_in_loop(cancel):
            try:
                await working
            except asyncio.CancelledError as error:
                if not received:
                    raise
                if error.args:  # how far the work came
                    print_message(f"asr33: {error}")
        return 128 + received[0] if received else 0

    return asyncio.run(run())
