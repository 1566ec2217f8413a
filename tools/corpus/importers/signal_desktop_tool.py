"""Reads the output of signal-export, a program for Signal Desktop: each chat is JSON Lines, `CHAT/data.json`.

`chat.md` and `index.html` beside it hold the same messages, `media` holds the attachments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from tools.corpus.archive import Member
from tools.corpus.fields import as_text, describe_attachment
from tools.corpus.importers.signal_message import MENTION_MARK, UNKNOWN_NAME
from tools.corpus.jsonl import iter_objects
from tools.corpus.record import ImportItem, Record, SkippedItem
from tools.corpus.threads import catch_damage

_FIRST_LINE = re.compile(rb'\s*\{"date":\s*"[^"]*",\s*"sender":\s*"')
_CALL_TEXTS = ("Incoming call", "Outgoing call")  # older versions have no field for calls
_OWN_NAME = "Me"
_NO_SENDER = "No-Sender"


def is_chat(head: bytes) -> bool:
    """Whether a file begins like a chat of signal-export."""
    return bool(_FIRST_LINE.match(head.removeprefix(b"\xef\xbb\xbf")))


def chat_name(member: Member) -> str:
    """Returns the name of the folder, which is the chat's name."""
    folder = PurePosixPath(member.name).parent.name or PurePosixPath(member.location).parent.name
    return folder or PurePosixPath(member.name).stem


def read_items(member: Member) -> Iterator[ImportItem]:
    """Yields all messages of the chat; they are in order."""
    return catch_damage(_read_messages(member, chat_name(member)), member)


def _read_messages(member: Member, chat: str) -> Iterator[ImportItem]:
    for entry in iter_objects(member):
        yield _to_item(member.location, chat, entry[1]) if isinstance(entry, tuple) else entry


def _to_item(location: str, chat: str, line: dict[str, Any]) -> ImportItem:
    text = as_text(line.get("body")).replace(MENTION_MARK, f"@{UNKNOWN_NAME.lower()}")
    if reason := _skip_reason(line, text):
        return SkippedItem(location, reason)
    who = as_text(line.get("sender"))
    return Record(
        source=location,
        thread=chat,
        text=text,
        who="" if who == _NO_SENDER else who,
        when=_timestamp(line.get("date")),
        kind="message",
        mine=who == _OWN_NAME,
    )


def _skip_reason(line: dict[str, Any], text: str) -> str:
    """Returns why a line is no text that a person wrote, or ""."""
    if line.get("deleted"):
        return "a deleted message"
    if line.get("call") or ("call" not in line and text in _CALL_TEXTS):
        return "a call"
    if text:
        return ""
    if line.get("sticker"):
        return "a sticker"
    if files := line.get("attachments"):
        return describe_attachment(_content_type(files[0] if isinstance(files, list) else None))
    return "a notice" if line.get("sender") == _NO_SENDER else "an empty message"


def _content_type(attachment: object) -> str:
    """Returns the MIME type by the suffix of the name: signal-export does not keep the type."""
    name = as_text(attachment.get("name") if isinstance(attachment, dict) else "")
    match PurePosixPath(name.lower()).suffix:
        case ".jpg" | ".jpeg" | ".png" | ".gif" | ".webp" | ".heic" | ".tif" | ".tiff":
            return "image/"
        case ".mp4" | ".mov" | ".mkv" | ".mpeg" | ".webm":
            return "video/"
        case ".aac" | ".m4a" | ".mp3" | ".ogg" | ".opus" | ".wav" | ".flac":
            return "audio/"
    return ""


def _timestamp(date: object) -> float | None:
    """Parses a date without zone as local time: signal-export writes the time of its computer."""
    try:
        return datetime.fromisoformat(as_text(date)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
