"""What stands in the fields of an export, as a record has it: texts, names, moments. It knows no export."""

from __future__ import annotations

import math

LAST = 253_402_300_799.0  # the end of the year 9999, in seconds


def words(value: object) -> str:
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


def moment(value: object, a_second: int = 1000) -> float | None:
    """Seconds of UTC since 1970 from a number or its figures, so many to a second; None for what is no moment."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value) / a_second
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and 0 < seconds <= LAST else None


def inside(value: object, *keys: str) -> object:
    """What lies so deep in objects of JSON; None where one of them is missing."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def joined(*names: object) -> str:
    """Parts of a name, those that there are."""
    return " ".join(part for name in names if (part := words(name)))


def medium(content_type: object) -> str:
    """What was sent, by its MIME type, in the words that a person would use."""
    kinds = {"image": "a photo", "video": "a video", "audio": "a sound"}
    return kinds.get(words(content_type).partition("/")[0], "a file")


class Names:
    """Names for what an export knows by number. No two have the same: one of them would speak for both."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._given

    def give(self, key: str, name: str) -> None:
        """Once; the number stands behind a name that another has."""
        if key not in self._given:
            self._given[key] = name if name not in self._taken else f"{name} ({key})"
            self._taken.add(self._given[key])

    def get(self, key: str, otherwise: str = "") -> str:
        return self._given.get(key, otherwise)
