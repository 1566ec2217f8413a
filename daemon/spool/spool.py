"""The spool itself: which jobs there are, which one is next, and why none is. Pure.

The time is an argument, in seconds of the epoch. While the clock is not set (`is_clock_set` False) the spool knows
durations of this run and no time of day. Then it waits if there are quiet hours; and jobs of an earlier run that may
expire neither expire nor print.
Each change is a record of `take_changes`; a spool that restores the records of another is the same spool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from daemon.errors import SpoolRefused
from daemon.people import ForgetScope
from daemon.spool.job import MAX_NAME_CHARS, JobRequest, Person, SpoolJob, count_characters, person_key
from daemon.spool.paper_supply import PaperSupply
from daemon.spool.rules import SpoolRules
from daemon.spool.state import Change, SpoolState, encode_job

REPEAT_S = 60.0  # the same line by the same person within this time is one job
MAX_HUSH_S = 86_400.0
EX_DATAERR, EX_TEMPFAIL, EX_NOPERM, EX_NOINPUT = 65, 75, 77, 66  # sysexits.h


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Where a job is: its place (1: next; 0: held or gone) and the seconds until its next line; infinity: unknown."""

    job_id: int
    place: int
    seconds: float
    is_repeat: bool = False  # the job was there already


class Spool:
    """The jobs of one machine."""

    def __init__(self, rules: SpoolRules, paper: PaperSupply | None = None) -> None:
        self.rules, self.paper = rules, paper or PaperSupply()
        self.is_clock_set = True
        self.is_private = False  # what is struck is recorded nowhere: a text of others waits until it is
        self._state = SpoolState()
        self._changes: list[Change] = []

    @property
    def jobs(self) -> list[SpoolJob]:
        """Returns the waiting and the held jobs, in the order in which they came."""
        return [job for job in self._state.jobs.values() if job.state != "expired"]

    # What callers do.

    def add(self, now: float, request: JobRequest) -> QueuePlace:
        """Adds a job, or finds the one that it repeats. Raises SpoolRefused."""
        if (known := self._find_repeat(now, request)) is not None:
            return replace(self.find_place(now, known), is_repeat=True)
        self._check(now, request)
        job = SpoolJob(
            self._state.last_id + 1,
            request.source,
            request.person,
            request.lines,
            now,
            request.keep_s,
            talk=request.talk,
        )
        self._change("add", job=encode_job(job), once=request.once)
        return self.find_place(now, job.id)

    def cancel(self, job_id: int) -> None:
        """Removes a job. Raises SpoolRefused if there is none of this number."""
        self._change("drop", id=self._require(job_id))

    def hold(self, job_id: int) -> None:
        """Lets a job wait until `release`. Raises SpoolRefused."""
        self._change("state", id=self._require(job_id), state="held")

    def release(self, now: float, job_id: int) -> None:
        """Lets a held job print; it is as new again, so that it does not expire at once. Raises SpoolRefused."""
        self._change("state", id=self._require(job_id), state="waiting", at=now)

    def clear(self, person: str | None = None) -> int:
        """Removes all jobs, or those of a NAME or SOURCE/NAME; returns their number."""
        name = None if person is None else person.casefold()
        gone = [job.id for job in self.jobs if name is None or name in (job.owner[1], "/".join(job.owner))]
        for job_id in gone:
            self._change("drop", id=job_id)
        return len(gone)

    def hush(self, now: float, seconds: float) -> None:
        """Lets nothing print for so long, from now on; 0 ends it."""
        self._change("hush", until=now + min(max(seconds, 0.0), MAX_HUSH_S))

    def forget(self, scope: ForgetScope) -> int:
        """Removes a person's jobs and name, or what is older; returns the number of jobs. Store a snapshot then."""
        return self._state.forget(scope)

    # What the printing task asks.

    def block_reason(self, now: float) -> str:
        """Returns why no job may print now; "" if one may."""
        if self.is_private:
            return "private"
        if now < self._state.hush_until:
            return "hush"
        if self.rules.quiet and not self.is_clock_set:
            return "the clock is not set"
        if self.rules.quiet.quiet_until(now) > now:
            return "quiet hours"
        return "paper" if self.paper.state == "held" else ""

    def resume_at(self, now: float) -> float:
        """Returns when a job may print: `now` if it may; infinity if that is not known."""
        is_unknown = self.is_private or self.paper.state == "held"
        if is_unknown or (self.rules.quiet and not self.is_clock_set):
            return float("inf")
        return self.rules.quiet.quiet_until(max(now, self._state.hush_until))

    def next_job(self, now: float) -> SpoolJob | None:
        """Returns the job to print now, after those that are too old have expired; None if there is none."""
        self.expire(now)
        return None if self.block_reason(now) else next(iter(self.sorted_jobs()), None)

    def note_line(self, now: float, job_id: int) -> None:
        """Counts the next line of the job as struck; after its last line the job is gone."""
        if any(job.id == job_id for job in self.jobs):  # it may have been cancelled during its line
            self._change("line", id=job_id, at=now)

    def expire(self, now: float) -> None:
        """Drops the lines of jobs that are older than their `keep_s`; they are in the next digest."""
        for job in self.jobs:
            if now - job.added_at > job.keep_s and (self.is_clock_set or job.is_of_this_run):
                self._change("state", id=job.id, state="expired")
        self._state.budget.prune(now)
        recent = self._state.recent
        self._state.recent = {key: found for key, found in recent.items() if now - found[0] <= REPEAT_S}

    def count_expired(self) -> Counter[str]:
        """Returns how many jobs of each person have expired since the last digest."""
        return Counter(job.person for job in self._state.jobs.values() if job.state == "expired")

    def note_digest(self) -> None:
        """Forgets the expired jobs: the digest is on the paper."""
        for job in [job for job in self._state.jobs.values() if job.state == "expired"]:
            self._change("drop", id=job.id)

    # What is known about the queue.

    def sorted_jobs(self) -> list[SpoolJob]:
        """Returns the jobs that may print, in the order of printing."""
        waiting = [job for job in self.jobs if job.state == "waiting"]
        return self._state.order.sort([job for job in waiting if not self._waits_for_clock(job)])

    def find_place(self, now: float, job_id: int) -> QueuePlace:
        """Returns the place of a job. One that is gone has place 0, and no seconds to wait."""
        if all(job.id != job_id for job in self.jobs):
            return QueuePlace(job_id, 0, 0.0)
        return next((one for one in self.places(now) if one.job_id == job_id), QueuePlace(job_id, 0, float("inf")))

    def places(self, now: float) -> list[QueuePlace]:
        """Returns the place of each job that may print, in order, if the operator leaves the machine alone."""
        places: list[QueuePlace] = []
        moment = self.resume_at(now)
        for number, job in enumerate(self.sorted_jobs(), start=1):
            places.append(QueuePlace(job.id, number, moment - now))
            moment = self._end_of_print(moment, job.seconds_left)
        return places

    def _end_of_print(self, moment: float, seconds: float) -> float:
        """Returns when the next print may begin, after one of these seconds, which quiet hours interrupt."""
        while moment < float("inf") and (quiet := self.rules.quiet.next_quiet(moment)) <= moment + seconds:
            seconds -= quiet - moment
            moment = self.rules.quiet.quiet_until(quiet)
        return moment + seconds

    # The clock, and the disk.

    def shift_times(self, seconds: float) -> None:
        """Moves the times of this run, after the clock has made a step of these seconds; store a snapshot then."""
        self._state.shift_times(seconds)

    def take_changes(self) -> list[Change]:
        """Returns the records of what has changed since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    def snapshot(self) -> list[Change]:
        """Returns the records that make this spool again."""
        return self._state.snapshot()

    def restore(self, now: float, records: Iterable[Mapping[str, Any]]) -> None:
        """Applies the records of an earlier run. Raises as `SpoolState.apply`."""
        for record in records:
            self._state.apply(record, is_of_this_run=False)
        self._state.hush_until = min(self._state.hush_until, now + MAX_HUSH_S)  # it is by the clock of that run

    def _change(self, ev: str, **fields: Any) -> None:
        record = {"ev": ev, **fields}
        self._state.apply(record)
        self._changes.append(record)

    def _require(self, job_id: int) -> int:
        if all(job.id != job_id for job in self.jobs):
            raise SpoolRefused(f"no job {job_id} in the spool: asr33 spool list shows the jobs", EX_NOINPUT)
        return job_id

    def _waits_for_clock(self, job: SpoolJob) -> bool:
        """Whether it cannot be known if the job has expired."""
        return not (self.is_clock_set or job.is_of_this_run or job.keep_s == float("inf"))

    # Admission.

    def _find_repeat(self, now: float, request: JobRequest) -> int | None:
        """Returns the number of the job that the request repeats: by its key, or by the line and the person."""
        if request.once:
            return self._state.keys.get(request.once)
        at, job_id = self._state.recent.get((person_key(request.source, request.person), request.lines), (0.0, 0))
        return job_id if job_id and 0 <= now - at <= REPEAT_S else None

    def _check(self, now: float, request: JobRequest) -> None:
        rules, owner = self.rules, person_key(request.source, request.person)
        chars = sum(map(count_characters, request.lines))
        if not all(0 < len(name) <= MAX_NAME_CHARS and name.isprintable() for name in owner) or "/" in owner[0]:
            raise SpoolRefused(f"name the source and the person with 1 to {MAX_NAME_CHARS} characters", EX_DATAERR)
        if not rules.is_allowed(owner):
            raise SpoolRefused(f"{'/'.join(owner)} may not print here: see [spool] allow and deny", EX_NOPERM)
        if not any(line.strip() for line in request.lines):
            raise SpoolRefused("nothing to print: the text has no glyph of the machine", EX_DATAERR)
        if chars > rules.max_job_chars:
            raise SpoolRefused(f"{chars:,} characters, over {rules.max_job_chars:,}: send it in parts", EX_DATAERR)
        own = [job for job in self.jobs if job.owner == owner]
        if len(self.jobs) >= rules.max_jobs or len(own) >= rules.max_jobs_per_person:
            whose = "the spool is full" if len(own) < rules.max_jobs_per_person else f"{len(own)} of your jobs wait"
            raise SpoolRefused(f"{whose}: try again later", EX_TEMPFAIL, self._seconds_until_room(now))
        self._check_budget(now, owner, chars)

    def _check_budget(self, now: float, owner: Person, chars: int) -> None:
        if owner[0] in self.rules.without_budget:
            return
        for person, limits in ((owner, self.rules.person_budget), ((owner[0], ""), self.rules.source_budget)):
            waiting = sum(job.chars_left for job in self.jobs if person in (job.owner, (job.owner[0], "")))
            seconds = self._state.budget.seconds_until(now, person, limits, waiting, chars)
            if seconds == float("inf"):
                raise SpoolRefused(f"{chars:,} characters are over the whole budget: send less", EX_DATAERR)
            if seconds:
                whose = "your" if person == owner else f"{owner[0]}'s"
                raise SpoolRefused(f"{whose} budget of characters is spent: try again later", EX_TEMPFAIL, seconds)

    def _seconds_until_room(self, now: float) -> float:
        """Returns when the next job ends, or a minute if that is not known."""
        first = next(iter(self.sorted_jobs()), None)
        seconds = self.resume_at(now) - now + (first.seconds_left if first else 0.0)
        return seconds if seconds < float("inf") else REPEAT_S
