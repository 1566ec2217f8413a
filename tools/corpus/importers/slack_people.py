"""The lists of a Slack export: names of people and channels by id. Any list may be missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from tools.corpus import json_stream
from tools.corpus.archive import Member, MemberError
from tools.corpus.fields import as_text, get_nested
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson

_USER_FILES = ("users.json", "org_users.json")
_CHANNEL_FILES = ("channels.json", "groups.json")
_DIRECT_MESSAGE_FILES = ("dms.json", "mpims.json")
_IGNORED_FILES = (
    "integration_logs.json",
    "canvases.json",
    "lists.json",
    "file_conversations.json",
    "huddle_transcripts.json",
    "external_users.json",
)
LIST_FILES = frozenset((*_USER_FILES, *_CHANNEL_FILES, *_DIRECT_MESSAGE_FILES, *_IGNORED_FILES))

_SLACKBOT = "USLACKBOT"
_USER_ID = re.compile(rb'"user"\s*:\s*"([A-Z0-9]{2,20})"')
_CHUNK_BYTES = 1 << 20
_OVERLAP_BYTES = 64  # an id may be divided between two chunks


class SlackDirectory:
    """Names by id. The id itself is used if the name is unknown."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {}
        self.channels: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._bots = {_SLACKBOT}

    def read_list(self, member: Member, file_name: str) -> Iterator[ImportItem]:
        """Reads a list; yields its people and its faults. Raises MemberError."""
        if file_name in _IGNORED_FILES:
            return
        for entry in json_stream.iter_array(member):
            if not isinstance(entry, dict) or not as_text(entry.get("id")):
                yield DamagedItem(member.location, "an entry without an id")
            elif file_name in _USER_FILES:
                self._add_person(as_text(entry["id"]), entry)
                yield from (KnownPerson(member.location, name) for name in _person_names(entry))
            else:
                self._add_channel(as_text(entry["id"]), entry, is_direct=file_name in _DIRECT_MESSAGE_FILES)

    def learn_unlisted_people(self, days: Sequence[Member]) -> None:
        """Learns the names of people who are not in the list: some of their messages have a profile, others do not.

        The last profile counts, so that a person has one name. Damage is reported later.
        """
        found: dict[str, str] = {}
        for day in days:
            with suppress(MemberError):
                if _find_user_ids(day) <= self.people.keys():
                    continue
                for message in json_stream.iter_array(day):
                    number = as_text(get_nested(message, "user"))
                    name = _display_name(get_nested(message, "user_profile"))
                    if number and name and number not in self.people:
                        found[number] = name
        self.people.update(found)

    def _add_person(self, number: str, user: dict[str, Any]) -> None:
        self.people[number] = _display_name(user.get("profile")) or _display_name(user) or number
        if user.get("is_bot"):
            self._bots.add(number)

    def _add_channel(self, number: str, channel: dict[str, Any], is_direct: bool) -> None:
        name = as_text(channel.get("name"))
        if name:
            self.channels[number] = name
        if is_direct and isinstance(members := channel.get("members"), list):
            self._members[name or number] = self._members[number] = [as_text(member) for member in members]

    def channel_name(self, folder: str) -> str:
        """Returns the name of a channel by its folder; for direct messages, the names of the members."""
        if members := self._members.get(folder):
            return ", ".join(self.people.get(member, member) for member in members)
        return self.channels.get(folder, folder)

    def sender_name(self, message: dict[str, Any]) -> str:
        """Returns the sender's name: from the list, from the message itself, or the id."""
        number = as_text(message.get("user")) or as_text(get_nested(message, "comment", "user"))
        return (
            self.people.get(number)
            or _display_name(message.get("user_profile"))
            or as_text(message.get("username"))
            or number
            or "Somebody"
        )

    def is_bot(self, message: dict[str, Any]) -> bool:
        """Whether a program wrote the message. A post by an app on behalf of a person counts as the person's."""
        number = as_text(message.get("user"))
        if number in self._bots:
            return True
        return bool(message.get("bot_id")) and (not number or (number not in self.people and "bot_profile" in message))


def _person_names(user: dict[str, Any]) -> set[str]:
    """Returns the names of a person. The short account name is left out: it may be a word, such as `admin`."""
    if user.get("is_bot") or user.get("id") == _SLACKBOT:
        return set()
    keys = (("real_name",), ("profile", "real_name"), ("profile", "display_name"))
    return {name for path in keys if (name := as_text(get_nested(user, *path)))}


def _display_name(profile: object) -> str:
    names = (as_text(get_nested(profile, key)) for key in ("real_name", "display_name", "name"))
    return next(filter(None, names), "")


def _find_user_ids(day: Member) -> set[str]:
    """Returns the ids of the writers of a day, without parsing it. Raises MemberError."""
    ids: set[bytes] = set()
    rest = b""
    with day.open() as file:
        while chunk := file.read(_CHUNK_BYTES):
            ids.update(_USER_ID.findall(rest + chunk))
            rest = chunk[-_OVERLAP_BYTES:]
    return {number.decode("ascii") for number in ids}
