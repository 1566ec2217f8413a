"""A prompt on paper tape: it is read with the tape reader, logged, and decoded."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from daemon.session_log import SessionLog
from drivers import tape, tape_units
from drivers.errors import TapeDamaged
from drivers.teletype import Teletype


async def read_tape_prompt(tty: Teletype, log: SessionLog, print_message: Callable[[str], Awaitable[None]]) -> str:
    """Returns the text of the tape; "" after BREAK, and after a message about a tape that is damaged or empty.

    Raises DriverError.
    """
    if not tty.profile.auto_reader:
        await print_message("START THE READER.\n")
    async with tty.until_break() as scope:
        rows = await tape_units.read_tape(tty)
    if scope.is_broken:
        return ""
    log.write(time.monotonic(), "tape", rows=rows.hex())
    try:
        text = tape.decode_text(rows, tape.detect_parity(rows))
    except TapeDamaged as error:
        await print_message(f"-- {error} --\n")
        return ""
    if not text.strip():
        await print_message("-- NO TAPE WAS READ --\n")
    return text.strip("\n") if text.strip() else ""
