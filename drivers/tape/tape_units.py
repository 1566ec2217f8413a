"""Answerback drum, tape reader and tape punch, worked by explicit verbs alone: no text can set them going.

Each is a straight line of sending and listening on a Teletype. Knows no prompt and no file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from drivers.errors import LineLost, TapeDamaged
from drivers.paper.paper import LF
from drivers.tape import tape
from drivers.text.charset import apply_parity, strip_parity
from drivers.text.printer import Stroke

if TYPE_CHECKING:
    from drivers.teletype import Teletype

ENQ, READER_ON, PUNCH_ON, READER_OFF, PUNCH_OFF = 0x05, 0x11, 0x12, 0x13, 0x14
# The drum turns once, 21 rows of a character each - Bulletin 310B 574-122-100TC 4.115; two for the wire.
ANSWER_CHARACTERS = 23
FIRST_ROW_S = 60.0  # somebody may have to put the tape in and press START
TAPE_OUT_S = 1.0  # ten rows that do not come
_LATE_CHARACTERS = 4  # on the wire both ways, and what a reader still sends after its X-OFF


async def request_answerback(tty: Teletype) -> bytes:
    """Asks twice: a drum without its last suppression tine answers every other ENQ (574-122-100TC 4.132)."""
    await tty.flush()
    with tty.capture_input("answer") as rows:
        for _ in range(2):
            await _send_code(tty, ENQ)
            await tty.wait_character_times(ANSWER_CHARACTERS)
            if rows:
                break
    if tty.is_half_duplex:  # the drum prints, and returns the carriage, by itself
        tty.lose_track()
    tty.report_answerback(bytes(rows))
    return bytes(rows)


async def read_tape(tty: Teletype) -> bytes:
    """DC1 if the reader obeys it, then whatever comes until nothing does; DC3. Raises TapeDamaged after a hang-up."""
    await tty.flush()
    with _fail_on_hang_up(tty), tty.capture_input() as read:
        read += tty.rows_after_xoff
        tty.rows_after_xoff.clear()
        async with _run_unit(
            tty, READER_ON, READER_OFF, automatic=tty.profile.auto_reader, late_characters=_LATE_CHARACTERS
        ):
            await _wait_for_tape_end(tty, read)
    return bytes(read)


async def read_tape_line(tty: Teletype) -> bytes:
    """DC1, rows to an LF, DC3; a row or two that come after it are kept for the next line. Raises TapeDamaged."""
    await tty.flush()
    with _fail_on_hang_up(tty), tty.capture_input() as read:
        read += tty.rows_after_xoff
        tty.rows_after_xoff.clear()
        if _find_line_end(read) is None:
            async with _run_unit(
                tty, READER_ON, READER_OFF, automatic=tty.profile.auto_reader, late_characters=_LATE_CHARACTERS
            ):
                await _wait_for_tape_end(tty, read, line=True)
    end = _find_line_end(read) or len(read)
    tty.rows_after_xoff += read[end:]
    return bytes(read[:end])


async def punch_tape(tty: Teletype, rows: bytes, *, text: bool) -> None:
    """DC2, the rows, DC4 where the punch obeys them; else somebody has switched it on. Raises LineLost.

    What the machine does of itself with a row - a drum that answers, a reader that starts - is not listened to.
    """
    await tty.flush()
    hang_ups = tty.counters.hang_ups
    auto = tty.profile.auto_punch
    with tty.capture_input("noise"):
        try:
            async with _run_unit(tty, PUNCH_ON, PUNCH_OFF, automatic=auto):
                for byte, is_row in tape.punch_sequence(rows, text=text) if auto else [(row, True) for row in rows]:
                    await _send_code(tty, byte, raw=is_row, prints=text)
                    if tty.counters.hang_ups != hang_ups:
                        raise LineLost("the line hung up while a tape was punched: it is spoilt, punch it again")
        except BaseException:
            tty.lose_track()  # a row that was counted may not have gone out
            raise
        if not text:
            tty.lose_track()
        await tty.wait_character_times(ANSWER_CHARACTERS if not text and _has_enq(rows) else _LATE_CHARACTERS)


@contextmanager
def _fail_on_hang_up(tty: Teletype) -> Iterator[None]:
    """The reader does not wait for a line that has hung up: the rows of that time are gone."""
    hang_ups = tty.counters.hang_ups
    yield
    if tty.counters.hang_ups != hang_ups:
        raise TapeDamaged("the line hung up while the tape was read: read it again from its beginning")


@asynccontextmanager
async def _run_unit(
    tty: Teletype, on: int, off: int, *, automatic: bool, late_characters: int = 0
) -> AsyncIterator[None]:
    """Set going and stopped by their codes, if the machine obeys these; stopped after a BREAK too.

    `late` characters may still come up the wire then.
    """
    if automatic:
        await _send_code(tty, on)
    try:
        yield
    finally:
        if automatic and tty.hang_up_reason is None:
            await _send_code(tty, off, urgent=True)
        await tty.wait_character_times(late_characters)


def _has_enq(rows: bytes) -> bool:
    return any(strip_parity(row) == ENQ for row in rows)


def _find_line_end(rows: bytearray) -> int | None:
    for at, row in enumerate(rows, start=1):
        if strip_parity(row) == LF:
            return at
    return None


async def _send_code(tty: Teletype, byte: int, *, raw: bool = False, prints: bool = True, urgent: bool = False) -> None:
    """One byte; `raw` as it is, else with the level 8 that the machine wants."""
    bits = strip_parity(byte)
    column = tty.column
    settle_s = tty.observe_byte(bits) if prints else 0.0
    wire = byte if raw else apply_parity(bits, tty.profile.send_parity)
    await tty.send_strokes([(Stroke(bits, column, settle_s), wire)], urgent=urgent, resendable=prints)


async def _wait_for_tape_end(tty: Teletype, read: bytearray, *, line: bool = False) -> None:
    """Until nothing has come for a while, or a line is whole."""
    first_s = FIRST_ROW_S if not tty.profile.auto_reader else 2 * TAPE_OUT_S
    count, since = len(read), tty.clock.now()
    while not (line and _find_line_end(read) is not None):
        await tty.wait_character_times(1)
        if len(read) > count:
            count, since = len(read), tty.clock.now()
        elif tty.clock.now() - since > (TAPE_OUT_S if count else first_s):
            return
