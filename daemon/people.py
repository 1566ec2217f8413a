"""Persons by their names, and what of theirs is to be forgotten. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# The name of a speaker at the beginning of a line, as in a dialogue of messages.
_SPEAKER = re.compile(r"^\s*([^\s:][^:\n]{0,40}?)\s*:(?=\s|$)", re.MULTILINE)
FIRST_CERTAIN_S = 1_577_836_800.0  # 2020: an earlier date is that of a clock that was not set


@dataclass(frozen=True, slots=True)
class ForgetScope:
    """A `person`, or all from before a time, in seconds of the epoch. A date that is uncertain is not before it."""

    person: str = ""
    before: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not self.person and not self.before

    def has_person(self, *names: str) -> bool:
        return bool(self.person) and is_person(self.person, names)

    def has_text(self, text: str) -> bool:
        """Whether the person speaks in the text."""
        return bool(self.person) and is_person(self.person, find_speakers(text))

    def has_time(self, at: float) -> bool:
        return FIRST_CERTAIN_S <= at < self.before


ForgetStored = Callable[[ForgetScope], tuple[Path | None, int]]  # forgets; returns its file and the number of texts


def find_speakers(text: str) -> set[str]:
    """Returns the names at the beginning of lines, before a colon."""
    return {match[1] for match in _SPEAKER.finditer(text)}


def format_people(names: Iterable[str]) -> str:
    """Returns the names as one string, in which `person_pattern` is found."""
    return "|".join(f" {' '.join(name.casefold().split())} " for name in sorted(set(names)) if name.strip())


def person_pattern(name: str) -> str:
    """Returns what the names of a person contain: whole words, in capitals or not. ADA finds Ada and Ada Lovelace."""
    return f" {' '.join(name.casefold().split())} "


def is_person(name: str, names: Iterable[str]) -> bool:
    """Whether one of the names is this person's."""
    return person_pattern(name) in format_people(names)
