"""A job of the spool: lines of paper by one person, and how far they are printed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivers.clock import CHARACTER_S

JobState = Literal["waiting", "held", "expired"]
Person = tuple[str, str]  # the source and the name, as they are compared

MAX_NAME_CHARS = 32  # of a source or a person
_FUNCTIONS_PER_LINE = 2  # CR and LF, which take paper and time too


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a caller wants to be printed. `keep_s`: the age in seconds at which it is no longer worth its paper.

    `once` is the caller's own key: a second request with the same key is the same job. The jobs of one `talk`, such as
    a channel of IRC, stay in their order and take turns as one person, while each person has its own budget.
    """

    source: str
    person: str
    lines: tuple[str, ...]
    keep_s: float = float("inf")
    once: str = ""
    talk: str = ""


@dataclass(frozen=True, slots=True)
class SpoolJob:
    """A job in the spool. `added_at`: in seconds of the epoch, by the clock of `is_of_this_run`'s process."""

    id: int
    source: str
    person: str
    lines: tuple[str, ...]
    added_at: float
    keep_s: float = float("inf")
    state: JobState = "waiting"
    lines_done: int = 0
    is_of_this_run: bool = True
    talk: str = ""

    @property
    def turn(self) -> Person:
        """Returns who takes turns with others: the talk, or the owner."""
        return person_key(self.source, self.talk or self.person)

    @property
    def owner(self) -> Person:
        return person_key(self.source, self.person)

    @property
    def is_begun(self) -> bool:
        return self.lines_done > 0

    @property
    def chars(self) -> int:
        """Returns the characters of the whole job, as `count_characters` counts them."""
        return sum(map(count_characters, self.lines))

    @property
    def chars_left(self) -> int:
        return sum(map(count_characters, self.lines[self.lines_done :]))

    @property
    def seconds_left(self) -> float:
        """Returns how long the machine needs for the rest of the job."""
        return self.chars_left * CHARACTER_S


def person_key(source: str, person: str) -> Person:
    """Returns the key under which the budget and the order know a person: capitals make no other one."""
    return source.casefold(), person.casefold()


def count_characters(line: str) -> int:
    """Returns how many characters of the budget a line of paper costs: its passes, and CR and LF."""
    return len(line) + _FUNCTIONS_PER_LINE
