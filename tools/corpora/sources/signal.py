"""Signal in every shape that its messages come out in: which shape a file has, and what lies beside it.

What was sent with messages lies beside them too, and is claimed, so that nobody takes an attached text for a message
or the same messages twice. What is encrypted is told, with the way to have it decrypted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal

from tools.corpora.errors import MemberRefused
from tools.corpora.members import Member
from tools.corpora.record import Damaged, Found, Skipped
from tools.corpora.sources import signal_database, signal_export, signal_lines, signal_old

KIND = "signal"

Shape = Literal["export", "lines", "database", "encrypted", "table", "xml", ""]

_EXPORT_BESIDE = ("metadata.json",)
_LINES_BESIDE = ("chat.md", "index.md", "index.html")
_MERGED = ("-wal", "-shm")
_ENDS = (".json", ".jsonl", ".csv", ".xml", ".sqlite", ".sqlite3", ".db", ".backup")
_CURE = (
    "encrypted: let Signal itself export its chats (Settings, Chats, Export) and give main.jsonl, "
    "or decrypt it with signalbackup-tools or signal-export"
)


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Files of messages by their first bytes, and all that belongs to them by its place."""
    shapes = {member.name: _shape(member) for member in members if member.name.lower().endswith(_ENDS)}
    beside = _Beside(shapes)
    return [member for member in members if shapes.get(member.name) or beside.why(member.name)]


def found(members: Sequence[Member]) -> Iterator[Found]:
    """All messages, chat by chat, file by file."""
    shapes = {member.name: _shape(member) for member in members if member.name.lower().endswith(_ENDS)}
    beside = _Beside(shapes)
    names = {member.name for member in members if member.size}
    for member in members:
        if shape := shapes.get(member.name):
            yield from _read(member, shape, f"{member.name}-wal" in names)
        elif why := beside.why(member.name):
            yield Skipped(member.place, why)
        else:
            yield Damaged(member.place, "none of Signal's files")


def _read(member: Member, shape: Shape, unmerged: bool) -> Iterator[Found]:
    match shape:
        case "export":
            yield from signal_export.found(member)
        case "lines":
            yield from signal_lines.found(member)
        case "database":
            yield from signal_database.found(member, unmerged)
        case "table":
            yield from signal_old.in_table(member)
        case "xml":
            yield from signal_old.in_xml(member)
        case _:
            yield Damaged(member.place, _CURE)


def _shape(member: Member) -> Shape:
    name = PurePosixPath(member.name.lower())
    try:
        head = member.head()
    except MemberRefused:
        return "export" if name.name == "main.jsonl" else ""  # whoever reads it will tell
    if signal_database.is_database(head):
        return "database"
    if name.suffix == ".backup" or name.name == "db.sqlite":
        return "encrypted"
    if signal_export.is_export(head):
        return "export"
    if signal_lines.is_lines(head):
        return "lines"
    if name.suffix == ".csv":
        return "table" if signal_old.is_table(head) else ""
    return "xml" if signal_old.is_xml(head) else ""


class _Beside:
    """What belongs to files of messages by its place."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self._exports = [_folder(name) for name, shape in shapes.items() if shape == "export"]
        self._chats = {_folder(name) for name, shape in shapes.items() if shape == "lines"}
        self._logs = {f"{name}{end}" for name, shape in shapes.items() for end in _MERGED if shape == "database"}

    def why(self, name: str) -> str:
        """Why a file is claimed, and not read; empty if it is no affair of Signal."""
        if name in self._logs:
            return "a log of a database"
        if any(name.startswith(f"{folder}files/") for folder in self._exports):
            return "an attached file"
        folder, file = _folder(name), PurePosixPath(name).name
        if folder in self._exports and file in _EXPORT_BESIDE:
            return "about the export"
        if folder in self._chats and file in _LINES_BESIDE:
            return "the same messages once more"
        chat = folder.partition("media/")[0]
        return "an attached file" if "media/" in folder and chat in self._chats else ""


def _folder(name: str) -> str:
    """The part of a name that a file beside it begins with; empty at the top."""
    return name[: name.rfind("/") + 1]
