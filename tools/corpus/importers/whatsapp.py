"""Imports chats of WhatsApp: the text that a phone exports, alone, in a folder, or in a ZIP with its media.

A chat is recognised by the stamps of its lines, not by its name, which is in the language of the phone. The file is
read twice: first for the order of the dates, the names and WhatsApp's own phrases. It does not say whose phone it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tools.corpus.archive import Member, parent_folder
from tools.corpus.fields import UniqueNames
from tools.corpus.importers.whatsapp_content import (
    MARK_CHARACTERS,
    NOTICE,
    OWN_MARK,
    WhatsAppPhrases,
    attached_file,
    is_encryption_notice,
    mentioned_names,
    message_text,
)
from tools.corpus.importers.whatsapp_dates import DateOrderFinder, Stamp, parse_stamp, to_timestamp
from tools.corpus.jsonl import decode_line, iter_lines, not_utf8_message
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

HEAD_BYTES = 1 << 16  # in which a line with a name must occur: a large group begins with many notices
MAX_NAME_CHARS = 100
MAX_COLONS = 3  # in a name
MIN_LINES = 4  # by which a name with a colon is known
MAX_CUT_LINES = 30  # before the first stamp, if its user cut the file
MIN_STAMP_SHARE = 0.3  # of the lines of such a file
SAME_MINUTE_S = 59

_TEXT_SUFFIXES = frozenset({"", ".txt", ".text", ".log", ".md"})
_QUOTES = frozenset('"“”„«»')
_NAME_EDGE = MARK_CHARACTERS + "~ \u00a0\u202f\t"  # `~ Name` is the name that a stranger gives himself


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the chats, and the documents in their folders that they attach."""
    chats = [member for member in members if _may_be_chat(member) and is_chat(member)]
    folders = {parent_folder(chat.name) for chat in chats}
    chat_ids = set(map(id, chats))
    others = [m for m in members if id(m) not in chat_ids and parent_folder(m.name) in folders]
    attached = {name for chat in chats for name in _attached_names(chat)} if others else set()
    return [*chats, *(other for other in others if PurePosixPath(other.name).name in attached)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields the messages chat by chat, in the order of the file."""
    titles = UniqueNames()
    attached: set[str] = set()
    for member in members:
        name = PurePosixPath(member.name).name
        if name in attached and not is_chat(member):
            yield SkippedItem(member.location, "an attached file")
            continue
        attached.update(_attached_names(member))
        titles.add(member.location, chat_title(member))
        yield from catch_damage(_read_chat(member, titles.get(member.location)), member)


def is_chat(member: Member) -> bool:
    """Whether a file begins with a stamp of WhatsApp, and has lines with names; its start may have been cut off."""
    start = [line for line in decode_line(member.peek_head())[0].split("\n") if line.strip()][:MAX_CUT_LINES]
    number, first = next(((n, stamp) for n, line in enumerate(start) if (stamp := parse_stamp(line))), (0, None))
    if first is None or not _is_export_style(first):
        return False
    lines = [line for line in decode_line(member.peek_head(HEAD_BYTES))[0].split("\n") if line.strip()]
    stamps = [(line, stamp) for line in lines if (stamp := parse_stamp(line)) and stamp.style == first.style]
    named = sum(": " in line[stamp.end :] for line, stamp in stamps)
    if number == 0 and not named:  # a chat without a message
        return len(stamps) == len(lines) and any(is_encryption_notice(line) for line in lines)
    return named > 0 if number == 0 else named >= MIN_LINES and len(stamps) >= MIN_STAMP_SHARE * len(lines)


def _is_export_style(stamp: Stamp) -> bool:
    """An iPhone writes seconds; other programs that write brackets often do not, or name a zone."""
    return (stamp.has_seconds or stamp.style[0] != 0) and stamp.half not in ("UTC", "Z", "GMT")


def chat_title(member: Member) -> str:
    """Returns the name of the file without its ending, or that of the ZIP or folder around `_chat.txt`."""
    path = PurePosixPath(member.name)
    if path.stem != "_chat":
        return path.stem
    outer = member.location.removesuffix(member.name).rstrip(":/ ")
    return path.parent.name or PurePosixPath(outer).name.removesuffix(".zip") or path.stem


def _may_be_chat(member: Member) -> bool:
    name = member.name.lower()
    return PurePosixPath(name).suffix in _TEXT_SUFFIXES or "whatsapp" in PurePosixPath(name).name


def _attached_names(member: Member) -> set[str]:
    names = (attached_file(rest.partition(": ")[2]) for _, rest in _iter_messages(member, _Damage()))
    return {name for name in names if name}


@dataclass(slots=True)
class _Damage:
    """The number of lines that are not UTF-8, that are too long, and that precede the first stamp."""

    not_utf8: int = 0
    before: int = 0
    too_long: int = 0


def _iter_messages(member: Member, damage: _Damage) -> Iterator[tuple[Stamp, str]]:
    """Yields (stamp, what follows it with all further lines). Raises MemberError."""
    stamp: Stamp | None = None
    lines: list[str] = []
    for _, raw in iter_lines(member, keep_blank=True):
        damage.too_long += raw is None
        line, is_utf8 = decode_line(raw or b"")
        damage.not_utf8 += not is_utf8
        found = parse_stamp(line)
        if found is None or (stamp is not None and found.style != stamp.style):
            lines.append(line)
            continue
        if stamp is not None:
            yield stamp, "\n".join(lines)
        else:
            damage.before = sum(bool(line.strip()) for line in lines)
        stamp, lines = found, [line[found.end :]]
    if stamp is not None:
        yield stamp, "\n".join(lines)


@dataclass(slots=True)
class _ChatNames:
    """The writers of a chat. A name may contain `: `, and a notice of Android may too."""

    _counts: Counter[tuple[str, ...]] = field(default_factory=Counter)  # lines by their first parts
    _bare: Counter[tuple[str, ...]] = field(default_factory=Counter)  # lines without a further part
    _children: Counter[tuple[str, ...]] = field(default_factory=Counter)  # different next parts

    def add_line(self, first_line: str) -> None:
        if first_line.startswith(OWN_MARK):
            return
        *parts, _ = first_line.split(": ")
        for length in range(1, min(len(parts), MAX_COLONS) + 1):
            key = tuple(parts[:length])
            self._counts[key] += 1
            self._bare[key] += len(parts) == length
            if self._counts[key] == 1:
                self._children[key[:-1]] += 1

    def split(self, message: str) -> tuple[str, str]:
        """Returns (name, text); ("", message) for a notice."""
        first_line = message.partition("\n")[0]
        *parts, _ = first_line.split(": ")
        if not parts:
            name = first_line.removesuffix(":")
            if name != first_line and (name,) in self._counts:
                return _clean_name(name), message[len(first_line) :]
            return "", message
        length = 1
        while length < min(len(parts), MAX_COLONS) and self._continues(tuple(parts[:length])):
            length += 1
        name = ": ".join(parts[:length])
        if self._is_notice(name, first_line):
            return "", message
        return _clean_name(name), message[len(name) + 2 :]

    def _continues(self, key: tuple[str, ...]) -> bool:
        """Whether the name goes on after a colon: each of its lines has a next part, and these parts recur."""
        count = self._counts[key]
        return count >= MIN_LINES and not self._bare[key] and 2 * self._children[key] <= count

    def _is_notice(self, name: str, line: str) -> bool:
        """Whether the part before the colon is a sentence of WhatsApp, such as: Odo changed the subject to "a: b"."""
        count = self._counts[(name,)]
        if line.startswith(OWN_MARK):
            return not count and (name.strip(_NAME_EDGE),) not in self._counts and OWN_MARK not in line[1:]
        if len(name) > MAX_NAME_CHARS or (count < MIN_LINES and not _QUOTES.isdisjoint(name)):
            return True
        words = name.split(" ")
        longer = (" ".join(words[:length]) for length in range(1, len(words)))
        return any(self._counts[(other,)] > count for other in longer)


def _clean_name(name: str) -> str:
    return "".join(char for char in name if char not in MARK_CHARACTERS).strip(_NAME_EDGE) or name


def _read_chat(member: Member, thread: str) -> Iterator[ImportItem]:
    finder, names, phrases, damage = DateOrderFinder(), _ChatNames(), WhatsAppPhrases(), _Damage()
    for stamp, message in _iter_messages(member, damage):
        finder.add_stamp(stamp)
        names.add_line(message.partition("\n")[0])
    for _, message in _iter_messages(member, _Damage()):
        phrases.add_text(names.split(message)[1])
    order = finder.find_order()
    clock = _Clock()
    people: set[str] = set()
    is_empty = True
    for stamp, message in _iter_messages(member, _Damage()):
        is_empty = False
        who, text = names.split(message)
        when = clock.next_time(to_timestamp(stamp, order), stamp.has_seconds)
        text, reason = message_text(text, phrases) if who else ("", NOTICE)
        people.update(mentioned_names(message))
        yield (
            Record(member.location, thread, text, who, when, "message")
            if text
            else SkippedItem(member.location, reason)
        )
    yield from (KnownPerson(member.location, name) for name in sorted(people) if name)
    if damage.before:
        yield SkippedItem(member.location, "a message whose start is missing")
    if is_empty:
        yield DamagedItem(member.location, "not a chat of WhatsApp: no line begins with a date and a name")
    if damage.too_long:
        yield DamagedItem(member.location, f"{damage.too_long} lines are too long for a message")
    if damage.not_utf8:
        yield SourceWarning(member.location, not_utf8_message(damage.not_utf8))


@dataclass(slots=True)
class _Clock:
    """Gives the messages of one minute different seconds, since Android writes none and equal texts may follow."""

    _minute: float | None = None
    _count: int = 0

    def next_time(self, when: float | None, has_seconds: bool) -> float | None:
        if when is None or has_seconds:
            return when
        self._count = self._count + 1 if when == self._minute else 0
        self._minute = when
        return when + min(self._count, SAME_MINUTE_S)
