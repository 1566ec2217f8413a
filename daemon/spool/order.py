"""The order of the jobs: fair between persons, by characters. Pure.

Fair queueing by start tags (WF2Q+, Bennett and Zhang 1997, with equal weights): a job's tag is the number of characters
that its person has had before it, on a common count that goes on with the paper and that a newcomer starts from; the
lowest tag is next. So a person with a hundred jobs delays another person's first job by one job, and newcomers,
however many, cannot keep a person waiting for ever. A talk of several persons is one person here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from daemon.spool.job import Person, SpoolJob


class FairOrder:
    """Remembers how far the count has come, and how far each person."""

    def __init__(self) -> None:
        self._count = 0.0
        self._used: dict[Person, float] = {}  # the tag of each person's first waiting job

    @property
    def progress(self) -> tuple[float, Mapping[Person, float]]:
        """Returns what `restore` needs."""
        return self._count, self._used

    def restore(self, count: float, used: Mapping[Person, float]) -> None:
        self._count, self._used = count, dict(used)

    def forget(self, is_forgotten: Callable[[Person], bool]) -> None:
        self._used = {turn: used for turn, used in self._used.items() if not is_forgotten(turn)}

    def sort(self, waiting: Sequence[SpoolJob]) -> list[SpoolJob]:
        """Returns the jobs in the order of printing: a begun one goes on first."""
        tags = self._tags(waiting)
        return sorted(waiting, key=lambda job: (not job.is_begun, tags.get(job.id, 0.0), job.id))

    def note_waiting(self, turn: Person, waiting: Sequence[SpoolJob]) -> None:
        """Starts a person at the common count, when its first job comes or is released; `waiting`: those before it."""
        if all(job.turn != turn or job.is_begun for job in waiting):
            self._used[turn] = max(self._count, self._used.get(turn, 0.0))

    def note_begun(self, job: SpoolJob, waiting: Sequence[SpoolJob]) -> None:
        """Counts a job, which is one of the waiting ones, when its first line is struck."""
        tags = self._tags(waiting)
        self._used[job.turn] = tags[job.id] + job.chars
        persons = {one.turn for one in waiting}
        lowest = min((tag for job_id, tag in tags.items() if job_id != job.id), default=0.0)
        self._count = max(self._count + job.chars / len(persons), lowest)
        self._used = {owner: used for owner, used in self._used.items() if used > self._count or owner in persons}

    def _tags(self, waiting: Sequence[SpoolJob]) -> dict[int, float]:
        """Returns the tag of each job that is not begun, by its number."""
        tags: dict[int, float] = {}
        ends = dict(self._used)
        for job in sorted(waiting, key=lambda job: job.id):
            if not job.is_begun:
                tags[job.id] = ends.get(job.turn, self._count)
                ends[job.turn] = tags[job.id] + job.chars
        return tags
