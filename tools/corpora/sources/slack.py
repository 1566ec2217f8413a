"""An export of Slack: a folder for each channel with a file for each day in it, and lists of people and channels.

Every message is given once: what was written under a message lies in a thread with it, named by the channel and the
moment of the first; all else in the channel itself. Whose export it is, is written nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from tools.corpora import streaming
from tools.corpora.errors import MemberRefused
from tools.corpora.fields import inside, medium, moment, words
from tools.corpora.members import Member
from tools.corpora.record import Damaged, Found, Record, Skipped
from tools.corpora.sources.slack_people import LISTS, Directory
from tools.corpora.sources.slack_text import plain
from tools.corpora.threads import by_thread, told

KIND = "slack"

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.json")
_LOOKED_AT = 3  # days of a folder that are opened to see whether they are Slack's
_EMPTY = re.compile(rb"\s*\[\s*\]\s*")
_MESSAGE = re.compile(rb'"ts"\s*:\s*"[0-9]+\.[0-9]+"')

_KEPT = frozenset({"", "thread_broadcast", "reply_broadcast", "me_message", "file_comment", "file_share"})
_ABOUT_FILES = ("file_comment", "file_share")
_WHY = {
    "bot_message": "a bot",
    "tombstone": "a deleted message",
    "message_deleted": "a deleted message",
    "message_changed": "an earlier wording",
    "huddle_thread": "a call",
    "sh_room_created": "a call",
    "reminder_add": "a notice",
}
_NOTICES = re.compile(r"(channel|group|bot|pinned|unpinned|app|ekm|file|assistant|joiner|document|list)_\w+")
_SHARED = re.compile(r"<@[^>]+> (?:uploaded|shared|commented on) ")  # Slack's own words, until 2018


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Folders of days that are Slack's, with all that is in them, and the lists beside these folders."""
    days: dict[str, list[Member]] = {}
    for member in members:
        if _DAY.fullmatch(_name(member)):
            days.setdefault(_folder(member.name), []).append(member)
    tops = {_folder(member.name) for member in members if _name(member) in LISTS}
    ours = {folder for folder, found in days.items() if _above(folder) in tops or _is_slack(found)}
    tops = {_above(folder) for folder in ours if folder}
    return [member for member in members if _belongs(member, ours, tops)]


def found(members: Sequence[Member]) -> Iterator[Found]:
    """All messages, channel by channel, and in each of them its threads behind it."""
    tops: dict[str, Directory] = {}
    channels: dict[str, list[Member]] = {}
    for member in members:
        if _DAY.fullmatch(_name(member)):
            channels.setdefault(_folder(member.name), []).append(member)
        elif _name(member) in LISTS:
            yield from told(tops.setdefault(_folder(member.name), Directory()).learn(member, _name(member)), member)
        else:
            yield Skipped(member.place, "an attached file")
    for folder, days in sorted(channels.items()):
        directory = tops.get(_above(folder)) or Directory()
        channel = _Channel(directory, directory.channel(PurePosixPath(folder).name or _around(days[0])))
        yield from _once(by_thread(one for day in sorted(days, key=_name) for one in told(channel.day(day), day)))


def _once(found: Iterable[Found]) -> Iterator[Found]:
    """An answer that was sent to the channel as well stands twice in some exports."""
    last: tuple[object, ...] = ()
    for one in found:
        if isinstance(one, Record):
            this = (one.thread, one.when, one.who, one.text)
            if this == last and one.when is not None:
                yield Skipped(one.source, "the same message once more")
                continue
            last = this
        yield one


class _Channel:
    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._name = name

    def day(self, member: Member) -> Iterator[Found]:
        """The messages of one day. Raises MemberRefused."""
        with member.open() as file:
            for one in streaming.elements(file, member):
                if isinstance(one, dict):
                    yield self._message(one, member.place)
                else:
                    yield Damaged(member.place, "something that is no message")

    def _message(self, message: dict[str, Any], place: str) -> Found:
        if why := self._why_none(message):
            return Skipped(place, why)
        text = self._text(message)
        if not text:
            return Skipped(place, _sent(message))
        stamp, thread = words(message.get("ts")), words(message.get("thread_ts"))
        return Record(
            source=place,
            thread=f"{self._name} {thread}" if thread else self._name,
            text=text,
            who=self._directory.writer(message),
            when=moment(stamp, a_second=1),
            kind="message",
        )

    def _why_none(self, message: dict[str, Any]) -> str:
        """Why a message is none that somebody wrote; empty if it is one."""
        subtype = words(message.get("subtype"))
        if message.get("type", "message") != "message":
            return "a notice"
        if subtype in _KEPT:
            return "a bot" if self._directory.is_bot(message) else ""
        return _WHY.get(subtype) or ("a notice" if _NOTICES.fullmatch(subtype) else "of a kind that is not known here")

    def _text(self, message: dict[str, Any]) -> str:
        text = words(message.get("text"))
        if _SHARED.match(text) and message.get("subtype") in _ABOUT_FILES:
            text = words(inside(message, "comment", "comment")) or words(
                inside(message, "file", "initial_comment", "comment")
            )
        return words(plain(text, self._directory.people, self._directory.channels))


def _sent(message: dict[str, Any]) -> str:
    """What a message without a text is."""
    files = message.get("files") or message.get("file")
    if files:
        return medium(inside(files[0] if isinstance(files, list) else files, "mimetype"))
    return "an attachment" if message.get("attachments") or message.get("blocks") else "an empty message"


def _is_slack(days: Sequence[Member]) -> bool:
    """Whether the days are of Slack, by the first few that say anything."""
    for day in days[:_LOOKED_AT]:
        try:
            head = day.head()
        except MemberRefused:
            continue
        if not _EMPTY.fullmatch(head):
            return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and bool(_MESSAGE.search(head))
    return False


def _belongs(member: Member, ours: set[str], tops: set[str]) -> bool:
    folder = _folder(member.name)
    if folder in tops and _name(member) in LISTS:
        return True
    if not folder:
        return folder in ours and bool(_DAY.fullmatch(_name(member)))
    return any(above in ours for above in _upwards(folder))


def _upwards(folder: str) -> Iterator[str]:
    """The folder, and all that it lies in, but for the top."""
    while folder:
        yield folder
        folder = _above(folder)


def _name(member: Member) -> str:
    return member.name[member.name.rfind("/") + 1 :]


def _folder(name: str) -> str:
    """The part of a name that a file beside it begins with; empty at the top."""
    return name[: name.rfind("/") + 1]


def _above(folder: str) -> str:
    return _folder(folder.rstrip("/"))


def _around(day: Member) -> str:
    """The folder that was handed over itself, if one was."""
    return PurePosixPath(day.place).parent.name or "Slack"
