"""The messages about what the spool and the bridges of a daemon forget. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForgetTexts:
    """Forgets a `person`, or all `before` a time (seconds of the epoch), in the spool and bridges; allowed any time."""

    person: str = ""
    before: float = 0.0


@dataclass(frozen=True, slots=True)
class TextsForgotten:
    """The `files` that the daemon has written anew, and the number of texts that are gone."""

    files: list[str]
    count: int
