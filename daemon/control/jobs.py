"""What commands have a machine do, order by order: the same through a daemon as without one.

Knows a teletype and an order. Not who gave it, nor what BREAK means to him.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daemon.control.protocol import PrintJob, PunchJob, ReadTapeJob
from drivers.teletype import Teletype

CHUNK_CHARS = 64  # characters handed over at a time
PROGRESS_INTERVAL_S = 0.5


async def run_job(tty: Teletype, job: PrintJob | PunchJob | ReadTapeJob, on_progress: Callable[[int], None]) -> bytes:
    """Back when the last character is struck; what was read, if anything was. `tell` hears how much is struck.

    Raises LineLost, and whatever else the machine's driver does.
    """
    match job:
        case PrintJob():
            await _run_print_job(tty, job, on_progress)
        case PunchJob(rows=rows, text=text):
            before = tty.counters.struck
            async with _progress_reports(tty, on_progress, lambda: min(len(rows), tty.counters.struck - before)):
                await tty.punch(rows, text=text)
        case ReadTapeJob():
            return await tty.read_tape()
    on_progress(job_size(job))
    return b""


def job_size(job: PrintJob | PunchJob | ReadTapeJob) -> int:
    """What `tell` counts up to."""
    match job:
        case PrintJob(text=text):
            return len(text)
        case PunchJob(rows=rows):
            return len(rows)
    return 0


async def _run_print_job(tty: Teletype, job: PrintJob, on_progress: Callable[[int], None]) -> None:
    given = 0
    async with _progress_reports(tty, on_progress, lambda: given - tty.status().ready):
        await tty.fresh_line()
        for start in range(0, len(job.text), CHUNK_CHARS):
            piece = job.text[start : start + CHUNK_CHARS]
            given += len(piece)
            if job.raw:
                await tty.print_raw(piece)
            else:
                await tty.print(piece, style=job.style, overstrike=job.overstrike)
        await tty.fresh_line()
        await tty.finish()


@asynccontextmanager
async def _progress_reports(
    tty: Teletype, on_progress: Callable[[int], None], count_done: Callable[[], int]
) -> AsyncIterator[None]:
    """Meanwhile `tell` hears it every half second: the machine may strike one word of a hundred characters."""

    async def tick() -> None:
        most = 0
        while True:
            await tty.clock.sleep_until(tty.clock.now() + PROGRESS_INTERVAL_S)
            most = max(most, count_done())
            on_progress(most)

    ticking = asyncio.ensure_future(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
