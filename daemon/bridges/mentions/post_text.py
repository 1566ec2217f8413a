"""The text of posts: plain text out of HTML, lengths as networks count them, and answers without links. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from itertools import pairwise

from daemon.bridges.chat_text import clean_text

MIN_ROOM = 20  # characters for a text, beside the name of its reader
MAX_MENTION_CHARS = 2_000  # of a mention, as the model sees it

_LEADING_NAME = re.compile(r"@([\w.-]+(?:@[\w.-]+)?)[:,]?(?:\s+|$)")
_SCHEME_LINK = re.compile(r"[^\s:]*://\S*|\bwww\.\S*", re.IGNORECASE)
_JOINED_DOMAIN = re.compile(r"(?<=\w)([.。．｡])(?=[^\W\d_])")
_NAME_SIGN = re.compile(r"[@＠]+(?=\w)")
_CONTROL_CATEGORIES = ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp")  # nothing joins them
_JOINERS = ("\u200d", "\u200c")
# Ranges that X counts once; all other code points count twice [docs.x.com, counting characters].
_X_LIGHT = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))


class _TextCollector(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag in ("br", "p"):
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def strip_html(html: str) -> str:
    """Returns the text of a post's HTML on one line."""
    collector = _TextCollector()
    collector.feed(html)
    collector.close()
    return " ".join("".join(collector.parts).split())


def split_leading_names(text: str, own_names: Sequence[str]) -> tuple[str, bool]:
    """Returns the text without the names at its begin, and whether one of them is the account's own."""
    own, is_addressed, text = {name.lower() for name in own_names}, False, text.strip()
    while match := _LEADING_NAME.match(text):
        is_addressed = is_addressed or match[1].rstrip(".").lower() in own
        text = text[match.end() :]
    return clean_text(text, MAX_MENTION_CHARS), is_addressed


def count_graphemes(text: str) -> int:
    """Returns how many characters a reader sees, or more: so a text that fits here fits on the server.

    Marks and joiners belong to the character before them. Emoji that are joined, and flags, are counted in parts.
    """
    return bool(text) + sum(not _belongs_to(char, before) for before, char in pairwise(text))


def _belongs_to(char: str, before: str) -> bool:
    is_mark = char in _JOINERS or unicodedata.category(char) in ("Mn", "Me")
    return is_mark and (before in _JOINERS or unicodedata.category(before) not in _CONTROL_CATEGORIES)


def count_x_characters(text: str) -> int:
    """Returns the length as X counts it: most letters once, others such as emoji twice."""
    light = sum(any(first <= ord(char) <= last for first, last in _X_LIGHT) for char in text)
    return 2 * len(text) - light


def tidy_answer(text: str) -> str:
    """Returns an answer that calls nobody and links to nothing: a model invents names and addresses.

    A full stop between two words gets a blank, since networks make links of `end.start`.
    """
    text = _SCHEME_LINK.sub("", clean_text(text, 8 * MAX_MENTION_CHARS))
    text = _NAME_SIGN.sub("", text)
    return " ".join(_JOINED_DOMAIN.sub(r"\1 ", text).split())


def fit_mark(mark: str, room: int, measure: Callable[[str], int]) -> tuple[int, str]:
    """Returns the room for a text before the mark of its post, and the mark: "" if too little room is left."""
    left = room - measure(f" {mark}") if mark else room
    return (left, mark) if left >= MIN_ROOM else (room, "")
