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

from tools.corpora import streaming
from tools.corpora.errors import MemberRefused
from tools.corpora.fields import Names
from tools.corpora.members import Member
from tools.corpora.record import Damaged, Found, Named, Record, Skipped, Warned
from tools.corpora.sources.messenger_content import cured, moment_of, sender_of, text_of
from tools.corpora.threads import by_thread, told

KIND = "messenger"

_IN_BOX = re.compile(
    r"(?:^|/)((?:inbox|archived_threads|filtered_threads|message_requests|e2ee_cutover)/[^/]+)/message_\d+\.(?:json|html)$"
)
_PART = re.compile(r"(?:^|/)message_(\d+)\.json$")
_FACEBOOK = re.compile(rb'\s*\{\s*"participants"\s*:\s*\[\s*(?:\{\s*"name"|\])')
_ENCRYPTED = re.compile(
    rb'\s*\{(?=.*"messages"\s*:\s*\[)(?=.*"(?:participants|senderName)"\s*:)(?=.*"(?:threadName|senderName)"\s*:)',
    re.DOTALL,
)
_KEYS = ("messages", "participants", "title", "threadName")
HEAD = 1 << 16  # bytes in which those keys are looked for: a group has hundreds of names


@dataclass(slots=True)
class _Thread:
    """The files of one conversation, and what they say of it."""

    members: list[Member]
    title: str = ""
    participants: set[str] = field(default_factory=set)
    upwards: set[str] = field(default_factory=set)  # the files that have their oldest message first


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """The messages' files; settings and pictures beside them are not."""
    return [member for member in members if _IN_BOX.search(member.name) or _looks_so(member)]


def found(members: Sequence[Member]) -> Iterator[Found]:
    """Thread by thread. All is gone over once for titles and names before anything is given."""
    pages = [member for member in members if member.name.endswith(".html")]
    if pages:
        files = "1 file of messages is" if len(pages) == 1 else f"{len(pages):,} files of messages are"
        yield Warned(pages[0].place, f"{files} HTML: ask for a download in JSON")
        yield from (Skipped(page.place, "a file of messages in HTML") for page in pages)
    threads = _threads(member for member in members if not member.name.endswith(".html"))
    for thread in threads.values():
        _survey(thread)
    owner = _owner(threads.values())
    titles = Names()
    for key, thread in threads.items():
        titles.give(key, thread.title or PurePosixPath(key).name)
        yield from (Named(thread.members[0].place, name) for name in sorted(thread.participants))
        said = _said(thread, titles.get(key), owner)
        # Of two downloads, of which one goes on where the other ended, the files lie over each other.
        yield from by_thread(said) if len(set(map(_number, thread.members))) < len(thread.members) else said


def _said(thread: _Thread, title: str, owner: str) -> Iterator[Found]:
    for member in thread.members:
        said = told(_records(member, title, owner), member)
        # Newest first, it must be held to be turned round: a file, of the many that a long thread has.
        yield from said if member.place in thread.upwards else reversed(list(said))


def _looks_so(member: Member) -> bool:
    if not member.name.endswith(".json"):
        return False
    try:
        head = member.head(HEAD).removeprefix(b"\xef\xbb\xbf")
    except MemberRefused:
        return bool(_PART.search(member.name))
    return bool(_FACEBOOK.match(head) or _ENCRYPTED.match(head))


def _threads(members: Iterable[Member]) -> Mapping[str, _Thread]:
    """Files by conversation, in order of time: the highest number is the oldest."""
    threads: dict[str, _Thread] = {}
    for member in members:
        threads.setdefault(_key(member), _Thread([])).members.append(member)
    for thread in threads.values():
        thread.members.sort(key=_number, reverse=True)
    return threads


def _key(member: Member) -> str:
    """What files of one conversation have in common: its folder, which may be in several ZIPs, or its own name."""
    if box := _IN_BOX.search(member.name):
        return box[1]
    place = PurePosixPath(member.place)
    return str(place.parent if _PART.search(member.name) else place.with_suffix(""))


def _number(member: Member) -> int:
    part = _PART.search(member.name)
    return int(part[1]) if part else 0


def _survey(thread: _Thread) -> None:
    """Learn title, names, and which files are the right way round; damage is told when they are read."""
    for member in thread.members:
        first = last = None
        with suppress(MemberRefused), member.open() as file:
            for key, value in streaming.members_of(file, member, ["messages"]):
                if key == "messages":
                    when = moment_of(value)
                    first, last = (when if first is None else first), (last if when is None else when)
                elif key in ("title", "threadName"):
                    thread.title = thread.title or cured(value)
                elif key == "participants" and isinstance(value, list):
                    thread.participants.update(filter(None, map(_participant, value)))
        if first is not None and last is not None and first < last:
            thread.upwards.add(member.place)


def _participant(value: object) -> str:
    return cured(value.get("name") if isinstance(value, dict) else value)


def _owner(threads: Iterable[_Thread]) -> str:
    """Who is in all threads, if that is one person: whose download it is."""
    everywhere: set[str] | None = None
    for thread in threads:
        if thread.participants:
            everywhere = thread.participants & (thread.participants if everywhere is None else everywhere)
    return next(iter(everywhere)) if everywhere is not None and len(everywhere) == 1 else ""


def _records(member: Member, thread: str, owner: str) -> Iterator[Found]:
    """The messages of a file, in its order. Raises MemberRefused."""
    place = member.place
    people: dict[object, str] = {}
    is_thread = False
    with member.open() as file:
        for key, message in streaming.members_of(file, member, ["messages"]):
            is_thread = is_thread or key in _KEYS
            if key != "messages":
                continue
            if not isinstance(message, dict):
                yield Skipped(place, "what is no message")
                continue
            name = str(sender_of(message) or "")
            who = people.get(name) or people.setdefault(name, cured(name))
            text, why = text_of(message, who)
            if not text:
                yield Skipped(place, why)
                continue
            yield Record(place, thread, text, who, moment_of(message), "message", bool(who) and who == owner)
    if not is_thread:
        yield Damaged(place, "not a file of messages")
