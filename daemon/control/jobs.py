"""Runs the job of a command on a teletype, in the daemon or in the command itself.

It does not know who sent the job or what BREAK means for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daemon.control.protocol import PrintJob, PunchJob, ReadTapeJob, StrikeJob
from drivers import tape_units
from drivers.teletype import Teletype
from drivers.text.carriage import Stroke
from drivers.text.charset import apply_parity

CHUNK_CHARS = 64
PROGRESS_INTERVAL_S = 0.5

Job = PrintJob | StrikeJob | PunchJob | ReadTapeJob


async def run_job(tty: Teletype, job: Job, on_progress: Callable[[int], None]) -> bytes:
    """Returns after the last character is struck, with the rows of a tape that was read.

    `on_progress` gets the number of characters or rows struck. Raises DriverError.
    """
    match job:
        case PrintJob():
            await _run_print_job(tty, job, on_progress)
        case StrikeJob(codes=codes):
            await _strike_codes(tty, codes)
        case PunchJob(rows=rows, text=text):
            before = tty.counters.struck
            async with _progress_reports(tty, on_progress, lambda: min(len(rows), tty.counters.struck - before)):
                await tape_units.punch_tape(tty, rows, text=text)
        case ReadTapeJob():
            return await tape_units.read_tape(tty)
    on_progress(job_size(job))
    return b""


def job_size(job: Job) -> int:
    """Returns the number of characters or rows of the job; 0 if it is not known."""
    match job:
        case PrintJob(text=content) | StrikeJob(codes=content) | PunchJob(rows=content):
            return len(content)
    return 0


async def _run_print_job(tty: Teletype, job: PrintJob, on_progress: Callable[[int], None]) -> None:
    sent = 0
    async with _progress_reports(tty, on_progress, lambda: sent - tty.status().ready):
        await tty.fresh_line()
        for start in range(0, len(job.text), CHUNK_CHARS):
            chunk = job.text[start : start + CHUNK_CHARS]
            sent += len(chunk)
            if job.raw:
                await tty.print_raw(chunk)
            else:
                await tty.print(chunk, style=job.style, overstrike=job.overstrike)
            await asyncio.sleep(0)  # a chunk without a glyph does not wait for the machine
        await tty.fresh_line()
        await tty.finish()


async def _strike_codes(tty: Teletype, codes: bytes) -> None:
    """Strikes codes from where the carriage is, and leaves it where they end."""
    await tty.flush()
    try:
        for code in codes:
            column = tty.column
            stroke = Stroke(code, column, tty.observe_byte(code))
            await tty.send_strokes([(stroke, apply_parity(code, tty.profile.send_parity))])
    except BaseException:
        tty.lose_track()  # a counted code may not have been sent
        raise
    await tty.finish()


@asynccontextmanager
async def _progress_reports(
    tty: Teletype, on_progress: Callable[[int], None], count_done: Callable[[], int]
) -> AsyncIterator[None]:
    """Calls `on_progress` every half second inside the block, since a single word may take longer to print."""

    async def report() -> None:
        done = 0
        while True:
            await tty.clock.sleep_until(tty.clock.now() + PROGRESS_INTERVAL_S)
            done = max(done, count_done())
            on_progress(done)

    reporting = asyncio.ensure_future(report())
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
