"""What commands have a machine do, order by order: the same through a daemon as without one.

Knows a teletype and an order. Not who gave it, nor what BREAK means to him.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daemon.orders import Print, Punch, Read
from drivers.teletype import Teletype

PIECE = 64  # characters handed over at a time
TELL_S = 0.5


async def carry_out(tty: Teletype, order: Print | Punch | Read, tell: Callable[[int], None]) -> bytes:
    """Back when the last character is struck; what was read, if anything was. `tell` hears how much is struck.

    Raises LineLost, and whatever else the machine's driver does.
    """
    match order:
        case Print():
            await _print(tty, order, tell)
        case Punch(rows=rows, text=text):
            before = tty.counters.struck
            async with _telling(tty, tell, lambda: min(len(rows), tty.counters.struck - before)):
                await tty.punch(rows, text=text)
        case Read():
            return await tty.read_tape()
    tell(size(order))
    return b""


def size(order: Print | Punch | Read) -> int:
    """What `tell` counts up to."""
    match order:
        case Print(text=text):
            return len(text)
        case Punch(rows=rows):
            return len(rows)
    return 0


async def _print(tty: Teletype, order: Print, tell: Callable[[int], None]) -> None:
    given = 0
    async with _telling(tty, tell, lambda: given - tty.status().ready):
        await tty.fresh_line()
        for start in range(0, len(order.text), PIECE):
            piece = order.text[start : start + PIECE]
            given += len(piece)
            if order.raw:
                await tty.print_raw(piece)
            else:
                await tty.print(piece, style=order.style, overstrike=order.overstrike)
        await tty.fresh_line()
        await tty.finish()


@asynccontextmanager
async def _telling(tty: Teletype, tell: Callable[[int], None], done: Callable[[], int]) -> AsyncIterator[None]:
    """Meanwhile `tell` hears it every half second: the machine may strike one word of a hundred characters."""

    async def tick() -> None:
        most = 0
        while True:
            await tty.clock.sleep_until(tty.clock.now() + TELL_S)
            most = max(most, done())
            tell(most)

    ticking = asyncio.ensure_future(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
