"""Answerback drum, tape reader and tape punch. Only these functions start them; printed text cannot.

Each function sends codes on a Teletype and receives rows. Knows no prompt and no file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drivers import tape
from drivers.errors import LineLost, TapeDamaged
from drivers.paper.paper import LF
from drivers.teletype import Teletype
from drivers.text.charset import apply_parity, strip_parity
from drivers.text.printer import Stroke

ENQ, READER_ON, READER_OFF = 0x05, 0x11, 0x13  # the last two are DC1 and DC3
# The drum turns once, 21 rows of a character time each - Bulletin 310B 574-122-100TC 4.115; two for the line.
ANSWER_CHARACTERS = 23
FIRST_ROW_S = 60.0  # for the operator to insert the tape and press START
TAPE_OUT_S = 1.0  # ten rows that are missing
_LATE_CHARACTERS = 4  # on the line both ways, and rows that a reader still sends after its X-OFF


async def request_answerback(tty: Teletype) -> bytes:
    """Returns the answer of the drum to ENQ, raw; empty if there is none.

    Sends a second ENQ if needed: a drum without its last tine answers every other ENQ (574-122-100TC 4.132).
    """
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
    """Reads the tape to its end, with DC1 and DC3 if the reader obeys them. Raises TapeDamaged if the line hangs up."""
    return bytes(await _read_rows(tty))


async def read_tape_line(tty: Teletype) -> bytes:
    """Reads rows up to the next LF; empty at the end of the tape. Raises TapeDamaged if the line hangs up.

    Rows that the reader sends after its X-OFF are kept for the next call.
    """
    rows = await _read_rows(tty, line=True)
    end = _find_line_end(rows) or len(rows)
    tty.rows_after_xoff += rows[end:]
    return bytes(rows[:end])


async def punch_tape(tty: Teletype, rows: bytes, *, text: bool) -> None:
    """Punches rows of eight levels onto a tape. Raises LineLost.

    Sends DC2 and DC4 if the punch obeys them; otherwise the operator has switched the punch on. `text`: the rows are
    also printed with the timing of text; otherwise the column is unknown afterwards. Input that a row causes, as from
    the drum or the reader, is dropped.
    """
    await tty.flush()
    hang_ups = tty.counters.hang_ups
    auto = tty.profile.auto_punch
    with tty.capture_input("noise"):
        try:
            async with _run_unit(tty, tape.PUNCH_ON, tape.PUNCH_OFF, automatic=auto):
                for byte, is_row in tape.punch_sequence(rows, text=text) if auto else [(row, True) for row in rows]:
                    await _send_code(tty, byte, raw=is_row, prints=text)
                    if tty.counters.hang_ups != hang_ups:
                        raise LineLost("the line hung up while a tape was punched: it is spoilt, punch it again")
        except BaseException:
            tty.lose_track()  # a counted row may not have been sent
            raise
        if not text:
            tty.lose_track()
        may_answer = not text and ENQ in map(strip_parity, rows)
        await tty.wait_character_times(ANSWER_CHARACTERS if may_answer else _LATE_CHARACTERS)


async def _read_rows(tty: Teletype, *, line: bool = False) -> bytearray:
    """Reads rows until none comes for a while, or until a line is complete."""
    await tty.flush()
    hang_ups = tty.counters.hang_ups
    with tty.capture_input() as rows:
        rows += tty.rows_after_xoff
        tty.rows_after_xoff.clear()
        if not (line and _find_line_end(rows)):
            async with _run_unit(tty, READER_ON, READER_OFF, automatic=tty.profile.auto_reader, late=_LATE_CHARACTERS):
                await _wait_for_tape_end(tty, rows, line=line)
    if tty.counters.hang_ups != hang_ups:  # the reader does not wait for a line, so rows are missing
        raise TapeDamaged("the line hung up while the tape was read: read it again from its beginning")
    return rows


@asynccontextmanager
async def _run_unit(tty: Teletype, on: int, off: int, *, automatic: bool, late: int = 0) -> AsyncIterator[None]:
    """Switches a unit on and off by its codes if it is `automatic`; switches it off after a BREAK too.

    Afterwards waits for `late` characters that may still come from the line.
    """
    if automatic:
        await _send_code(tty, on)
    try:
        yield
    finally:
        if automatic and tty.hang_up_reason is None:
            await _send_code(tty, off, urgent=True)
        await tty.wait_character_times(late)


def _find_line_end(rows: bytearray) -> int | None:
    return next((end for end, row in enumerate(rows, start=1) if strip_parity(row) == LF), None)


async def _send_code(tty: Teletype, byte: int, *, raw: bool = False, prints: bool = True, urgent: bool = False) -> None:
    """Sends one byte: `raw` as it is, otherwise with the parity of the profile."""
    bits = strip_parity(byte)
    column = tty.column
    settle_s = tty.observe_byte(bits) if prints else 0.0
    line_byte = byte if raw else apply_parity(bits, tty.profile.send_parity)
    await tty.send_strokes([(Stroke(bits, column, settle_s), line_byte)], urgent=urgent, resendable=prints)


async def _wait_for_tape_end(tty: Teletype, rows: bytearray, *, line: bool) -> None:
    first_s = FIRST_ROW_S if not tty.profile.auto_reader else 2 * TAPE_OUT_S
    count, since = len(rows), tty.clock.now()
    while not (line and _find_line_end(rows) is not None):
        await tty.wait_character_times(1)
        if len(rows) > count:
            count, since = len(rows), tty.clock.now()
        elif tty.clock.now() - since > (TAPE_OUT_S if count else first_s):
            return
