"""Joins long posts on X with the truncated tweets that begin them. Pure.

The download relates them only by their time, to the second, and their first characters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tools.corpus.record import Record

_MAX_GAP_S = 3  # between the times of a note and its tweet
_PREFIX_CHARS = 100  # of the common start. A truncated tweet has so many characters even in Chinese, counted twice
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
    """The notes of one archive. Each is used once: for its tweet, or as a separate record."""

    def __init__(self) -> None:
        self._notes: list[_Note] = []
        self._by_second: dict[int | None, list[_Note]] = {}

    def add(self, source: str, text: str, when: float | None) -> None:
        note = _Note(source, text, when)
        self._notes.append(note)
        self._by_second.setdefault(_whole_second(when), []).append(note)

    def complete_text(self, text: str, when: float | None) -> str:
        """Returns the note that begins with the text, or the text itself."""
        if not self._notes or len(start := _comparable_text(text)) < _PREFIX_CHARS:
            return text
        for note in self._notes_near(when):
            if not note.is_used and start[:_PREFIX_CHARS] in _comparable_text(note.text)[: 2 * _PREFIX_CHARS]:
                note.is_used = True
                return note.text
        return text

    def unused_records(self, who: str) -> Iterator[Record]:
        """Yields the notes without a tweet."""
        for note in self._notes:
            if not note.is_used:
                yield Record(note.source, "", note.text, who, note.when, "tweet", mine=True)

    def _notes_near(self, when: float | None) -> Iterator[_Note]:
        second = _whole_second(when)
        keys = [None] if second is None else range(second - _MAX_GAP_S, second + _MAX_GAP_S + 1)
        for key in keys:
            yield from self._by_second.get(key, ())


def _whole_second(when: float | None) -> int | None:
    return None if when is None else int(when)


def _comparable_text(text: str) -> str:
    """Returns the text without entities, links, and the names of the users that it answers."""
    plain = html.unescape(text)
    if text.startswith("@"):
        plain = _NAMES.sub("", plain.lstrip(), count=1)
    return _BLANKS.sub(" ", _LINK.sub("", plain)).strip()
