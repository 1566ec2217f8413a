"""A search: what a user looks for as a query of SQLite's full-text search, and what is found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_TERM = re.compile(r'"([^"]*)"?|(\S+)')


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Which answers a search looks at; None: all. `since` is in seconds since 1970."""

    since: float | None = None
    model: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A text that was found. `number` and `code` are those of its prompt; 0 and "" for a printed text."""

    path: Path
    number: int
    code: str
    at: datetime
    model: str
    snippet: str  # the found words stand in [brackets]


def build_query(text: str) -> str:
    """Returns a query for texts with all words: "a phrase" in quotes, a word* by its beginning. "" if there is no word.

    No operator of the query language is passed on, so every text is a valid search.
    """
    terms = []
    for phrase, word in _TERM.findall(replace_unstorable(text)):
        term = phrase or word
        if any(char.isalnum() for char in term):
            is_prefix = bool(word) and term.endswith("*")
            terms.append('"' + term.rstrip("*").replace('"', " ") + '"' + ("*" if is_prefix else ""))
    return " ".join(terms)


def replace_unstorable(text: str) -> str:
    """Returns the text without NUL and halves of characters, which SQLite cannot store."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")
