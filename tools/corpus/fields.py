"""What stands in the fields of an export, as a record has it: texts, names, moments. It knows no export."""

from __future__ import annotations

import math

MAX_TIMESTAMP = 253_402_300_799.0  # the end of the year 9999, in seconds


def as_text(value: object) -> str:
    """The text as it can be written to a file, without blanks around it; empty where there is none.

    JSON may hold half of a pair of UTF-16, as where a program cut a text in the middle of an emoji.
    """
    if not isinstance(value, str):
        return ""
    text = value.strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def as_timestamp(value: object, units_per_second: int = 1000) -> float | None:
    """Seconds of UTC since 1970 from a number or its figures, so many to a second; None for what is no moment."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value) / units_per_second
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and 0 < seconds <= MAX_TIMESTAMP else None


def get_nested(value: object, *keys: str) -> object:
    """What lies so deep in objects of JSON; None where one of them is missing."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def join_names(*names: object) -> str:
    """Parts of a name, those that there are."""
    return " ".join(part for name in names if (part := as_text(name)))


def describe_attachment(content_type: object) -> str:
    """What was sent, by its MIME type, in the words that a person would use."""
    kinds = {"image": "a photo", "video": "a video", "audio": "a sound"}
    return kinds.get(as_text(content_type).partition("/")[0], "a file")


class UniqueNames:
    """Names for what an export knows by number. No two have the same: one of them would speak for both."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._used: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def add(self, key: str, name: str) -> None:
        """Once; the number stands behind a name that another has."""
        if key not in self._names:
            self._names[key] = name if name not in self._used else f"{name} ({key})"
            self._used.add(self._names[key])

    def get(self, key: str, default: str = "") -> str:
        return self._names.get(key, default)
