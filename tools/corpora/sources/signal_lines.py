"""What the program signal-export writes of Signal Desktop: a folder for each chat, `data.json` in it, JSON Lines.

`chat.md` and `index.html` beside it have the same messages, `media` what was sent with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from tools.corpora.fields import medium, words
from tools.corpora.lines import objects
from tools.corpora.members import Member
from tools.corpora.record import Found, Record, Skipped
from tools.corpora.sources.signal_text import HOLE, NOBODY
from tools.corpora.threads import told

_FIRST = re.compile(rb'\s*\{"date":\s*"[^"]*",\s*"sender":\s*"')
_CALLS = ("Incoming call", "Outgoing call")  # before there was a field for it
_ME = "Me"
_NO_SENDER = "No-Sender"


def is_lines(head: bytes) -> bool:
    """Whether a file begins as a chat of signal-export does."""
    return bool(_FIRST.match(head.removeprefix(b"\xef\xbb\xbf")))


def chat_of(member: Member) -> str:
    """The folder's name is the chat's."""
    folder = PurePosixPath(member.name).parent.name or PurePosixPath(member.place).parent.name
    return folder or PurePosixPath(member.name).stem


def found(member: Member) -> Iterator[Found]:
    """All messages of the chat, which lie in order."""
    return told(_messages(member, chat_of(member)), member)


def _messages(member: Member, chat: str) -> Iterator[Found]:
    for one in objects(member):
        yield _message(member.place, chat, one[1]) if isinstance(one, tuple) else one


def _message(place: str, chat: str, line: dict[str, Any]) -> Found:
    text = words(line.get("body")).replace(HOLE, f"@{NOBODY.lower()}")
    if why := _why_none(line, text):
        return Skipped(place, why)
    who = words(line.get("sender"))
    return Record(
        source=place,
        thread=chat,
        text=text,
        who="" if who == _NO_SENDER else who,
        when=_when(line.get("date")),
        kind="message",
        mine=who == _ME,
    )


def _why_none(line: dict[str, Any], text: str) -> str:
    """Why a line is no text that somebody wrote; empty if it is one."""
    if line.get("deleted"):
        return "a deleted message"
    if line.get("call") or ("call" not in line and text in _CALLS):
        return "a call"
    if text:
        return ""
    if line.get("sticker"):
        return "a sticker"
    if files := line.get("attachments"):
        return medium(_type_of(files[0] if isinstance(files, list) else None))
    return "a notice" if line.get("sender") == _NO_SENDER else "an empty message"


def _type_of(attachment: object) -> str:
    """By the end of its name: the program keeps no MIME type."""
    name = words(attachment.get("name") if isinstance(attachment, dict) else "")
    match PurePosixPath(name.lower()).suffix:
        case ".jpg" | ".jpeg" | ".png" | ".gif" | ".webp" | ".heic" | ".tif" | ".tiff":
            return "image/"
        case ".mp4" | ".mov" | ".mkv" | ".mpeg" | ".webm":
            return "video/"
        case ".aac" | ".m4a" | ".mp3" | ".ogg" | ".opus" | ".wav" | ".flac":
            return "audio/"
    return ""


def _when(date: object) -> float | None:
    """The program writes the time of the place where it ran, and not which that is; it is taken to be here."""
    try:
        return datetime.fromisoformat(words(date)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
