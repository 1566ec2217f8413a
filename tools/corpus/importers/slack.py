"""An export of Slack: a folder for each channel with a file for each day in it, and lists of people and channels.

Every message is given once: what was written under a message lies in a thread with it, named by the channel and the
moment of the first; all else in the channel itself. Whose export it is, is written nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from tools.corpus import json_stream
from tools.corpus.archive import Member
from tools.corpus.errors import MemberError
from tools.corpus.fields import as_text, as_timestamp, describe_attachment, get_nested
from tools.corpus.importers.slack_people import LIST_FILES, SlackDirectory
from tools.corpus.importers.slack_text import to_plain_text
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem
from tools.corpus.threads import catch_damage, sort_by_thread

KIND = "slack"

_DAY_FILE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.json")
_DAYS_CHECKED = 3  # days of a folder that are opened to see whether they are Slack's
_EMPTY_ARRAY = re.compile(rb"\s*\[\s*\]\s*")
_TIMESTAMP = re.compile(rb'"ts"\s*:\s*"[0-9]+\.[0-9]+"')

_TEXT_SUBTYPES = frozenset({"", "thread_broadcast", "reply_broadcast", "me_message", "file_comment", "file_share"})
_FILE_SUBTYPES = ("file_comment", "file_share")
_SKIP_REASONS = {
    "bot_message": "a bot",
    "tombstone": "a deleted message",
    "message_deleted": "a deleted message",
    "message_changed": "an earlier wording",
    "huddle_thread": "a call",
    "sh_room_created": "a call",
    "reminder_add": "a notice",
}
_NOTICE_SUBTYPE = re.compile(r"(channel|group|bot|pinned|unpinned|app|ekm|file|assistant|joiner|document|list)_\w+")
_UPLOAD_NOTICE = re.compile(r"<@[^>]+> (?:uploaded|shared|commented on) ")  # Slack's own words, until 2018


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Folders of days that are Slack's, with all that is in them, and the lists beside these folders."""
    days: dict[str, list[Member]] = {}
    for member in members:
        if _DAY_FILE.fullmatch(_file_name(member)):
            days.setdefault(_parent_folder(member.name), []).append(member)
    tops = {_parent_folder(member.name) for member in members if _file_name(member) in LIST_FILES}
    ours = {folder for folder, found in days.items() if _grandparent_folder(folder) in tops or _is_slack(found)}
    tops = {_grandparent_folder(folder) for folder in ours if folder}
    return [member for member in members if _is_part_of_export(member, ours, tops)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """All messages, channel by channel, and in each of them its threads behind it."""
    tops: dict[str, SlackDirectory] = {}
    channels: dict[str, list[Member]] = {}
    for member in members:
        if _DAY_FILE.fullmatch(_file_name(member)):
            channels.setdefault(_parent_folder(member.name), []).append(member)
        elif _file_name(member) in LIST_FILES:
            yield from catch_damage(
                tops.setdefault(_parent_folder(member.name), SlackDirectory()).read_list(member, _file_name(member)),
                member,
            )
        else:
            yield SkippedItem(member.location, "an attached file")
    for folder, days in sorted(channels.items()):
        directory = tops.get(_grandparent_folder(folder)) or SlackDirectory()
        channel = _Channel(directory, directory.channel_name(PurePosixPath(folder).name or _outer_folder(days[0])))
        yield from _drop_repeated(
            sort_by_thread(
                one for day in sorted(days, key=_file_name) for one in catch_damage(channel.read_day(day), day)
            )
        )


def _drop_repeated(items: Iterable[ImportItem]) -> Iterator[ImportItem]:
    """An answer that was sent to the channel as well stands twice in some exports."""
    last: tuple[object, ...] = ()
    for one in items:
        if isinstance(one, Record):
            this = (one.thread, one.when, one.who, one.text)
            if this == last and one.when is not None:
                yield SkippedItem(one.source, "the same message once more")
                continue
            last = this
        yield one


class _Channel:
    def __init__(self, directory: SlackDirectory, name: str) -> None:
        self._directory = directory
        self._name = name

    def read_day(self, member: Member) -> Iterator[ImportItem]:
        """The messages of one day. Raises MemberRefused."""
        with member.open() as file:
            for one in json_stream.iter_array(file, member):
                if isinstance(one, dict):
                    yield self._to_item(one, member.location)
                else:
                    yield DamagedItem(member.location, "something that is no message")

    def _to_item(self, message: dict[str, Any], location: str) -> ImportItem:
        if why := self._skip_reason(message):
            return SkippedItem(location, why)
        text = self._message_text(message)
        if not text:
            return SkippedItem(location, _describe_empty(message))
        stamp, thread = as_text(message.get("ts")), as_text(message.get("thread_ts"))
        return Record(
            source=location,
            thread=f"{self._name} {thread}" if thread else self._name,
            text=text,
            who=self._directory.sender_name(message),
            when=as_timestamp(stamp, units_per_second=1),
            kind="message",
        )

    def _skip_reason(self, message: dict[str, Any]) -> str:
        """Why a message is none that somebody wrote; empty if it is one."""
        subtype = as_text(message.get("subtype"))
        if message.get("type", "message") != "message":
            return "a notice"
        if subtype in _TEXT_SUBTYPES:
            return "a bot" if self._directory.is_bot(message) else ""
        return _SKIP_REASONS.get(subtype) or (
            "a notice" if _NOTICE_SUBTYPE.fullmatch(subtype) else "of a kind that is not known here"
        )

    def _message_text(self, message: dict[str, Any]) -> str:
        text = as_text(message.get("text"))
        if _UPLOAD_NOTICE.match(text) and message.get("subtype") in _FILE_SUBTYPES:
            text = as_text(get_nested(message, "comment", "comment")) or as_text(
                get_nested(message, "file", "initial_comment", "comment")
            )
        return as_text(to_plain_text(text, self._directory.people, self._directory.channels))


def _describe_empty(message: dict[str, Any]) -> str:
    """What a message without a text is."""
    files = message.get("files") or message.get("file")
    if files:
        return describe_attachment(get_nested(files[0] if isinstance(files, list) else files, "mimetype"))
    return "an attachment" if message.get("attachments") or message.get("blocks") else "an empty message"


def _is_slack(days: Sequence[Member]) -> bool:
    """Whether the days are of Slack, by the first few that say anything."""
    for day in days[:_DAYS_CHECKED]:
        try:
            head = day.read_head()
        except MemberError:
            continue
        if not _EMPTY_ARRAY.fullmatch(head):
            return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and bool(_TIMESTAMP.search(head))
    return False


def _is_part_of_export(member: Member, channel_folders: set[str], tops: set[str]) -> bool:
    folder = _parent_folder(member.name)
    if folder in tops and _file_name(member) in LIST_FILES:
        return True
    if not folder:
        return folder in channel_folders and bool(_DAY_FILE.fullmatch(_file_name(member)))
    return any(above in channel_folders for above in _iter_parents(folder))


def _iter_parents(folder: str) -> Iterator[str]:
    """The folder, and all that it lies in, but for the top."""
    while folder:
        yield folder
        folder = _grandparent_folder(folder)


def _file_name(member: Member) -> str:
    return member.name[member.name.rfind("/") + 1 :]


def _parent_folder(name: str) -> str:
    """The part of a name that a file beside it begins with; empty at the top."""
    return name[: name.rfind("/") + 1]


def _grandparent_folder(folder: str) -> str:
    return _parent_folder(folder.rstrip("/"))


def _outer_folder(day: Member) -> str:
    """The folder that was handed over itself, if one was."""
    return PurePosixPath(day.location).parent.name or "Slack"
