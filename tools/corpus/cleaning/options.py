"""What was asked of a cleaning. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CleaningOptions:
    """`person` is a part of a name, `since` seconds of UTC since 1970, `without` the steps that are left out.

    `secret` is what invented names hang on: who knows it can tell whether a name he guesses was in the corpus, so it
    is drawn at random once and stays in the corpus's folder.
    """

    person: str = ""
    since: float | None = None
    anonymous: bool = False
    without: frozenset[str] = frozenset()
    secret: str = ""
