"""What commands have a machine do, order by order: the same through a daemon as without one.

Knows a teletype and an order. Not who gave it, nor what BREAK means to him.
"""

from __future__ import annotations

from collections.abc import Callable

from daemon.orders import Print, Punch, Read
from drivers.teletype import Teletype

PIECE = 64  # characters handed over at a time: how finely progress is told


async def carry_out(tty: Teletype, order: Print | Punch | Read, tell: Callable[[int], None]) -> bytes:
    """Back when the last character is struck; what was read, if anything was. `tell` hears how much is handed over.

    Raises LineLost, and whatever else the machine's driver does.
    """
    match order:
        case Print():
            await _print(tty, order, tell)
        case Punch(rows=rows, text=text):
            await tty.punch(rows, text=text)
            tell(len(rows))
        case Read():
            return await tty.read_tape()
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
    await tty.fresh_line()
    for start in range(0, len(order.text), PIECE):
        piece = order.text[start : start + PIECE]
        if order.raw:
            await tty.print_raw(piece)
        else:
            await tty.print(piece, style=order.style, overstrike=order.overstrike)
        tell(min(start + PIECE, len(order.text)))
    await tty.fresh_line()
    await tty.finish()
