"""The state of a spool, which records change and make again: each change is one record of plain values. Pure.

The records, by `ev`:

    add     a job came: `job`, its fields; `once`, the caller's key or ""
    line    one more line of the job `id` was struck at `at`; after its last line the job is gone
    state   the job `id` is "waiting", "held" or "expired" from now on; `at`: it counts as added then
    drop    the job `id` was cancelled, or its digest was printed
    hush    nothing prints until `until`
    job     in a snapshot: the fields of a job
    ids, struck, recent, order   in a snapshot: what is kept of jobs that are gone
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from daemon.people import ForgetScope
from daemon.spool.budget import CharacterBudget, StruckCharacters
from daemon.spool.job import Person, SpoolJob, count_characters, person_key
from daemon.spool.order import FairOrder

MAX_KEYS = 1000  # of `once`, the latest
Change = dict[str, Any]


class SpoolState:
    """The jobs, and what is remembered of those that are gone."""

    def __init__(self) -> None:
        self.jobs: dict[int, SpoolJob] = {}
        self.last_id = 0
        self.budget, self.order = CharacterBudget(), FairOrder()
        self.hush_until = 0.0
        self.keys: OrderedDict[str, int] = OrderedDict()  # of `once`, with the job's number
        self.recent: dict[tuple[Person, tuple[str, ...]], tuple[float, int]] = {}  # when they came, and the number

    def apply(self, record: Mapping[str, Any], *, is_of_this_run: bool = True) -> None:
        """Makes one change. Raises KeyError, TypeError, ValueError or AttributeError for a damaged record."""
        match record["ev"]:
            case "add":
                self._add(_decode_job(record["job"], is_of_this_run), record["once"])
            case "job":
                job = _decode_job(record["job"], is_of_this_run)
                self.jobs[job.id] = job
            case "line":
                self._count_line(self.jobs[record["id"]], record["at"], is_of_this_run)
            case "state":
                self._set_state(self.jobs[record["id"]], record, is_of_this_run)
            case "drop":
                del self.jobs[record["id"]]
                self.recent = {key: recent for key, recent in self.recent.items() if recent[1] != record["id"]}
            case "hush":
                self.hush_until = record["until"]
            case "ids":
                self.last_id, self.keys = record["last"], OrderedDict(record["keys"])
            case "struck":
                person = person_key(*record["person"])
                self.budget.restore(StruckCharacters(record["at"], person, record["chars"], is_of_this_run=False))
            case "recent":
                self.recent[person_key(*record["owner"]), tuple(record["lines"])] = record["at"], record["id"]
            case "order":
                self.order.restore(record["count"], {person_key(*owner): chars for owner, chars in record["used"]})
            case unknown:
                raise ValueError(f"a record of the spool that is {unknown!r}")

    def snapshot(self) -> list[Change]:
        """Returns records that make this state again."""
        count, used = self.order.progress
        return [
            {"ev": "ids", "last": self.last_id, "keys": list(self.keys.items())},
            {"ev": "hush", "until": self.hush_until},
            *(
                {"ev": "struck", "at": entry.at, "person": list(entry.person), "chars": entry.chars}
                for entry in self.budget.entries
            ),
            *({"ev": "job", "job": encode_job(job)} for job in self.jobs.values()),
            {"ev": "order", "count": count, "used": [[list(owner), chars] for owner, chars in used.items()]},
            *(
                {"ev": "recent", "owner": list(owner), "lines": list(lines), "at": at, "id": job_id}
                for (owner, lines), (at, job_id) in self.recent.items()
            ),
        ]

    def forget(self, scope: ForgetScope) -> int:
        """Removes a person's jobs and name, or what is older; returns the number of jobs. Write a snapshot then.

        What a person has used of the budget counts for the source alone from now on.
        """

        def is_forgotten(person: str, lines: Sequence[str], at: float) -> bool:
            return scope.has_person(person) or scope.has_text("\n".join(lines)) or scope.has_time(at)

        gone = [job.id for job in self.jobs.values() if is_forgotten(job.person, job.lines, job.added_at)]
        for job_id in gone:
            del self.jobs[job_id]
        self.recent = {
            (owner, lines): (at, job_id)
            for (owner, lines), (at, job_id) in self.recent.items()
            if not is_forgotten(owner[1], lines, at)
        }
        name = scope.person.casefold()
        for key, job_id in list(self.keys.items()):
            if job_id in gone or (name and name in key.casefold()):
                del self.keys[key]
        if scope.person:
            self.budget.forget(lambda owner: scope.has_person(owner[1]))
            self.order.forget(lambda turn: scope.has_person(turn[1]))
        elif scope.before:
            self.budget.entries = [entry for entry in self.budget.entries if not scope.has_time(entry.at)]
        return len(gone)

    def shift_times(self, seconds: float) -> None:
        """Moves the times of this run, after a step of the clock."""
        for job in self.jobs.values():
            if job.is_of_this_run:
                self.jobs[job.id] = replace(job, added_at=job.added_at + seconds)
        self.recent = {key: (at + seconds, job_id) for key, (at, job_id) in self.recent.items()}
        self.hush_until += seconds if self.hush_until else 0.0
        self.budget.shift(seconds)

    def _add(self, job: SpoolJob, once: str) -> None:
        if job.state == "waiting":
            self.order.note_waiting(job.turn, self._waiting())
        self.jobs[job.id] = job
        self.last_id = max(self.last_id, job.id)
        if once:
            self.keys[once] = job.id
            while len(self.keys) > MAX_KEYS:
                self.keys.popitem(last=False)
        else:
            self.recent[job.owner, job.lines] = job.added_at, job.id

    def _count_line(self, job: SpoolJob, at: float, is_of_this_run: bool) -> None:
        if not job.is_begun:
            self.order.note_begun(job, self._waiting(job))
        chars = count_characters(job.lines[job.lines_done])
        if is_of_this_run:
            self.budget.add_struck(at, job.owner, chars)
        else:
            self.budget.restore(StruckCharacters(at, job.owner, chars, is_of_this_run=False))
        if job.lines_done + 1 == len(job.lines):
            del self.jobs[job.id]
        else:
            self.jobs[job.id] = replace(job, lines_done=job.lines_done + 1)

    def _waiting(self, also: SpoolJob | None = None) -> list[SpoolJob]:
        return [job for job in self.jobs.values() if job.state == "waiting" or job is also]

    def _set_state(self, job: SpoolJob, record: Mapping[str, Any], is_of_this_run: bool) -> None:
        if record["state"] == "waiting" and job.state != "waiting":
            self.order.note_waiting(job.turn, self._waiting())
        job = replace(job, state=record["state"])
        if job.state == "expired":
            job = replace(job, lines=(), lines_done=0)
        if "at" in record:
            job = replace(job, added_at=record["at"], is_of_this_run=is_of_this_run)
        self.jobs[job.id] = job


def encode_job(job: SpoolJob) -> dict[str, Any]:
    """Returns the job as plain values; a job that is kept for ever has `keep_s` None."""
    plain = asdict(job)
    del plain["is_of_this_run"]
    return plain | {"lines": list(job.lines), "keep_s": None if job.keep_s == float("inf") else job.keep_s}


def _decode_job(plain: Mapping[str, Any], is_of_this_run: bool) -> SpoolJob:
    keep_s = float("inf") if plain["keep_s"] is None else plain["keep_s"]
    lines = tuple(plain["lines"])
    return SpoolJob(**{**plain, "lines": lines, "keep_s": keep_s, "is_of_this_run": is_of_this_run})
