"""Imports Slack exports: a folder for each channel with a file for each day, and lists of people and channels.

Replies form a thread with their first message, named by the channel and its time; other messages are in the channel's
thread. The export does not say who made it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from tools.corpus import json_stream
from tools.corpus.archive import Member, MemberError, parent_folder
from tools.corpus.fields import as_text, as_timestamp, describe_attachment, get_nested
from tools.corpus.importers.slack_people import LIST_FILES, SlackDirectory
from tools.corpus.importers.slack_text import to_plain_text
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem
from tools.corpus.threads import catch_damage, sort_by_thread

_DAY_FILE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.json")
_DAYS_CHECKED = 3  # files of a folder that are examined
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
_UPLOAD_NOTICE = re.compile(r"<@[^>]+> (?:uploaded|shared|commented on) ")  # written by Slack until 2018


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns all files in the folders of days that are Slack's, and the lists beside these folders."""
    days: dict[str, list[Member]] = {}
    for member in members:
        if _DAY_FILE.fullmatch(_file_name(member)):
            days.setdefault(parent_folder(member.name), []).append(member)
    tops = {parent_folder(member.name) for member in members if _file_name(member) in LIST_FILES}
    channel_folders = {folder for folder, files in days.items() if _outer_folder(folder) in tops or _is_slack(files)}
    tops = {_outer_folder(folder) for folder in channel_folders if folder}
    return [member for member in members if _is_part_of_export(member, channel_folders, tops)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields all messages, channel by channel; the threads of a channel follow it."""
    directories: dict[str, SlackDirectory] = {}
    channels: dict[str, list[Member]] = {}
    for member in members:
        if _DAY_FILE.fullmatch(_file_name(member)):
            channels.setdefault(parent_folder(member.name), []).append(member)
        elif _file_name(member) in LIST_FILES:
            directory = directories.setdefault(parent_folder(member.name), SlackDirectory())
            yield from catch_damage(directory.read_list(member, _file_name(member)), member)
        else:
            yield SkippedItem(member.location, "an attached file")
    workspaces: dict[str, list[Member]] = {}
    for folder, days in channels.items():
        workspaces.setdefault(_outer_folder(folder), []).extend(days)
    for top, days in workspaces.items():
        directories.setdefault(top, SlackDirectory()).learn_unlisted_people(sorted(days, key=_file_name))
    for folder, days in sorted(channels.items()):
        directory = directories[_outer_folder(folder)]
        # If the user named the channel itself, its folder is only in the location.
        folder_name = PurePosixPath(folder).name or PurePosixPath(days[0].location).parent.name or "Slack"
        channel = _Channel(directory, directory.channel_name(folder_name))
        days.sort(key=_file_name)
        items = (item for day in days for item in catch_damage(channel.read_day(day), day))
        yield from _drop_repeated(sort_by_thread(items))


def _drop_repeated(items: Iterable[ImportItem]) -> Iterator[ImportItem]:
    """Skips a reply that was also sent to the channel, which some exports contain twice."""
    previous: tuple[object, ...] = ()
    for item in items:
        if isinstance(item, Record):
            current = (item.thread, item.when, item.who, item.text)
            if current == previous and item.when is not None:
                yield SkippedItem(item.source, "the same message once more")
                continue
            previous = current
        yield item


class _Channel:
    def __init__(self, directory: SlackDirectory, name: str) -> None:
        self._directory = directory
        self._name = name

    def read_day(self, member: Member) -> Iterator[ImportItem]:
        """Yields the messages of one day. Raises MemberError."""
        for entry in json_stream.iter_array(member):
            if isinstance(entry, dict):
                yield self._to_item(entry, member.location)
            else:
                yield DamagedItem(member.location, "an entry that is no message")

    def _to_item(self, message: dict[str, Any], location: str) -> ImportItem:
        if reason := self._skip_reason(message):
            return SkippedItem(location, reason)
        text = self._message_text(message)
        if not text:
            return SkippedItem(location, _describe_empty(message))
        thread = as_text(message.get("thread_ts"))
        return Record(
            source=location,
            thread=f"{self._name} {thread}" if thread else self._name,
            text=text,
            who=self._directory.sender_name(message),
            when=as_timestamp(as_text(message.get("ts")), units_per_second=1),
            kind="message",
        )

    def _skip_reason(self, message: dict[str, Any]) -> str:
        """Returns why a message is no text that a person wrote, or ""."""
        subtype = as_text(message.get("subtype"))
        if message.get("type", "message") != "message":
            return "a notice"
        if subtype in _TEXT_SUBTYPES:
            return "a bot" if self._directory.is_bot(message) else ""
        default = "a notice" if _NOTICE_SUBTYPE.fullmatch(subtype) else "a message of unknown kind"
        return _SKIP_REASONS.get(subtype, default)

    def _message_text(self, message: dict[str, Any]) -> str:
        text = as_text(message.get("text"))
        if _UPLOAD_NOTICE.match(text) and message.get("subtype") in _FILE_SUBTYPES:
            first_comment = as_text(get_nested(message, "file", "initial_comment", "comment"))
            text = as_text(get_nested(message, "comment", "comment")) or first_comment
        text = text or "".join(_iter_block_texts(message.get("blocks")))  # some apps send the text in blocks only
        return as_text(to_plain_text(text, self._directory.people, self._directory.channels))


def _iter_block_texts(block: object) -> Iterator[str]:
    """Yields the texts of rich text in Slack's markup, with a line end after each section."""
    if isinstance(block, list):
        for element in block:
            yield from _iter_block_texts(element)
        return
    match get_nested(block, "type"):
        case "rich_text" | "rich_text_list":
            yield from _iter_block_texts(get_nested(block, "elements"))
        case "rich_text_section" | "rich_text_quote" | "rich_text_preformatted":
            yield from _iter_block_texts(get_nested(block, "elements"))
            yield "\n"
        case "text":
            text = get_nested(block, "text")
            yield text if isinstance(text, str) else ""
        case "link":
            yield as_text(get_nested(block, "text")) or as_text(get_nested(block, "url"))
        case "user" | "channel" as kind:
            yield f"<{'@' if kind == 'user' else '#'}{as_text(get_nested(block, f'{kind}_id'))}>"
        case "emoji":
            yield f":{as_text(get_nested(block, 'name'))}:"


def _describe_empty(message: dict[str, Any]) -> str:
    """Returns what a message without text is."""
    files = message.get("files") or message.get("file")
    if files:
        return describe_attachment(get_nested(files[0] if isinstance(files, list) else files, "mimetype"))
    return "an attachment" if message.get("attachments") or message.get("blocks") else "an empty message"


def _is_slack(days: Sequence[Member]) -> bool:
    """Whether the files are Slack's, judged by the first file that is not empty."""
    for day in days[:_DAYS_CHECKED]:
        try:
            head = day.read_head()
        except MemberError:
            continue
        if not _EMPTY_ARRAY.fullmatch(head):
            return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and bool(_TIMESTAMP.search(head))
    return False


def _is_part_of_export(member: Member, channel_folders: set[str], tops: set[str]) -> bool:
    folder = parent_folder(member.name)
    if folder in tops and _file_name(member) in LIST_FILES:
        return True
    if not folder:
        return folder in channel_folders and bool(_DAY_FILE.fullmatch(_file_name(member)))
    return any(above in channel_folders for above in _iter_parents(folder))


def _iter_parents(folder: str) -> Iterator[str]:
    """Yields the folder and all folders around it, except the top."""
    while folder:
        yield folder
        folder = _outer_folder(folder)


def _file_name(member: Member) -> str:
    return member.name[member.name.rfind("/") + 1 :]


def _outer_folder(folder: str) -> str:
    return parent_folder(folder.rstrip("/"))
