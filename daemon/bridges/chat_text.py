"""The text of people and of answers: made readable on paper, and cut to what a network allows. Pure."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator

MAX_TEXT_CHARS = 500  # of one chat line on paper; IRC's lines are shorter, and so are Twitch's
MAX_NAME_CHARS = 32
_MAX_MARKS = 2  # combining marks on one letter, as Vietnamese has; more of them are zalgo
_MAX_SAME = 20  # of one character in a row

# mIRC's codes: colours with their numbers, then bold, italics and others.
_FORMATS = re.compile(
    r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|\x04(?:[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?|[\x02\x0f\x11\x16\x1d-\x1f]"
)
_LONG_RUN = re.compile(rf"(\S)\1{{{_MAX_SAME},}}")
_MARK_CATEGORIES = ("Mn", "Me")
_DROPPED_CATEGORIES = ("Cf", "Cs", "Co", "Cn")  # direction marks, joiners, half and unassigned characters
_CTCP = re.compile(r"\x01([A-Za-z]+)(?: ([^\x01]*))?\x01?$", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]”’»]*(?=\s|$)")


def clean_text(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Returns a text on one line without codes, controls, direction marks and piles of combining marks.

    A control character becomes a blank, and blanks are joined. A longer text is cut at a word and ends in `...`.
    """
    text = _FORMATS.sub("", text[: 16 * max_chars])
    text = unicodedata.normalize("NFC", "".join(_keep_readable(unicodedata.normalize("NFD", text))))
    text = _LONG_RUN.sub(lambda match: match[1] * _MAX_SAME, " ".join(text.split()))
    if len(text) <= max_chars:
        return text
    head = text[: max_chars - 3]
    return (head[: head.rindex(" ")] if " " in head[max_chars // 2 :] else head) + "..."


def clean_name(name: str) -> str:
    """Returns a nick for the paper and for a prompt: one word without a colon, never empty."""
    return clean_text(name, MAX_NAME_CHARS).replace(" ", "_").replace(":", "") or "someone"


def parse_ctcp(text: str) -> tuple[str, str] | None:
    """Returns command and text of a CTCP message such as ACTION; None if the text is none."""
    match = _CTCP.match(text)
    return (match[1].upper(), match[2] or "") if match else None


def cut_to_sentences(text: str, limit: int, measure: Callable[[str], int] = len) -> str:
    """Returns whole sentences of the text, of at most `limit` characters, or of what else `measure` counts.

    A text whose first sentence is longer, or has no end, is cut after a word and ends in `...`.
    """
    text = " ".join(text.split())
    length = measure(text)
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if measure(text[: match.end()]) <= limit]
    if ends and (length > limit or ends[-1] == len(text) or ends[-1] > 20):
        return text[: ends[-1]]
    if length <= limit:
        return text
    room = limit - measure("...") if " " in text else limit
    head = text[: max(0, bisect_right(range(len(text) + 1), room, key=lambda size: measure(text[:size])) - 1)]
    return head.rpartition(" ")[0].rstrip(" ,;:") + "..." if " " in text else head


def split_text(text: str, max_bytes: int, max_chars: int = MAX_TEXT_CHARS) -> list[str]:
    """Returns the text in parts of at most so many UTF-8 bytes and characters, cut after sentences where possible.

    A sentence that does not fit into one part is cut after a word, and a word that does not fit after a character.
    """
    parts: list[str] = []
    part = ""
    for piece in _fitting_pieces(" ".join(text.split()), max_bytes, max_chars):
        joined = f"{part} {piece}" if part else piece
        if _fits(joined, max_bytes, max_chars):
            part = joined
        else:
            parts.append(part)
            part = piece
    return [*parts, part] if part else parts


def _fitting_pieces(text: str, max_bytes: int, max_chars: int) -> Iterator[str]:
    """Yields the sentences; the words of a sentence that does not fit, and the parts of a word that does not fit."""
    for sentence in _split_sentences(text):
        if _fits(sentence, max_bytes, max_chars):
            yield sentence
            continue
        for word in sentence.split():
            while not _fits(word, max_bytes, max_chars):
                head = word[:max_chars].encode()[:max_bytes].decode("utf-8", "ignore")
                yield head
                word = word[len(head) :]
            if word:
                yield word


def _split_sentences(text: str) -> Iterator[str]:
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield text[start : match.end()].strip()
        start = match.end()
    if rest := text[start:].strip():
        yield rest


def _fits(text: str, max_bytes: int, max_chars: int) -> bool:
    return len(text) <= max_chars and len(text.encode()) <= max_bytes


def _keep_readable(text: str) -> Iterator[str]:
    marks = 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in _MARK_CATEGORIES else 0
        if category == "Cc" or category in ("Zl", "Zp"):
            yield " "
        elif category not in _DROPPED_CATEGORIES and marks <= _MAX_MARKS:
            yield char
