"""What Signal itself exports (Settings, Chats, Export): `main.jsonl`, a frame of its backup a line, as JSON.

By Signal's Backup.proto: account, recipients and chats come before what names them, and messages in the order that
they were received in, all chats mixed. There are keys in it as well; nothing is taken but names, texts and moments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tools.corpora.fields import Names, inside, joined, medium, moment, words
from tools.corpora.lines import objects
from tools.corpora.members import Member
from tools.corpora.record import Found, Named, Record, Skipped, Warned
from tools.corpora.sources.signal_text import NOBODY, mentioned
from tools.corpora.threads import by_thread, told

_HEADER = re.compile(rb'\s*\{\s*"(?:version|backupTimeMs)"\s*:[^\n]*"(?:version|backupTimeMs)"')
_FRAME = re.compile(rb'\s*\{\s*"(?:account|recipient|chat|chatItem)"\s*:\s*\{')

_OTHERS = {
    "stickerMessage": "a sticker",
    "contactMessage": "a contact",
    "remoteDeletedMessage": "a deleted message",
    "adminDeletedMessage": "a deleted message",
    "paymentNotification": "a payment",
    "giftBadge": "a gift",
    "viewOnceMessage": "a photo that is seen once",
    "poll": "a poll",
}


def is_export(head: bytes) -> bool:
    """Whether a file begins as an export does: with its header, or a frame where somebody cut that off."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    return bool(_HEADER.match(head) or _FRAME.match(head))


def found(member: Member) -> Iterator[Found]:
    """All messages, chat by chat."""
    return by_thread(told(_frames(member), member))


def _frames(member: Member) -> Iterator[Found]:
    export = _Export(member.place)
    for one in objects(member):
        if not isinstance(one, tuple):
            yield one
            continue
        frame = one[1]
        export.learn(frame)
        if name := _name_of(frame):
            yield Named(member.place, name)
        if isinstance(item := frame.get("chatItem"), dict):
            yield export.message(item)
    if export.cut:
        yield Warned(
            member.place, f"{export.cut} long texts are cut short here: Signal keeps the whole of them in files beside"
        )


class _Export:
    """Who is who, and where, so far."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._me = "Me"
        self._people: dict[str, str] = {}
        self._by_account: dict[str, str] = {}
        self._mine: set[str] = set()
        self._news: set[str] = set()
        self._chats = Names()
        self.cut = 0

    def learn(self, frame: dict[str, Any]) -> None:
        """What a frame tells of names."""
        if isinstance(account := frame.get("account"), dict):
            self._me = joined(account.get("givenName"), account.get("familyName")) or self._me
        if isinstance(recipient := frame.get("recipient"), dict):
            self._recipient(str(recipient.get("id")), recipient)
        if isinstance(chat := frame.get("chat"), dict):
            self._chats.give(str(chat.get("id")), self._people.get(str(chat.get("recipientId"))) or NOBODY)

    def _recipient(self, number: str, recipient: dict[str, Any]) -> None:
        name = f"{NOBODY} {number}"
        if isinstance(contact := recipient.get("contact"), dict):
            name = _name(contact) or name
            self._by_account[words(contact.get("aci"))] = name
        elif "self" in recipient:
            self._mine.add(number)
            name = self._me
        elif "group" in recipient:
            name = words(inside(recipient, "group", "snapshot", "title", "title")) or f"Group {number}"
        elif "releaseNotes" in recipient:
            self._news.add(number)
            name = "Signal"
        self._people[number] = name

    def message(self, item: dict[str, Any]) -> Found:
        author = str(item.get("authorId"))
        mine = "outgoing" in item or author in self._mine
        if author in self._news:
            return Skipped(self._place, "news from Signal itself")
        text, why = self._text(item)
        if not text:
            return Skipped(self._place, why)
        return Record(
            source=self._place,
            thread=self._chats.get(str(item.get("chatId")), NOBODY),
            text=text,
            who=self._me if mine else self._people.get(author, NOBODY),
            when=moment(item.get("dateSent")),
            kind="message",
            mine=mine,
        )

    def _text(self, item: dict[str, Any]) -> tuple[str, str]:
        """The text of a message, or why it has none."""
        if isinstance(standard := item.get("standardMessage"), dict):
            self.cut += "longText" in standard
            return self._written(standard), _sent(standard)
        if isinstance(reply := item.get("directStoryReplyMessage"), dict):
            return self._written(reply.get("textReply")), "a reaction"
        if isinstance(update := item.get("updateMessage"), dict):
            return "", "a call" if "individualCall" in update or "groupCall" in update else "a notice"
        return "", next((why for key, why in _OTHERS.items() if key in item), "of a kind that is not known here")

    def _written(self, message: object) -> str:
        text = inside(message, "text", "body")
        ranges = inside(message, "text", "bodyRanges")
        spans = [
            (span.get("start", 0), span.get("length", 0), self._by_account.get(words(span["mentionAci"]), self._me))
            for span in (ranges if isinstance(ranges, list) else ())
            if isinstance(span, dict) and span.get("mentionAci")
        ]
        return words(mentioned(text if isinstance(text, str) else "", spans))


def _name_of(frame: dict[str, Any]) -> str:
    """Whom a frame makes known."""
    contact = inside(frame, "recipient", "contact")
    return _name(contact) if isinstance(contact, dict) else ""


def _name(contact: dict[str, Any]) -> str:
    """As Signal itself shows somebody: the nickname, the name in the address book, his own, his number."""
    number = words(str(contact.get("e164") or ""))
    return (
        joined(inside(contact, "nickname", "given"), inside(contact, "nickname", "family"))
        or joined(contact.get("systemGivenName"), contact.get("systemFamilyName"))
        or joined(contact.get("profileGivenName"), contact.get("profileFamilyName"))
        or words(contact.get("username"))
        or (f"+{number.removeprefix('+')}" if number else "")
    )


def _sent(standard: dict[str, Any]) -> str:
    """What a message without a text is."""
    files = standard.get("attachments")
    first = files[0] if isinstance(files, list) and files else None
    if first is None:
        return "an empty message"
    if inside(first, "flag") == "VOICE_MESSAGE":
        return "a voice message"
    return medium(inside(first, "pointer", "contentType"))
