"""A member line by line, and JSON Lines object by object. What is damaged is told by its number, and gone over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tools.corpus.archive import Member
from tools.corpus.record import DamagedItem, SourceWarning

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 16 << 20  # bytes: no message is longer, and memory is bounded by it
MAX_REPORTED = 3  # damaged lines told one by one


def iter_lines(member: Member, keep_blank: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number, without its end, `blank` ones too if wanted; None for one too long for a text.

    Raises MemberRefused.
    """
    number, rest, flowing = 1, b"", False
    with member.open() as file:
        while chunk := file.read(CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if keep_blank or line.strip():
                    yield number, None if flowing else line
                number, flowing = number + 1, False
            if len(rest) > MAX_LINE_BYTES:
                rest, flowing = b".", True
    if rest.strip():
        yield number, None if flowing else rest


def decode_line(line: bytes) -> tuple[str, bool]:
    """The line without a byte-order mark or the end of its line, and whether all of it was UTF-8."""
    try:
        return line.decode("utf-8-sig").rstrip("\r\n"), True
    except UnicodeDecodeError:
        return line.decode("utf-8-sig", "replace").rstrip("\r\n"), False


def decode_table_line(line: bytes) -> tuple[str, bool]:
    """As `decoded`, but a line that has no letter in UTF-8 is of Windows-1252, as spreadsheets write it."""
    text, whole = decode_line(line)
    if whole or any(c > "\x7f" and c != "\ufffd" for c in text):
        return text, whole
    try:
        return line.decode("cp1252").rstrip("\r\n"), False
    except UnicodeDecodeError:  # five bytes stand for nothing there
        return text, False


def iter_objects(member: Member) -> Iterator[tuple[int, dict[str, Any]] | DamagedItem | SourceWarning]:
    """The objects of JSON Lines, each with the number of its line. Raises MemberRefused."""
    damaged = foreign = 0
    for number, line in iter_lines(member):
        text, whole = decode_line(line or b"")
        foreign += not whole
        found = _parse_object(text)
        if found is not None:
            yield number, found
            continue
        damaged += 1
        if damaged <= MAX_REPORTED:
            yield DamagedItem(
                f"{member.location}, line {number}", "too long for a message" if line is None else "not JSON"
            )
    if damaged > MAX_REPORTED:
        yield DamagedItem(member.location, f"{damaged - MAX_REPORTED} more lines are damaged")
    if foreign:
        yield SourceWarning(member.location, not_utf8_message(foreign))


def not_utf8_message(count: int) -> str:
    """What to tell of so many lines with bytes that are none of UTF-8."""
    lines = "1 line is" if count == 1 else f"{count:,} lines are"
    return f"{lines} not all UTF-8; the bytes that could not be read stand as \ufffd"


def windows_1252_message(count: int) -> str:
    """What to tell of so many lines that are no UTF-8 at all."""
    lines = "1 line is" if count == 1 else f"{count:,} lines are"
    return f"{lines} not UTF-8, read as Windows-1252: see whether the letters are right"


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
