"""What the operator asks the spool at the machine: .QUEUE and .HUSH."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from daemon.errors import SpoolRefused

if TYPE_CHECKING:
    from daemon.spool.desk import SpoolDesk

HUSH_MINUTES = 60
MAX_HUSH_MINUTES = 24 * 60
NO_SPOOL = "THIS SESSION HAS NO SPOOL.\n"
HUSH_HELP = f"SAY FOR HOW MANY MINUTES, SUCH AS .HUSH {HUSH_MINUTES}; .HUSH 0 ENDS IT.\n"
PrintMessage = Callable[[str], Awaitable[None]]


class OperatorDesk:
    """Answers the operator on the paper. Without a desk, as in a demonstration, it says that there is no spool.

    `troubles`: what each bridge cannot do now, in one line.
    """

    def __init__(self, desk: SpoolDesk | None = None) -> None:
        self.desk = desk
        self.troubles: dict[str, str] = {}

    def show_trouble(self, bridge: str, trouble: str) -> None:
        """Notes the trouble of a bridge; "" ends it."""
        self.troubles.pop(bridge, None)
        if trouble:
            self.troubles[bridge] = trouble

    async def print_queue(self, print_message: PrintMessage) -> None:
        queue = NO_SPOOL if self.desk is None else self.desk.format_queue()
        await print_message(queue + "".join(f"-- {trouble} --\n" for trouble in self.troubles.values()))

    async def hush(self, minutes: str, print_message: PrintMessage) -> None:
        """Lets nothing print for these minutes, 60 if none are given."""
        number = int(minutes) if minutes.isdecimal() and len(minutes) < 5 else HUSH_MINUTES if not minutes else -1
        if self.desk is None:
            await print_message(NO_SPOOL)
        elif not 0 <= number <= MAX_HUSH_MINUTES:
            await print_message(HUSH_HELP)
        else:
            try:
                answer = await self.desk.hush(number)
            except SpoolRefused as refusal:
                answer = f"-- {refusal} --\n"
            await print_message(answer)
