"""The task that prints the spool: it takes the machine when no operator types, and gives it back at the next line end.

It knows the lease queue and the teletype. It does not know where jobs come from.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from daemon.lease_queue import LeaseQueue
from daemon.spool.desk import SpoolDesk
from drivers.errors import DriverError
from drivers.teletype import Teletype

POLL_S, LOST_POLL_S = 0.5, 5.0

_log = logging.getLogger("asr33")


class SharedMachine(Protocol):
    """The session's side: whether the operator leaves the machine alone, and the queue for its use."""

    leases: LeaseQueue
    tty: Teletype

    @property
    def is_idle(self) -> bool: ...


async def print_jobs_forever(desk: SpoolDesk, machine: SharedMachine, idle_s: float) -> None:
    """Prints jobs until it is cancelled. `idle_s`: seconds without a key before a print."""
    while True:
        await desk.wait_for_work()
        await _wait_until_idle(machine, idle_s)
        if desk.has_work():
            try:
                await _print_with_lease(desk, machine)
            except DriverError as error:  # the line may be back, and the motor may start, later
                _log.warning("a job of the spool was interrupted: %s", error)
                await asyncio.sleep(LOST_POLL_S)


async def _wait_until_idle(machine: SharedMachine, idle_s: float) -> None:
    """Returns when the line is there, no answer runs, and no key was pressed for `idle_s`."""
    tty = machine.tty
    since, keyed = tty.clock.now(), -1
    while tty.clock.now() - since < idle_s or keyed != tty.counters.keyed:
        is_lost = tty.hang_up_reason is not None
        if keyed != tty.counters.keyed or not machine.is_idle or is_lost:
            since, keyed = tty.clock.now(), tty.counters.keyed
        await asyncio.sleep(LOST_POLL_S if is_lost else POLL_S)


async def _print_with_lease(desk: SpoolDesk, machine: SharedMachine) -> None:
    keyed = machine.tty.counters.keyed
    printing = _Printing(desk, machine, keyed)
    with machine.leases.request_lease() as lease:
        await lease.granted.wait()
        async with machine.tty.until_break() as scope:
            await printing.print_until_called()
    if scope.is_broken and printing.job_id is not None:
        desk.hold_after_break(printing.job_id)


class _Printing:
    """One use of the machine. `job_id`: the job whose line is being struck."""

    def __init__(self, desk: SpoolDesk, machine: SharedMachine, keyed: int) -> None:
        self._desk, self._machine, self._keyed = desk, machine, keyed
        self.job_id: int | None = None
        self._last_id: int | None = None

    async def print_until_called(self) -> None:
        """Prints line by line until the operator types, a command waits, or nothing more may print."""
        tty = self._machine.tty
        await tty.fresh_line()
        while not self._is_called() and self._desk.has_work():
            job, notices = self._desk.next_job(), self._desk.due_notices()
            if notices:
                await tty.print_raw("\n".join(notices) + "\n")
                self._desk.note_notices()
            elif job is not None:
                if job.id != self._last_id:
                    self._desk.on_begin(job)
                self.job_id = self._last_id = job.id
                await tty.print_raw(job.lines[job.lines_done] + "\n")
                self._desk.note_line(job.id)
                self.job_id = None
        await tty.finish()

    def _is_called(self) -> bool:
        tty = self._machine.tty
        return tty.counters.keyed != self._keyed or len(self._machine.leases) > 0 or tty.hang_up_reason is not None
