"""Converts the fields of exports: texts, times, names, counts, and text that was decoded wrongly. Pure.

It knows no export format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MAX_TIMESTAMP = 253_402_300_799.0  # the end of the year 9999


def as_text(value: object) -> str:
    """Returns the stripped text, or "" if the value is not a string; repairs surrogates."""
    return repair_surrogates(value.strip()) if isinstance(value, str) else ""


def repair_surrogates(text: str) -> str:
    """Joins surrogate pairs; a lone surrogate becomes U+FFFD.

    JSON may contain a lone surrogate where a program cut a text inside an emoji.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def as_timestamp(value: object, units_per_second: int = 1000) -> float | None:
    """Returns seconds of UTC since 1970 for a number or its digits; None if it is no plausible time."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value) / units_per_second
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and 0 < seconds <= MAX_TIMESTAMP else None


def get_nested(value: object, *keys: str) -> object:
    """Returns the value at the end of a path of keys; None if a key is missing."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def join_names(*names: object) -> str:
    """Joins the parts of a name that are not empty."""
    return " ".join(part for name in names if (part := as_text(name)))


def make_printable(text: str, replacement: str = "?") -> str:
    """Replaces control and direction characters, so that a name from an archive cannot control the terminal."""
    return "".join(c if c.isprintable() else replacement for c in text)


def format_count(number: int, noun: str) -> str:
    """Returns `1 text` or `1,000 texts`."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def format_numbers(numbers: Sequence[int], limit: int) -> str:
    """Returns `3, 4, 5, ...` with at most `limit` numbers."""
    return ", ".join([*map(str, numbers[:limit]), *(["..."] if len(numbers) > limit else [])])


def describe_attachment(content_type: object) -> str:
    """Returns what a MIME type is in plain words: "a photo", "a file"."""
    kinds = {"image": "a photo", "video": "a video", "audio": "a sound"}
    return kinds.get(as_text(content_type).partition("/")[0], "a file")


class UniqueNames:
    """Names by id. No two ids get the same name, so no two people or threads are merged."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._used: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def add(self, key: str, name: str) -> None:
        """Sets a name once; a name that is in use gets the id appended."""
        if key not in self._names:
            self._names[key] = name if name not in self._used else f"{name} ({key})"
            self._used.add(self._names[key])

    def get(self, key: str, default: str = "") -> str:
        return self._names.get(key, default)


def repair_latin1(text: str) -> str:
    """Undoes the decoding of UTF-8 as Latin-1; other text is returned as it is.

    Facebook writes each byte of UTF-8 as a character of its own, `caf\\u00c3\\u00a9`.
    """
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
