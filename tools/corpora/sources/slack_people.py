"""The lists in an export of Slack: who is behind an id, and what a channel is called. Any of them may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.corpora import streaming
from tools.corpora.fields import inside, words
from tools.corpora.members import Member
from tools.corpora.record import Damaged, Found, Named

_USERS = ("users.json", "org_users.json")
_CHANNELS = ("channels.json", "groups.json")
_TALKS = ("dms.json", "mpims.json")
_OTHERS = (
    "integration_logs.json",
    "canvases.json",
    "lists.json",
    "file_conversations.json",
    "huddle_transcripts.json",
    "external_users.json",
)
LISTS = frozenset((*_USERS, *_CHANNELS, *_TALKS, *_OTHERS))

_SLACKBOT = "USLACKBOT"


class Directory:
    """Names by id. Until a list is read an id stands for itself."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {}
        self.channels: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._bots = {_SLACKBOT}

    def learn(self, member: Member, name: str) -> Iterator[Found]:
        """Take a list in, whose file has this name; tells what is wrong with it. Raises MemberRefused."""
        if name in _OTHERS:
            return
        with member.open() as file:
            for one in streaming.elements(file, member):
                if not isinstance(one, dict) or not words(one.get("id")):
                    yield Damaged(member.place, "something without an id")
                elif name in _USERS:
                    self._person(words(one["id"]), one)
                    yield from (Named(member.place, name) for name in _names(one))
                else:
                    self._channel(words(one["id"]), one, talk=name in _TALKS)

    def _person(self, number: str, user: dict[str, Any]) -> None:
        self.people[number] = _called(user.get("profile")) or _called(user) or number
        if user.get("is_bot"):
            self._bots.add(number)

    def _channel(self, number: str, channel: dict[str, Any], talk: bool) -> None:
        name = words(channel.get("name"))
        if name:
            self.channels[number] = name
        if talk and isinstance(members := channel.get("members"), list):
            self._members[name or number] = self._members[number] = [words(member) for member in members]

    def channel(self, folder: str) -> str:
        """What the channel with this folder is called; a talk by those who take part."""
        if members := self._members.get(folder):
            return ", ".join(self.people.get(member, member) for member in members)
        return self.channels.get(folder, folder)

    def writer(self, message: dict[str, Any]) -> str:
        """Who wrote a message: by the list, by what the message itself says, or by the id alone."""
        number = words(message.get("user")) or words(inside(message, "comment", "user"))
        return (
            self.people.get(number)
            or _called(message.get("user_profile"))
            or words(message.get("username"))
            or number
            or "Somebody"
        )

    def is_bot(self, message: dict[str, Any]) -> bool:
        """Whether a program wrote it. What an app posts in somebody's name is somebody's."""
        number = words(message.get("user"))
        if number in self._bots:
            return True
        return bool(message.get("bot_id")) and (not number or (number not in self.people and "bot_profile" in message))


def _names(user: dict[str, Any]) -> set[str]:
    """What a person is called; the short name of the account is rather a word, as `admin`."""
    if user.get("is_bot") or user.get("id") == _SLACKBOT:
        return set()
    keys = (("real_name",), ("profile", "real_name"), ("profile", "display_name"))
    return {name for path in keys if (name := words(inside(user, *path)))}


def _called(profile: object) -> str:
    return next(
        (name for key in ("real_name", "display_name", "name") if (name := words(inside(profile, key)))),
        "",
    )
