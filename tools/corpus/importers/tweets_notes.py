"""Long posts on X, whole, and the tweets that are their beginnings. Pure; it reads no file.

Nothing in the download joins the two but the moment, to the second, and how they begin.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tools.corpus.record import Record

_MAX_GAP_S = 3  # between the moments of a note and of its tweet
_PREFIX_CHARS = (
    100  # characters that both begin with. What was cut short has as many, even in Chinese, which counts double
)
_LINK = re.compile(r"https?://\S+|\u2026")
_NAMES = re.compile(r"(?:@\w+\s+)+")
_BLANKS = re.compile(r"\s+")


@dataclass(slots=True)
class _Note:
    source: str
    text: str
    when: float | None
    is_used: bool = False


class TweetNotes:
    """The notes of one archive, until each is given in the place of its tweet, or by itself."""

    def __init__(self) -> None:
        self._notes: list[_Note] = []
        self._by_second: dict[int | None, list[_Note]] = {}

    def add(self, source: str, text: str, when: float | None) -> None:
        note = _Note(source, text, when)
        self._notes.append(note)
        self._by_second.setdefault(_whole_second(when), []).append(note)

    def complete_text(self, text: str, when: float | None) -> str:
        """The note that the text is the beginning of; the text itself if there is none."""
        if not self._notes or len(begun := _comparable_text(text)) < _PREFIX_CHARS:
            return text
        for note in self._notes_near(when):
            if not note.is_used and begun[:_PREFIX_CHARS] in _comparable_text(note.text)[: 2 * _PREFIX_CHARS]:
                note.is_used = True
                return note.text
        return text

    def unused_records(self, who: str) -> Iterator[Record]:
        """Those that no tweet begins."""
        for note in self._notes:
            if not note.is_used:
                yield Record(note.source, "", note.text, who, note.when, "tweet", mine=True)

    def _notes_near(self, when: float | None) -> Iterator[_Note]:
        second = _whole_second(when)
        around = [None] if second is None else [second + away for away in range(-_MAX_GAP_S, _MAX_GAP_S + 1)]
        for moment in around:
            yield from self._by_second.get(moment, ())


def _whole_second(when: float | None) -> int | None:
    return None if when is None else int(when)


def _comparable_text(text: str) -> str:
    """What both have in common: no entities, links, or names that are answered to."""
    bare = _NAMES.sub("", html.unescape(text).lstrip(), count=1) if text.startswith("@") else html.unescape(text)
    return _BLANKS.sub(" ", _LINK.sub("", bare)).strip()
