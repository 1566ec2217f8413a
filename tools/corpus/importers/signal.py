"""Imports Signal in all formats: detects the format of each file, and the files that belong to it.

Attachments and second copies of the messages are claimed too, so that no other importer reads them as texts. An
encrypted file is reported with the way to decrypt it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal

from tools.corpus.archive import Member, MemberError, parent_folder
from tools.corpus.importers import signal_database, signal_desktop_tool, signal_export, signal_legacy
from tools.corpus.record import DamagedItem, ImportItem, SkippedItem

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
    """Returns the files with messages, recognised by their first bytes, and the files that belong to them."""
    files = _SignalFiles(members)
    return [member for member in members if files.formats.get(member.name) or files.skip_reason(member.name)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields all messages, chat by chat, file by file."""
    files = _SignalFiles(members)
    names = {member.name for member in members if member.size}
    for member in members:
        if file_format := files.formats.get(member.name):
            yield from _read_member(member, file_format, f"{member.name}-wal" in names)
        elif reason := files.skip_reason(member.name):
            yield SkippedItem(member.location, reason)
        else:
            yield DamagedItem(member.location, "not a file from Signal")


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
        return "export" if name.name == "main.jsonl" else ""  # the reader will report it
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


class _SignalFiles:
    """The formats of the files with messages by name, and the files that belong to them by their folder."""

    def __init__(self, members: Sequence[Member]) -> None:
        candidates = (member for member in members if member.name.lower().endswith(_MESSAGE_SUFFIXES))
        self.formats = {member.name: _detect_format(member) for member in candidates}
        self._exports = {parent_folder(name) for name in self._names_of("export")}
        self._chats = {parent_folder(name) for name in self._names_of("lines")}
        self._logs = {f"{name}{suffix}" for name in self._names_of("database") for suffix in _DATABASE_LOG_SUFFIXES}

    def _names_of(self, file_format: SignalFormat) -> list[str]:
        return [name for name, detected in self.formats.items() if detected == file_format]

    def skip_reason(self, name: str) -> str:
        """Returns why a file is claimed but not read; "" if it does not belong to Signal."""
        if name in self._logs:
            return "a log of a database"
        if any(name.startswith(f"{folder}files/") for folder in self._exports):
            return "an attached file"
        folder, file = parent_folder(name), PurePosixPath(name).name
        if folder in self._exports and file in _EXPORT_SIDECARS:
            return "metadata of the export"
        if folder in self._chats and file in _CHAT_SIDECARS:
            return "the same messages once more"
        chat = folder.partition("media/")[0]
        return "an attached file" if "media/" in folder and chat in self._chats else ""
