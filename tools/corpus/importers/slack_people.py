"""The lists in an export of Slack: who is behind an id, and what a channel is called. Any of them may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.corpus import json_stream
from tools.corpus.archive import Member
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


class SlackDirectory:
    """Names by id. Until a list is read an id stands for itself."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {}
        self.channels: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._bots = {_SLACKBOT}

    def read_list(self, member: Member, name: str) -> Iterator[ImportItem]:
        """Take a list in, whose file has this name; tells what is wrong with it. Raises MemberRefused."""
        if name in _IGNORED_FILES:
            return
        with member.open() as file:
            for one in json_stream.iter_array(file, member):
                if not isinstance(one, dict) or not as_text(one.get("id")):
                    yield DamagedItem(member.location, "something without an id")
                elif name in _USER_FILES:
                    self._add_person(as_text(one["id"]), one)
                    yield from (KnownPerson(member.location, name) for name in _person_names(one))
                else:
                    self._add_channel(as_text(one["id"]), one, is_direct=name in _DIRECT_MESSAGE_FILES)

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
        """What the channel with this folder is called; a talk by those who take part."""
        if members := self._members.get(folder):
            return ", ".join(self.people.get(member, member) for member in members)
        return self.channels.get(folder, folder)

    def sender_name(self, message: dict[str, Any]) -> str:
        """Who wrote a message: by the list, by what the message itself says, or by the id alone."""
        number = as_text(message.get("user")) or as_text(get_nested(message, "comment", "user"))
        return (
            self.people.get(number)
            or _display_name(message.get("user_profile"))
            or as_text(message.get("username"))
            or number
            or "Somebody"
        )

    def is_bot(self, message: dict[str, Any]) -> bool:
        """Whether a program wrote it. What an app posts in somebody's name is somebody's."""
        number = as_text(message.get("user"))
        if number in self._bots:
            return True
        return bool(message.get("bot_id")) and (not number or (number not in self.people and "bot_profile" in message))


def _person_names(user: dict[str, Any]) -> set[str]:
    """What a person is called; the short name of the account is rather a word, as `admin`."""
    if user.get("is_bot") or user.get("id") == _SLACKBOT:
        return set()
    keys = (("real_name",), ("profile", "real_name"), ("profile", "display_name"))
    return {name for path in keys if (name := as_text(get_nested(user, *path)))}


def _display_name(profile: object) -> str:
    return next(
        (name for key in ("real_name", "display_name", "name") if (name := as_text(get_nested(profile, key)))),
        "",
    )
