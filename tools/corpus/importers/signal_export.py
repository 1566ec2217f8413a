"""Reads Signal's own export (Settings, Chats, Export): `main.jsonl`, a backup frame as JSON in each line.

By Signal's Backup.proto, account, recipients and chats precede their references. Messages of all chats are mixed, in
the order of receipt. The file also contains keys; only names, texts and times are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tools.corpus.archive import Member
from tools.corpus.fields import UniqueNames, as_text, as_timestamp, describe_attachment, get_nested, join_names
from tools.corpus.importers.signal_message import UNKNOWN_NAME, fill_mentions
from tools.corpus.jsonl import iter_objects
from tools.corpus.record import ImportItem, KnownPerson, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage, sort_by_thread

_HEADER = re.compile(rb'\s*\{\s*"(?:version|backupTimeMs)"\s*:[^\n]*"(?:version|backupTimeMs)"')
_FRAME = re.compile(rb'\s*\{\s*"(?:account|recipient|chat|chatItem)"\s*:\s*\{')

_SKIP_REASONS = {
    "stickerMessage": "a sticker",
    "contactMessage": "a contact",
    "remoteDeletedMessage": "a deleted message",
    "adminDeletedMessage": "a deleted message",
    "paymentNotification": "a payment",
    "giftBadge": "a gift",
    "viewOnceMessage": "a view-once photo",
    "poll": "a poll",
}


def is_export(head: bytes) -> bool:
    """Whether a file begins like an export: with its header, or with a frame if the header was removed."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    return bool(_HEADER.match(head) or _FRAME.match(head))


def read_items(member: Member) -> Iterator[ImportItem]:
    """Yields all messages, chat by chat."""
    return sort_by_thread(catch_damage(_read_frames(member), member))


def _read_frames(member: Member) -> Iterator[ImportItem]:
    export = _ExportReader(member.location)
    for entry in iter_objects(member):
        if not isinstance(entry, tuple):
            yield entry
            continue
        frame = entry[1]
        export.add_names(frame)
        if name := _contact_name(frame):
            yield KnownPerson(member.location, name)
        if isinstance(item := frame.get("chatItem"), dict):
            yield export.to_item(item)
    if export.truncated:
        message = f"{export.truncated} long texts are truncated: Signal keeps them in separate files"
        yield SourceWarning(member.location, message)


class _ExportReader:
    """Converts messages, and knows the people and chats of the frames so far."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._own_name = "Me"
        self._names: dict[str, str] = {}
        self._names_by_account: dict[str, str] = {}
        self._own_ids: set[str] = set()
        self._news_ids: set[str] = set()
        self._chats = UniqueNames()
        self.truncated = 0

    def add_names(self, frame: dict[str, Any]) -> None:
        """Remembers the names in a frame."""
        if isinstance(account := frame.get("account"), dict):
            self._own_name = join_names(account.get("givenName"), account.get("familyName")) or self._own_name
        if isinstance(recipient := frame.get("recipient"), dict):
            self._add_recipient(str(recipient.get("id")), recipient)
        if isinstance(chat := frame.get("chat"), dict):
            self._chats.add(str(chat.get("id")), self._names.get(str(chat.get("recipientId"))) or UNKNOWN_NAME)

    def _add_recipient(self, number: str, recipient: dict[str, Any]) -> None:
        name = f"{UNKNOWN_NAME} {number}"
        if isinstance(contact := recipient.get("contact"), dict):
            name = _display_name(contact) or name
            self._names_by_account[as_text(contact.get("aci"))] = name
        elif "self" in recipient:
            self._own_ids.add(number)
            name = self._own_name
        elif "group" in recipient:
            name = as_text(get_nested(recipient, "group", "snapshot", "title", "title")) or f"Group {number}"
        elif "releaseNotes" in recipient:
            self._news_ids.add(number)
            name = "Signal"
        self._names[number] = name

    def to_item(self, item: dict[str, Any]) -> ImportItem:
        author = str(item.get("authorId"))
        mine = "outgoing" in item or author in self._own_ids
        if author in self._news_ids:
            return SkippedItem(self._location, "news from Signal itself")
        text, reason = self._message_text(item)
        if not text:
            return SkippedItem(self._location, reason)
        return Record(
            source=self._location,
            thread=self._chats.get(str(item.get("chatId")), UNKNOWN_NAME),
            text=text,
            who=self._own_name if mine else self._names.get(author, UNKNOWN_NAME),
            when=as_timestamp(item.get("dateSent")),
            kind="message",
            mine=mine,
        )

    def _message_text(self, item: dict[str, Any]) -> tuple[str, str]:
        """Returns the text of a message, or "" and the reason why there is none."""
        if isinstance(standard := item.get("standardMessage"), dict):
            self.truncated += "longText" in standard
            return self._text_with_mentions(standard), _describe_empty(standard)
        if isinstance(reply := item.get("directStoryReplyMessage"), dict):
            return self._text_with_mentions(reply.get("textReply")), "a reaction"
        if isinstance(update := item.get("updateMessage"), dict):
            return "", "a call" if "individualCall" in update or "groupCall" in update else "a notice"
        return "", next((reason for key, reason in _SKIP_REASONS.items() if key in item), "a message of unknown kind")

    def _text_with_mentions(self, message: object) -> str:
        text = get_nested(message, "text", "body")
        ranges = get_nested(message, "text", "bodyRanges")
        spans = []
        for span in ranges if isinstance(ranges, list) else ():
            if isinstance(span, dict) and (account := span.get("mentionAci")):
                name = self._names_by_account.get(as_text(account), self._own_name)
                spans.append((span.get("start", 0), span.get("length", 0), name))
        return as_text(fill_mentions(text if isinstance(text, str) else "", spans))


def _contact_name(frame: dict[str, Any]) -> str:
    """Returns the name of the contact in a frame, or ""."""
    contact = get_nested(frame, "recipient", "contact")
    return _display_name(contact) if isinstance(contact, dict) else ""


def _display_name(contact: dict[str, Any]) -> str:
    """Returns the name that Signal shows: nickname, address book, profile, or number."""
    number = as_text(str(contact.get("e164") or ""))
    return (
        join_names(get_nested(contact, "nickname", "given"), get_nested(contact, "nickname", "family"))
        or join_names(contact.get("systemGivenName"), contact.get("systemFamilyName"))
        or join_names(contact.get("profileGivenName"), contact.get("profileFamilyName"))
        or as_text(contact.get("username"))
        or (f"+{number.removeprefix('+')}" if number else "")
    )


def _describe_empty(standard: dict[str, Any]) -> str:
    """Returns what a message without text is."""
    files = standard.get("attachments")
    if not isinstance(files, list) or not files or files[0] is None:
        return "an empty message"
    if get_nested(files[0], "flag") == "VOICE_MESSAGE":
        return "a voice message"
    return describe_attachment(get_nested(files[0], "pointer", "contentType"))
