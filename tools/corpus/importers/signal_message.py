"""Mentions in texts and the message types of Signal for Android, for all readers of Signal. Pure.

A mention is a placeholder character in the text; the person is listed beside the text. A message type (column `type`,
in old versions `msg_box`) has the kind in its low 5 bits and flags above, by Signal-Android's MessageTypes.
"""

from __future__ import annotations

from collections.abc import Iterable

UNKNOWN_NAME = "Somebody"  # for a person without a name
MENTION_MARK = "\ufffc"  # OBJECT REPLACEMENT CHARACTER, one per mention

_KIND_MASK = 0x1F
_INBOX = 20
_OUTGOING = frozenset({21, 22, 23, 24, 25, 26, 28})  # outbox, sending, sent, failed, two SMS fallbacks, skipped
_DRAFT = 27
_CALLS = frozenset({1, 2, 3, 8, 10, 11, 12})
_KEY_EXCHANGE = 0xFF00  # key exchange, verification, unknown keys
_GROUP_UPDATE = 0x30000  # members or name changed, or a member left: the body is data
_TIMER_UPDATE = 0x40000
_END_SESSION = 0x400000
_SPECIAL = 0xF00000000  # story reactions, gifts, payments, requests, ended polls
_UNDECRYPTED = 0xFF000000  # decryption failed
_NOTICE_FLAGS = _KEY_EXCHANGE | _GROUP_UPDATE | _TIMER_UPDATE | _END_SESSION | _SPECIAL | _UNDECRYPTED


def fill_mentions(text: str, spans: Iterable[tuple[object, object, str]]) -> str:
    """Replaces the marks by names. Each span has its start and length, in UTF-16 units, and the name."""
    if MENTION_MARK not in text:
        return text
    units = text.encode("utf-16-le", "surrogatepass")
    placed = [
        (2 * start, 2 * (start + length), name)
        for start, length, name in spans
        if isinstance(start, int) and isinstance(length, int) and start >= 0 and length >= 0
    ]
    for start, end, name in sorted(placed, reverse=True):
        if units[start:end] == MENTION_MARK.encode("utf-16-le"):
            units = units[:start] + f"@{name}".encode("utf-16-le") + units[end:]
    return units.decode("utf-16-le", "replace").replace(MENTION_MARK, f"@{UNKNOWN_NAME.lower()}")


def is_outgoing(number: int) -> bool:
    """Whether the owner of the database wrote the message."""
    return number & _KIND_MASK in _OUTGOING


def skip_reason(number: int) -> str:
    """Returns why a message of this type is no text that a person wrote, or ""."""
    kind = number & _KIND_MASK
    if kind == _DRAFT:
        return "a draft"
    if kind != _INBOX and kind not in _OUTGOING:
        return "a call" if kind in _CALLS else "a notice"
    return "a notice" if number & _NOTICE_FLAGS else ""
