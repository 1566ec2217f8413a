"""What is peculiar to the texts of Signal: a person who is mentioned is a hole in the text, and stands beside it."""

from __future__ import annotations

from collections.abc import Iterable

UNKNOWN_NAME = "Somebody"  # who has no name here
MENTION_MARK = "\ufffc"  # OBJECT REPLACEMENT CHARACTER, one for each mention


def fill_mentions(text: str, spans: Iterable[tuple[object, object, str]]) -> str:
    """The text with names in its holes. Each span has its start and length, in units of UTF-16, and the name."""
    if MENTION_MARK not in text:
        return text
    units = text.encode("utf-16-le", "surrogatepass")
    placed = [
        (2 * start, 2 * (start + length), name)
        for start, length, name in spans
        if isinstance(start, int) and isinstance(length, int) and start >= 0 and length >= 0
    ]
    for start, end, name in sorted(placed, reverse=True):
        if units[start:end] == MENTION_MARK.encode("utf-16-le"):
            units = units[:start] + f"@{name}".encode("utf-16-le") + units[end:]
    return units.decode("utf-16-le", "replace").replace(MENTION_MARK, f"@{UNKNOWN_NAME.lower()}")
