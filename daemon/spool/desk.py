"""The desk of the spool in a daemon: jobs come in, changes go to the disk, and the printing task asks for work.

It knows the spool, its file, its clock and the count of the paper. It does not know who calls and what prints.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from daemon.errors import SpoolRefused
from daemon.people import ForgetScope
from daemon.spool.clock import SpoolClock
from daemon.spool.job import JobRequest, SpoolJob
from daemon.spool.paper_count import PaperCount
from daemon.spool.report import format_digest, format_hush, format_low_paper, format_queue
from daemon.spool.spool import EX_TEMPFAIL, QueuePlace, Spool
from daemon.spool.store import SpoolStore
from drivers.profile import Profile

CHECK_INTERVAL_S = 30.0  # of the clock, and of a disk that failed
RunBlocking = Callable[[Callable[[], None]], Awaitable[None]]
ResultT = TypeVar("ResultT")

_log = logging.getLogger("asr33")


class SpoolDesk:
    """The spool of a running daemon. `profile`: of the machine that prints."""

    def __init__(
        self,
        spool: Spool,
        store: SpoolStore,
        clock: SpoolClock,
        count: PaperCount,
        profile: Profile,
        keep_s: float = float("inf"),
        run_blocking: RunBlocking = asyncio.to_thread,
    ) -> None:
        """Reads the file. `keep_s`: of jobs that do not say it. `run_blocking` waits for the disk. Raises OSError."""
        self.spool, self.clock, self.count, self.profile, self.keep_s = spool, clock, count, profile, keep_s
        self.changed = asyncio.Event()
        self.on_begin: Callable[[SpoolJob], None] = lambda job: None  # a job begins to print, or goes on
        self._store, self._run_blocking = store, run_blocking
        self._must_rewrite = self._is_error_logged = False
        self._check_clock()
        self._restore()

    def close(self) -> None:
        """Saves the count of the paper, and closes the file."""
        self.count.close()
        self._store.close()

    # For callers.

    async def submit(self, request: JobRequest) -> QueuePlace:
        """Adds a job; it is on the disk when this returns. Raises SpoolRefused."""
        return await self._change(lambda: self.spool.add(self.clock.now(), request))

    async def cancel(self, job_id: int) -> None:
        """Raises SpoolRefused."""
        await self._change(lambda: self.spool.cancel(job_id))

    async def hold(self, job_id: int) -> None:
        """Raises SpoolRefused."""
        await self._change(lambda: self.spool.hold(job_id))

    async def release(self, job_id: int) -> None:
        """Raises SpoolRefused."""
        await self._change(lambda: self.spool.release(self.clock.now(), job_id))

    async def clear(self, person: str | None) -> int:
        """Removes the jobs of a person, or all; returns their number. Raises SpoolRefused."""
        return await self._change(lambda: self.spool.clear(person))

    async def hush(self, minutes: float) -> str:
        """Lets nothing print for so long; returns what the paper says about it. Raises SpoolRefused."""
        await self._change(lambda: self.spool.hush(self.clock.now(), minutes * 60))
        return format_hush(minutes)

    def forget(self, scope: ForgetScope) -> tuple[Path, int]:
        """Removes a person's jobs and name, or what is older, from the file too; returns the file and the number.

        Raises OSError.
        """
        count = self.spool.forget(scope)
        self._must_rewrite = True
        self._store_changes()
        self._store.remove_copies(scope)
        self.changed.set()
        return self._store.path, count

    def format_queue(self) -> str:
        """Returns the answer to .QUEUE."""
        now = self.clock.now()
        return format_queue(self.spool.jobs, self.spool.places(now), self.spool.block_reason(now))

    async def _change(self, change: Callable[[], ResultT]) -> ResultT:
        self._check_clock()
        result = change()
        self.changed.set()
        try:
            self._store_changes()
            await self._run_blocking(self._store.sync)
        except OSError as error:
            self._must_rewrite = True
            reason = f"the spool's disk: {error.strerror}; see to it, and try again"
            raise SpoolRefused(reason, EX_TEMPFAIL, CHECK_INTERVAL_S) from None
        return result

    # For the task that prints.

    async def wait_for_work(self) -> None:
        """Returns when there is something to print and it may be printed."""
        while not self.has_work():
            self.changed.clear()
            seconds = min(self.spool.resume_at(self.clock.now()) - self.clock.now(), CHECK_INTERVAL_S)
            try:
                async with asyncio.timeout(seconds if seconds > 0 else CHECK_INTERVAL_S):
                    await self.changed.wait()
            except TimeoutError:
                continue

    def set_private(self, on: bool) -> None:
        """Lets nothing print while the operator is private. Jobs grow too old then as ever."""
        self.spool.is_private = on
        self.changed.set()

    def has_work(self) -> bool:
        """Whether a job or a notice may print now."""
        self._check_clock()
        if not self._is_disk_good():
            return False
        has_job = self.next_job() is not None
        return has_job or (not self.spool.block_reason(self.clock.now()) and bool(self.due_notices()))

    def next_job(self) -> SpoolJob | None:
        """Returns the job whose next line is to be printed now; None if there is none."""
        job = self.spool.next_job(self.clock.now())
        return job if self._is_disk_good() else None

    def due_notices(self) -> list[str]:
        """Returns the lines that are due before the next job: a digest of the late ones, and the end of the paper."""
        expired = self.spool.count_expired()
        digest = [format_digest(expired, self.profile.usable_columns)] if expired else []
        return digest + ([format_low_paper(self.count.supply)] if self.count.is_warning_due else [])

    def note_notices(self) -> None:
        """Counts the notices as printed."""
        self.spool.note_digest()
        self.count.is_warning_due = False
        self._is_disk_good()

    def note_line(self, job_id: int) -> None:
        """Counts a line that was struck; a killed daemon does not print it again."""
        self.spool.note_line(self.clock.now(), job_id)
        self._is_disk_good()

    def hold_after_break(self, job_id: int) -> None:
        """Holds a job that the operator has stopped, unless it is gone."""
        if any(job.id == job_id for job in self.spool.jobs):
            self.spool.hold(job_id)
            self._is_disk_good()

    def _is_disk_good(self) -> bool:
        """Stores the changes; returns False while the disk does not take them: then nothing more prints."""
        try:
            self._store_changes()
        except OSError as error:
            if not self._is_error_logged:
                _log.error("the spool's disk: %s; nothing of the spool prints until it takes records", error.strerror)
            self._is_error_logged = True
            return False
        self._is_error_logged = False
        return True

    def _store_changes(self) -> None:
        """Raises OSError. After an error the next call writes the whole file anew."""
        changes, must_rewrite = self.spool.take_changes(), self._must_rewrite or self._store.is_long
        self._must_rewrite = True
        if must_rewrite:
            self._store.replace(self.spool.snapshot())
        elif changes:
            self._store.append(changes)
        self._must_rewrite = False

    def _restore(self) -> None:
        records: list[Any] = list(self._store.read())
        try:
            self.spool.restore(self.clock.now(), records)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            self._store.keep_damaged(f"a record that does not fit the others ({error!r})")
        self._store.replace(self.spool.snapshot())

    def _check_clock(self) -> None:
        if step := self.clock.check():
            self.spool.shift_times(step)
            self._must_rewrite = True  # the times in the file are wrong
        self.spool.is_clock_set = self.clock.is_set
