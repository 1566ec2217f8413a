"""Imports Telegram Desktop's exports in JSON: `result.json` of one chat, or of the whole account.

A text is a string, or a list of strings and entities such as links. An account's export also lists contacts and the
owner. Files beside it are attachments, or the same messages once more in HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from tools.corpus import dates, json_stream
from tools.corpus.archive import Member, MemberError, parent_folder
from tools.corpus.fields import UniqueNames, as_text, as_timestamp, describe_attachment, get_nested, join_names
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem
from tools.corpus.threads import catch_damage, sort_by_thread

HEAD_BYTES = 1 << 16  # in which the keys are searched
DELETED_NAME = "Deleted account"
_CHAT_TYPE = (
    rb'"type"\s*:\s*"(?:personal_chat|bot_chat|saved_messages|replies|verification_codes|'
    rb'(?:private|public)_(?:group|supergroup|channel))"'
)
_CHAT = re.compile(rb"\s*\{(?=.*" + _CHAT_TYPE + rb')(?=.*"messages"\s*:\s*\[)', re.DOTALL)
_ACCOUNT = re.compile(
    rb'\s*\{(?=.*"about"\s*:\s*"[^"]{0,200}Telegram)(?=.*"(?:personal_information|contacts|chats)"\s*:)'
    rb'|\s*\{\s*"(?:personal_information|user_id)"\s*:\s*\{\s*"user_id"',
    re.DOTALL,
)
_FOLDERS = re.compile(
    r"(?:files|photos|video_files|voice_messages|round_video_messages|stickers|contacts|chats|profile_pictures|stories|"
    r"css|js|images|lists|other_data)/"
)
_PAGE = re.compile(r"(?:messages\d*|export_results)\.html")
_CHAT_LISTS = ("chats", "left_chats")
_SKIP_REASONS = {
    "photo": "a photo",
    "sticker": "a sticker",
    "voice_message": "a voice message",
    "video_message": "a video",
    "video_file": "a video",
    "audio_file": "a sound",
    "animation": "a GIF",
    "poll": "a poll",
    "contact_information": "a contact",
    "location_information": "a location",
    "game_title": "a game",
    "invoice_information": "a payment",
    "giveaway_information": "a notice",
    "todo_list": "a list",
}


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the exports, and all files in their folders that belong to them."""
    exports = [member for member in members if member.name.lower().endswith(".json") and is_export(member)]
    export_ids = set(map(id, exports))
    tops = {parent_folder(export.name) for export in exports}
    return [member for member in members if id(member) in export_ids or _is_part(member.name, tops)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields all messages, chat by chat."""
    for member in members:
        if member.name.lower().endswith(".json"):
            yield from sort_by_thread(catch_damage(_read_export(member), member))
        else:
            is_page = _PAGE.fullmatch(PurePosixPath(member.name).name)
            yield SkippedItem(member.location, "the same messages once more" if is_page else "an attached file")


def is_export(member: Member) -> bool:
    """Whether a file begins like an export of a chat or an account."""
    try:
        head = member.read_head(HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    except MemberError:
        return False
    return bool(_CHAT.match(head) or _ACCOUNT.match(head))


def _is_part(name: str, tops: set[str]) -> bool:
    """Whether a file lies beside an export, in a place where Telegram puts attachments and pages."""
    for top in tops:
        if name.startswith(top):
            rest = name[len(top) :]
            if _FOLDERS.match(rest) or _PAGE.fullmatch(rest):
                return True
    return False


def _is_container(path: json_stream.JsonPath) -> bool:
    """Whether a value is too large for memory: the lists of chats, each chat, and its list of messages."""
    if path == () or (path[0] == "messages" and len(path) == 1):
        return True
    if path[0] not in _CHAT_LISTS:
        return False
    return len(path) == 1 or (path[1] == "list" and (len(path) < 4 or (len(path) == 4 and path[3] == "messages")))


def _read_export(member: Member) -> Iterator[ImportItem]:
    export = _ExportReader(member.location)
    for path, value in json_stream.iter_paths(member, _is_container):
        yield from export.add_part(path, value)
    if not export.has_messages:
        yield DamagedItem(member.location, "not an export of Telegram with messages")


class _ExportReader:
    """The owner, the names, and the chat that is being read."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._owner = ""
        self._chat: json_stream.JsonPath | None = None
        self._fields: dict[str, Any] = {}
        self._titles = UniqueNames()
        self._deleted = UniqueNames()
        self._people: set[str] = set()
        self.has_messages = False

    def add_part(self, path: json_stream.JsonPath, value: Any) -> Iterator[ImportItem]:
        """Takes a part of the export in its order, and yields what it gives."""
        if path[:1] == ("personal_information",):
            self._owner = _plain_id(get_nested(value, "user_id"))
            yield from self._add_person(join_names(get_nested(value, "first_name"), get_nested(value, "last_name")))
        elif path[:1] in (("contacts",), ("frequent_contacts",)):
            contacts = get_nested(value, "list")
            for contact in contacts if isinstance(contacts, list) else ():
                name = join_names(get_nested(contact, "first_name"), get_nested(contact, "last_name"))
                yield from self._add_person(name or as_text(get_nested(contact, "name")))
        elif path:
            chat = path[:3] if path[0] in _CHAT_LISTS else ()
            if chat != self._chat:
                self._chat, self._fields = chat, {}
            rest = path[len(chat) :]
            if rest[:1] == ("messages",):
                self.has_messages = True
                if len(rest) == 2:
                    yield from self._message_items(value)
            elif len(rest) == 1 and isinstance(rest[0], str):
                self._fields[rest[0]] = value

    def _add_person(self, name: str) -> Iterator[ImportItem]:
        if name and name not in self._people:
            self._people.add(name)
            yield KnownPerson(self._location, name)

    def _message_items(self, message: object) -> Iterator[ImportItem]:
        if not isinstance(message, dict):
            yield SkippedItem(self._location, "an entry that is no message")
            return
        for key in ("from", "forwarded_from", "actor"):
            yield from self._add_person(as_text(message.get(key)))
        if "personal" in as_text(self._fields.get("type")):
            yield from self._add_person(as_text(self._fields.get("name")))
        text = _plain_text(message.get("text"))
        if reason := self._skip_reason(message, text):
            yield SkippedItem(self._location, reason)
            return
        number = _plain_id(message.get("from_id"))
        yield Record(
            source=self._location,
            thread=self._chat_title(),
            text=text,
            who=self._sender_name(message, number),
            when=_message_time(message),
            kind="message",
            mine=bool(number) and number == self._owner,
        )

    def _chat_title(self) -> str:
        kind = as_text(self._fields.get("type"))
        default = "Saved messages" if kind == "saved_messages" else DELETED_NAME if kind == "personal_chat" else "Chat"
        number = str(self._fields.get("id") or self._chat)
        self._titles.add(number, as_text(self._fields.get("name")) or default)
        return self._titles.get(number)

    def _sender_name(self, message: dict[str, Any], number: str) -> str:
        """Returns the name; an account that was deleted has none, and different ones stay different."""
        if name := as_text(message.get("from")):
            return name
        self._deleted.add(number, DELETED_NAME)
        return self._deleted.get(number)

    def _skip_reason(self, message: dict[str, Any], text: str) -> str:
        """Returns why a message is no text that its sender wrote, or ""."""
        if message.get("type") == "service" or "action" in message:
            return "a call" if "call" in as_text(message.get("action")) else "a notice"
        if "forwarded_from" in message:
            return "a forwarded message"
        if message.get("via_bot") or self._is_from_bot(message):
            return "a bot"
        return "" if text else _describe_empty(message)

    def _is_from_bot(self, message: dict[str, Any]) -> bool:
        """Whether the bot of a chat with a bot wrote the message: the chat has the number of the bot."""
        number = _plain_id(message.get("from_id"))
        return self._fields.get("type") == "bot_chat" and number == _plain_id(self._fields.get("id"))


def _plain_text(text: object) -> str:
    """Joins the strings and the texts of entities. A link with a label gives the label."""
    parts = text if isinstance(text, list) else [text]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return as_text("".join(part for part in texts if isinstance(part, str)))


def _describe_empty(message: dict[str, Any]) -> str:
    """Returns what a message without text is."""
    kind = as_text(message.get("media_type"))
    if kind in _SKIP_REASONS:
        return _SKIP_REASONS[kind]
    for key, reason in _SKIP_REASONS.items():
        if message.get(key):
            return reason
    return describe_attachment(message.get("mime_type")) if "file" in message else "an empty message"


def _message_time(message: dict[str, Any]) -> float | None:
    """Returns the time; old exports have only the local time of the computer, which is taken for UTC."""
    when = as_timestamp(message.get("date_unixtime"), units_per_second=1)
    return when if when is not None else dates.parse_timestamp(as_text(message.get("date")))


def _plain_id(value: object) -> str:
    """Returns the digits of `user123`, `channel123` or 123."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return re.sub(r"\A(?:user|channel|chat)", "", text)
