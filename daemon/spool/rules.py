"""The rules of a spool: who may print, how much, and when. Pure: texts of the configuration become rules here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.spool.budget import BudgetLimits
from daemon.spool.job import Person
from daemon.spool.quiet_hours import QuietHours

OWN_SOURCE = "print"  # of asr33 print --spool: its callers may use the machine without a spool, too
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
MAX_DURATION_S = 366 * _UNITS_S["d"]


@dataclass(frozen=True, slots=True)
class SpoolRules:
    """The rules. A pattern of `allow` and `deny` is "SOURCE/PERSON", in which * stands for any characters."""

    quiet: QuietHours = field(default_factory=lambda: QuietHours([]))
    person_budget: BudgetLimits = field(default_factory=BudgetLimits)
    source_budget: BudgetLimits = field(default_factory=BudgetLimits)
    allow: tuple[str, ...] = ()  # none: all are allowed
    deny: tuple[str, ...] = ()
    without_budget: frozenset[str] = frozenset()  # sources whose callers could use the machine anyway
    max_jobs: int = 200
    max_jobs_per_person: int = 20
    max_job_chars: int = 15_000  # 25 minutes of paper

    def is_allowed(self, owner: Person) -> bool:
        """Returns whether this person may print: `deny` goes before `allow`."""
        return not _matches(self.deny, owner) and (not self.allow or _matches(self.allow, owner))


def _matches(patterns: Sequence[str], owner: Person) -> bool:
    name = "/".join(owner)
    return any(re.fullmatch(".*".join(map(re.escape, one.casefold().split("*"))), name, re.DOTALL) for one in patterns)


def check_pattern(text: str) -> str:
    """Returns a pattern of `allow` or `deny`. Raises ValueError with an example."""
    if not re.fullmatch(r"[^/\s]+/\S+", text):
        raise ValueError(f'{text!r} is no SOURCE/PERSON, such as "irc/ada" or "mail/*"')
    return text


def parse_duration(text: str) -> float:
    """Returns the seconds of a text such as "90s", "30m", "1h" or "7d". Raises ValueError with an example."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text.strip().lower())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_DURATION_S:
        raise ValueError(f'{text!r} is no time from 1s to 366d, such as "30m", "1h" or "7d"')
    return seconds
