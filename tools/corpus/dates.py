"""Parses the dates of exports to seconds of UTC since 1970. Pure. Without a zone it assumes UTC.

Month names are parsed here because strptime depends on the locale.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_TIME = r"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<part>\.\d{1,9})?)?"
_ZONE = r"(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?"
_FORMATS = (
    # X writes Wed Jan 22 22:20:20 +0000 2020.
    re.compile(rf"[A-Z][a-z]{{2}} (?P<name>[A-Z][a-z]{{2}}) (?P<day>\d\d?) {_TIME} {_ZONE} ?(?P<year>\d{{4}})"),
    re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)(?:[T ]{_TIME} ?{_ZONE})?"),
    re.compile(rf"(?P<month>\d\d?)[-/](?P<day>\d\d?)[-/](?P<year>\d{{4}})(?: {_TIME})?"),  # American order
)


def parse_timestamp(text: str) -> float | None:
    """Returns the time, or None if the format is unknown."""
    for pattern in _FORMATS:
        if match := pattern.fullmatch(text.strip()):
            return _to_timestamp(match.groupdict())
    return None


def _to_timestamp(parts: dict[str, str | None]) -> float | None:
    name = parts.get("name")
    try:
        month = _MONTHS.index(name) + 1 if name else int(parts["month"] or 0)
        day, hour, minute, second = (int(parts[key] or 0) for key in ("day", "hour", "minute", "second"))
        zone = _parse_zone(parts.get("zone"))
        time = datetime(int(parts["year"] or 0), month, day, hour, minute, second, tzinfo=zone)
        return time.timestamp() + float(parts["part"] or 0)
    except (ValueError, OverflowError):  # such as 31 February
        return None


def _parse_zone(text: str | None) -> timezone:
    if not text or text in ("Z", "UTC"):
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)
