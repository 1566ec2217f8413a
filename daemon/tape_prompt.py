"""Paper tape of the operator: a prompt or a conversation is read with the tape reader, or punched."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from daemon.session_log import SessionLog
from daemon.tape_memory import TapeMemory, decode_memory
from drivers import tape, tape_units
from drivers.errors import EndOfInput, Interrupted, TapeDamaged
from drivers.teletype import Teletype

PrintMessage = Callable[[str], Awaitable[None]]
ROWS_PER_MINUTE = 600


async def read_tape(tty: Teletype, log: SessionLog, print_message: PrintMessage) -> str | TapeMemory:
    """Returns the text of the tape, or the conversation on it.

    Returns "" after BREAK, and after a message about a tape that is damaged or empty. Raises DriverError.
    """
    if not tty.profile.auto_reader:
        await print_message("START THE READER.\n")
    async with tty.until_break() as scope:
        rows = await tape_units.read_tape(tty)
    if scope.is_broken:
        return ""
    try:
        if (memory := decode_memory(rows)) is not None:
            return memory
        log.write(time.monotonic(), "tape", rows=rows.hex())
        text = tape.decode_text(rows, tape.detect_parity(rows))
    except TapeDamaged as error:
        await print_message(f"-- {error} --\n")
        return ""
    if not text.strip():
        await print_message("-- NO TAPE WAS READ --\n")
    return text.strip("\n") if text.strip() else ""


async def punch_rows(tty: Teletype, rows: bytes, print_message: PrintMessage) -> None:
    """Punches a tape that BREAK can stop, and says how long it takes. Raises DriverError."""
    await print_message(f"{len(rows)} ROWS, {len(rows) / ROWS_PER_MINUTE:.1f} MINUTES. BREAK STOPS IT.\n")
    if not tty.profile.auto_punch:
        await print_message("SWITCH THE PUNCH ON, AND PRESS RETURN. BREAK PUNCHES NOTHING.\n")
        try:
            await tty.read_line()
        except (Interrupted, EndOfInput):
            await print_message("NOTHING IS PUNCHED.\n")
            return
    async with tty.until_break() as scope:
        await tape_units.punch_tape(tty, rows, text=False)
    if not tty.profile.auto_punch:
        await print_message("SWITCH THE PUNCH OFF.\n")
    await print_message("-- THE TAPE HAS NO END: PUNCH IT ANEW --\n" if scope.is_broken else "PUNCHED.\n")
