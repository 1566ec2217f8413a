"""Signal in every shape that its messages come out in: which shape a file has, and what lies beside it.

What was sent with messages lies beside them too, and is claimed, so that nobody takes an attached text for a message
or the same messages twice. What is encrypted is told, with the way to have it decrypted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal

from tools.corpus.archive import Member
from tools.corpus.errors import MemberError
from tools.corpus.importers import signal_database, signal_desktop_tool, signal_export, signal_legacy
from tools.corpus.record import DamagedItem, ImportItem, SkippedItem

KIND = "signal"

SignalFormat = Literal["export", "lines", "database", "encrypted", "table", "xml", ""]

_EXPORT_SIDECARS = ("metadata.json",)
_CHAT_SIDECARS = ("chat.md", "index.md", "index.html")
_DATABASE_LOG_SUFFIXES = ("-wal", "-shm")
_MESSAGE_SUFFIXES = (".json", ".jsonl", ".csv", ".xml", ".sqlite", ".sqlite3", ".db", ".backup")
_ENCRYPTED = (
    "encrypted: let Signal itself export its chats (Settings, Chats, Export) and give main.jsonl, "
    "or decrypt it with signalbackup-tools or signal-export"
)


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Files of messages by their first bytes, and all that belongs to them by its place."""
    shapes = {
        member.name: _detect_format(member) for member in members if member.name.lower().endswith(_MESSAGE_SUFFIXES)
    }
    beside = _Sidecars(shapes)
    return [member for member in members if shapes.get(member.name) or beside.skip_reason(member.name)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """All messages, chat by chat, file by file."""
    shapes = {
        member.name: _detect_format(member) for member in members if member.name.lower().endswith(_MESSAGE_SUFFIXES)
    }
    beside = _Sidecars(shapes)
    names = {member.name for member in members if member.size}
    for member in members:
        if shape := shapes.get(member.name):
            yield from _read_member(member, shape, f"{member.name}-wal" in names)
        elif why := beside.skip_reason(member.name):
            yield SkippedItem(member.location, why)
        else:
            yield DamagedItem(member.location, "none of Signal's files")


def _read_member(member: Member, file_format: SignalFormat, has_wal: bool) -> Iterator[ImportItem]:
    match file_format:
        case "export":
            yield from signal_export.read_items(member)
        case "lines":
            yield from signal_desktop_tool.read_items(member)
        case "database":
            yield from signal_database.read_items(member, has_wal)
        case "table":
            yield from signal_legacy.read_table(member)
        case "xml":
            yield from signal_legacy.read_xml(member)
        case _:
            yield DamagedItem(member.location, _ENCRYPTED)


def _detect_format(member: Member) -> SignalFormat:
    name = PurePosixPath(member.name.lower())
    try:
        head = member.read_head()
    except MemberError:
        return "export" if name.name == "main.jsonl" else ""  # whoever reads it will tell
    if signal_database.is_database(head):
        return "database"
    if name.suffix == ".backup" or name.name == "db.sqlite":
        return "encrypted"
    if signal_export.is_export(head):
        return "export"
    if signal_desktop_tool.is_chat(head):
        return "lines"
    if name.suffix == ".csv":
        return "table" if signal_legacy.is_table(head) else ""
    return "xml" if signal_legacy.is_xml(head) else ""


class _Sidecars:
    """What belongs to files of messages by its place."""

    def __init__(self, formats: dict[str, SignalFormat]) -> None:
        self._exports = [_parent_folder(name) for name, shape in formats.items() if shape == "export"]
        self._chats = {_parent_folder(name) for name, shape in formats.items() if shape == "lines"}
        self._logs = {
            f"{name}{end}" for name, shape in formats.items() for end in _DATABASE_LOG_SUFFIXES if shape == "database"
        }

    def skip_reason(self, name: str) -> str:
        """Why a file is claimed, and not read; empty if it is no affair of Signal."""
        if name in self._logs:
            return "a log of a database"
        if any(name.startswith(f"{folder}files/") for folder in self._exports):
            return "an attached file"
        folder, file = _parent_folder(name), PurePosixPath(name).name
        if folder in self._exports and file in _EXPORT_SIDECARS:
            return "about the export"
        if folder in self._chats and file in _CHAT_SIDECARS:
            return "the same messages once more"
        chat = folder.partition("media/")[0]
        return "an attached file" if "media/" in folder and chat in self._chats else ""


def _parent_folder(name: str) -> str:
    """The part of a name that a file beside it begins with; empty at the top."""
    return name[: name.rfind("/") + 1]
