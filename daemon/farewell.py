"""How the paper ends when a signal stops the daemon: the word, a new line, and a mark.

Both waits are shorter than the stop timeout of the systemd unit, and neither waits for a machine that cannot print.
"""

from __future__ import annotations

import asyncio
import contextlib

from daemon import commands
from drivers.errors import DriverError
from drivers.teletype import Teletype

WORD_LIMIT_S = 12.0  # a full line of art without a blank takes seven seconds
MARK_LIMIT_S = 15.0  # a new line and the mark take three; a motor that starts takes longer
_POLL_S = 0.01  # a blank waits a tenth of a second before its turn


async def finish_word(tty: Teletype) -> None:
    """Returns when the next stroke is no glyph: what the machine prints now may be cut there."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WORD_LIMIT_S):
            while _can_print(tty) and tty.status().mid_word:  # noqa: ASYNC110 - the queue has no event for it
                await asyncio.sleep(_POLL_S)


async def print_stop_mark(tty: Teletype) -> None:
    """Prints the mark on a line of its own, and waits until it is struck. No other caller may print any more.

    A machine whose line is lost, that the operator has paused, or whose motor is off gets no mark.
    """
    if not _can_print(tty):
        return
    with contextlib.suppress(TimeoutError, DriverError):
        async with asyncio.timeout(MARK_LIMIT_S), tty.until_break():
            await tty.fresh_line()
            await tty.print(commands.STOP_MARK)
            await tty.finish()


def _can_print(tty: Teletype) -> bool:
    status = tty.status()
    has_motor = tty.profile.motor == "always" or status.motor_on
    return status.lost is None and not status.paused and has_motor
