"""Reads UTF-8 line by line, and JSON Lines object by object. Damaged lines are reported by number and skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tools.corpus.archive import Member
from tools.corpus.record import DamagedItem, SourceWarning

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 16 << 20  # a longer line is skipped: memory holds a line
MAX_REPORTED = 3  # damaged lines listed one by one


def iter_lines(member: Member, keep_blank: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """Yields (number, line without its end); the line is None if it is too long. `keep_blank` yields blank lines too.

    Raises MemberError.
    """
    number, partial, is_too_long = 1, b"", False
    with member.open() as file:
        while chunk := file.read(CHUNK_BYTES):
            *complete, partial = (partial + chunk).split(b"\n")
            for line in complete:
                if keep_blank or line.strip():
                    yield number, None if is_too_long else line
                number, is_too_long = number + 1, False
            if len(partial) > MAX_LINE_BYTES:
                partial, is_too_long = b".", True
    if partial.strip():
        yield number, None if is_too_long else partial


def decode_line(line: bytes) -> tuple[str, bool]:
    """Returns the line without byte-order mark and line end, and whether all of it was UTF-8."""
    try:
        return line.decode("utf-8-sig").rstrip("\r\n"), True
    except UnicodeDecodeError:
        return line.decode("utf-8-sig", "replace").rstrip("\r\n"), False


def iter_objects(member: Member) -> Iterator[tuple[int, dict[str, Any]] | DamagedItem | SourceWarning]:
    """Yields (line number, object) of JSON Lines, and reports of damage. Raises MemberError."""
    damaged = not_utf8 = 0
    for number, line in iter_lines(member):
        text, is_utf8 = decode_line(line or b"")
        not_utf8 += not is_utf8
        value = _parse_object(text)
        if value is not None:
            yield number, value
            continue
        damaged += 1
        if damaged <= MAX_REPORTED:
            reason = "too long for a message" if line is None else "not JSON"
            yield DamagedItem(f"{member.location}, line {number}", reason)
    if damaged > MAX_REPORTED:
        yield DamagedItem(member.location, f"{damaged - MAX_REPORTED} more lines are damaged")
    if not_utf8:
        yield SourceWarning(member.location, not_utf8_message(not_utf8))


def not_utf8_message(count: int) -> str:
    """Returns the warning about lines that are partly not UTF-8."""
    subject = "1 line is" if count == 1 else f"{count:,} lines are"
    return f"{subject} partly not UTF-8; unreadable bytes became \ufffd"


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text.rstrip().removesuffix(","))  # each line may be a part of an array
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
