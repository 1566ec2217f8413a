"""Facebook Messenger as "Download your information" gives it in JSON, and the other download for encrypted chats.

Instagram writes the same. Of the first, `inbox/NAME_ID/message_1.json`, `message_2.json` and so on are one thread, the
newest in the first and newest first in each; of the second, `NAME_7.json` is one, oldest first. It does not know what
becomes of the messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tools.corpus import json_stream
from tools.corpus.archive import Member
from tools.corpus.errors import MemberError
from tools.corpus.fields import UniqueNames
from tools.corpus.importers.messenger_content import message_sender, message_text, message_time, repair_text
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage, sort_by_thread

KIND = "messenger"

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
HEAD_BYTES = 1 << 16  # bytes in which those keys are looked for: a group has hundreds of names


@dataclass(slots=True)
class _Thread:
    """The files of one conversation, and what they say of it."""

    members: list[Member]
    title: str = ""
    participants: set[str] = field(default_factory=set)
    oldest_first: set[str] = field(default_factory=set)  # the files that have their oldest message first


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """The messages' files; settings and pictures beside them are not."""
    return [member for member in members if _MAILBOX_FILE.search(member.name) or _is_messenger(member)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Thread by thread. All is gone over once for titles and names before anything is given."""
    pages = [member for member in members if member.name.endswith(".html")]
    if pages:
        files = "1 file of messages is" if len(pages) == 1 else f"{len(pages):,} files of messages are"
        yield SourceWarning(pages[0].location, f"{files} HTML: ask for a download in JSON")
        yield from (SkippedItem(page.location, "a file of messages in HTML") for page in pages)
    threads = _group_threads(member for member in members if not member.name.endswith(".html"))
    for thread in threads.values():
        _scan_thread(thread)
    owner = _find_owner(threads.values())
    titles = UniqueNames()
    for key, thread in threads.items():
        titles.add(key, thread.title or PurePosixPath(key).name)
        yield from (KnownPerson(thread.members[0].location, name) for name in sorted(thread.participants))
        said = _read_thread(thread, titles.get(key), owner)
        # Of two downloads, of which one goes on where the other ended, the files lie over each other.
        yield from sort_by_thread(said) if len(set(map(_file_number, thread.members))) < len(thread.members) else said


def _read_thread(thread: _Thread, title: str, owner: str) -> Iterator[ImportItem]:
    for member in thread.members:
        said = catch_damage(_read_messages(member, title, owner), member)
        # Newest first, it must be held to be turned round: a file, of the many that a long thread has.
        yield from said if member.location in thread.oldest_first else reversed(list(said))


def _is_messenger(member: Member) -> bool:
    if not member.name.endswith(".json"):
        return False
    try:
        head = member.read_head(HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    except MemberError:
        return bool(_MESSAGE_FILE.search(member.name))
    return bool(_FACEBOOK.match(head) or _ENCRYPTED.match(head))


def _group_threads(members: Iterable[Member]) -> Mapping[str, _Thread]:
    """Files by conversation, in order of time: the highest number is the oldest."""
    threads: dict[str, _Thread] = {}
    for member in members:
        threads.setdefault(_thread_key(member), _Thread([])).members.append(member)
    for thread in threads.values():
        thread.members.sort(key=_file_number, reverse=True)
    return threads


def _thread_key(member: Member) -> str:
    """What files of one conversation have in common: its folder, which may be in several ZIPs, or its own name."""
    if box := _MAILBOX_FILE.search(member.name):
        return box[1]
    place = PurePosixPath(member.location)
    return str(place.parent if _MESSAGE_FILE.search(member.name) else place.with_suffix(""))


def _file_number(member: Member) -> int:
    part = _MESSAGE_FILE.search(member.name)
    return int(part[1]) if part else 0


def _scan_thread(thread: _Thread) -> None:
    """Learn title, names, and which files are the right way round; damage is told when they are read."""
    for member in thread.members:
        first = last = None
        with suppress(MemberError), member.open() as file:
            for key, value in json_stream.iter_object(file, member, ["messages"]):
                if key == "messages":
                    when = message_time(value)
                    first, last = (when if first is None else first), (last if when is None else when)
                elif key in ("title", "threadName"):
                    thread.title = thread.title or repair_text(value)
                elif key == "participants" and isinstance(value, list):
                    thread.participants.update(filter(None, map(_participant_name, value)))
        if first is not None and last is not None and first < last:
            thread.oldest_first.add(member.location)


def _participant_name(value: object) -> str:
    return repair_text(value.get("name") if isinstance(value, dict) else value)


def _find_owner(threads: Iterable[_Thread]) -> str:
    """Who is in all threads, if that is one person: whose download it is."""
    everywhere: set[str] | None = None
    for thread in threads:
        if thread.participants:
            everywhere = thread.participants & (thread.participants if everywhere is None else everywhere)
    return next(iter(everywhere)) if everywhere is not None and len(everywhere) == 1 else ""


def _read_messages(member: Member, thread: str, owner: str) -> Iterator[ImportItem]:
    """The messages of a file, in its order. Raises MemberRefused."""
    place = member.location
    people: dict[object, str] = {}
    is_thread = False
    with member.open() as file:
        for key, message in json_stream.iter_object(file, member, ["messages"]):
            is_thread = is_thread or key in _THREAD_KEYS
            if key != "messages":
                continue
            if not isinstance(message, dict):
                yield SkippedItem(place, "what is no message")
                continue
            name = str(message_sender(message) or "")
            who = people.get(name) or people.setdefault(name, repair_text(name))
            text, why = message_text(message, who)
            if not text:
                yield SkippedItem(place, why)
                continue
            yield Record(place, thread, text, who, message_time(message), "message", bool(who) and who == owner)
    if not is_thread:
        yield DamagedItem(place, "not a file of messages")
