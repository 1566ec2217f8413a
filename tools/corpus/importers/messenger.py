"""Imports Facebook Messenger: "Download your information" in JSON, and the download of encrypted chats.

Instagram writes the same. In "Download your information" the files `inbox/NAME_ID/message_1.json`, `message_2.json` ...
are one thread: the newest messages are in the first file, and first in each file. In the download of encrypted chats
`NAME_7.json` is a thread, oldest first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath

from tools.corpus import json_stream
from tools.corpus.archive import Member, MemberError
from tools.corpus.fields import UniqueNames
from tools.corpus.importers.messenger_content import message_sender, message_text, message_time, repair_text
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage, sort_by_thread

_MAILBOX_FILE = re.compile(
    r"(?:^|/)((?:inbox|archived_threads|filtered_threads|message_requests|e2ee_cutover)/[^/]+)/message_\d+\.(?:json|html)$"
)
_MESSAGE_FILE = re.compile(r"(?:^|/)message_(\d+)\.json$")
_FACEBOOK = re.compile(rb'\s*\{\s*"participants"\s*:\s*\[\s*(?:\{\s*"name"|\])')
_ENCRYPTED = re.compile(
    rb'\s*\{(?=.*"messages"\s*:\s*\[)(?=.*"(?:participants|senderName)"\s*:)(?=.*"(?:threadName|senderName)"\s*:)',
    re.DOTALL,
)
_THREAD_KEYS = ("messages", "participants", "title", "threadName")
HEAD_BYTES = 1 << 16  # where these keys are searched: a group has hundreds of names


@dataclass(slots=True)
class _Thread:
    """The files of a conversation, and its title and participants."""

    members: list[Member]
    title: str = ""
    participants: set[str] = field(default_factory=set)
    oldest_first: set[str] = field(default_factory=set)  # locations of files with the oldest message first
    is_ordered: bool = True  # whether the files, one after the other, are in the order of time


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the files with messages, without settings and pictures."""
    return [member for member in members if _MAILBOX_FILE.search(member.name) or _is_messenger(member)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields the items thread by thread. All files are scanned once for titles and names first."""
    pages = [member for member in members if member.name.endswith(".html")]
    if pages:
        files = "1 file of messages is" if len(pages) == 1 else f"{len(pages):,} files of messages are"
        cure = f"{files} HTML: request a download in JSON"
        is_all = len(pages) == len(members)
        yield DamagedItem(pages[0].location, cure) if is_all else SourceWarning(pages[0].location, cure)
        yield from (SkippedItem(page.location, "a file of messages in HTML") for page in pages)
    threads = _group_threads(member for member in members if not member.name.endswith(".html"))
    for thread in threads.values():
        _scan_thread(thread)
    owner = _find_owner(threads.values())
    titles = UniqueNames()
    for key, thread in threads.items():
        titles.add(key, thread.title or PurePosixPath(key).name)
        yield from (KnownPerson(thread.members[0].location, name) for name in sorted(thread.participants))
        items = _read_thread(thread, titles.get(key), owner)
        yield from items if thread.is_ordered else sort_by_thread(items)


def _read_thread(thread: _Thread, title: str, owner: str) -> Iterator[ImportItem]:
    for member in thread.members:
        items = catch_damage(_read_messages(member, title, owner), member)
        # Only one file of a long thread is reversed in memory.
        yield from items if member.location in thread.oldest_first else reversed(list(items))


def _is_messenger(member: Member) -> bool:
    if not member.name.endswith(".json"):
        return False
    try:
        head = member.read_head(HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    except MemberError:
        return bool(_MESSAGE_FILE.search(member.name))
    return bool(_FACEBOOK.match(head) or _ENCRYPTED.match(head))


def _group_threads(members: Iterable[Member]) -> Mapping[str, _Thread]:
    """Returns the files by conversation, oldest first: the highest number is the oldest."""
    threads: dict[str, _Thread] = {}
    for member in members:
        threads.setdefault(_thread_key(member), _Thread([])).members.append(member)
    for thread in threads.values():
        thread.members.sort(key=_file_number, reverse=True)
    return threads


def _thread_key(member: Member) -> str:
    """Returns what all files of a conversation share: its folder, also across ZIPs, or its name."""
    if match := _MAILBOX_FILE.search(member.name):
        return match[1]
    path = PurePosixPath(member.location)
    return str(path.parent if _MESSAGE_FILE.search(member.name) else path.with_suffix(""))


def _file_number(member: Member) -> int:
    match = _MESSAGE_FILE.search(member.name)
    return int(match[1]) if match else 0


def _scan_thread(thread: _Thread) -> None:
    """Finds title, names, the order of the files, and those with the oldest message first. Damage is reported later."""
    spans: list[tuple[_Span, Member]] = []
    for member in thread.members:
        span = _Span()
        spans.append((span, member))
        with suppress(MemberError):
            for key, value in json_stream.iter_object(member, ["messages"]):
                if key == "messages":
                    span.add_time(message_time(value))
                elif key in ("title", "threadName"):
                    thread.title = thread.title or repair_text(value)
                elif key == "participants" and isinstance(value, list):
                    thread.participants.update(filter(None, map(_participant_name, value)))
        if span.first < span.last:
            thread.oldest_first.add(member.location)
    _order_files(thread, spans)


@dataclass(slots=True)
class _Span:
    """The times of a file's messages in its order. Without a time, `low` is above `high`."""

    first: float = math.nan
    last: float = math.nan
    low: float = math.inf
    high: float = -math.inf
    has_steps_up: bool = False
    has_steps_down: bool = False

    def add_time(self, when: float | None) -> None:
        if when is None:
            return
        self.first = when if math.isnan(self.first) else self.first
        self.has_steps_up |= when > self.last
        self.has_steps_down |= when < self.last
        self.last = when
        self.low, self.high = min(self.low, when), max(self.high, when)


def _order_files(thread: _Thread, spans: list[tuple[_Span, Member]]) -> None:
    """Orders the files by their times where these and the numbers disagree, and notes if that is not enough.

    Two downloads of successive periods have files with the same numbers, and their periods may overlap.
    """
    spans = [(span, member) for span, member in spans if span.low <= span.high]
    if len(spans) == len(thread.members):
        spans.sort(key=lambda pair: (pair[0].low, pair[0].high))
        thread.members = [member for _, member in spans]
    is_one_way = not any(span.has_steps_up and span.has_steps_down for span, _ in spans)
    thread.is_ordered = is_one_way and all(earlier.high <= later.low for (earlier, _), (later, _) in pairwise(spans))


def _participant_name(value: object) -> str:
    return repair_text(value.get("name") if isinstance(value, dict) else value)


def _find_owner(threads: Iterable[_Thread]) -> str:
    """Returns the only person who is in all threads, the owner of the download; "" if there is none."""
    common: set[str] | None = None
    for thread in threads:
        if thread.participants:
            common = thread.participants & (thread.participants if common is None else common)
    return next(iter(common)) if common is not None and len(common) == 1 else ""


def _read_messages(member: Member, thread: str, owner: str) -> Iterator[ImportItem]:
    """Yields the messages of a file in its order. Raises MemberError."""
    location = member.location
    is_thread = False
    for key, message in json_stream.iter_object(member, ["messages"]):
        is_thread = is_thread or key in _THREAD_KEYS
        if key != "messages":
            continue
        if not isinstance(message, dict):
            yield SkippedItem(location, "an entry that is no message")
            continue
        who = message_sender(message)
        text, reason = message_text(message, who)
        if text:
            yield Record(location, thread, text, who, message_time(message), "message", bool(who) and who == owner)
        else:
            yield SkippedItem(location, reason)
    if not is_thread:
        yield DamagedItem(location, "not a file of messages")
