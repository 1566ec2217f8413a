"""The number that Android's Signal has for what a message is: 5 bits for the kind, and above them flags.

By Signal-Android's MessageTypes: columns `type`, `msg_box` of old. It knows no database.
"""

from __future__ import annotations

_KIND_MASK = 0x1F
_INBOX = 20
_OUTGOING = frozenset({21, 22, 23, 24, 25, 26, 28})  # outbox, sending, sent, failed, two fallbacks to SMS, skipped
_DRAFT = 27
_CALLS = frozenset({1, 2, 3, 8, 10, 11, 12})
_KEY_EXCHANGE = 0xFF00  # keys exchanged, verified, not understood
_GROUP_UPDATE = 0x30000  # its members or its name changed, somebody left it: the body is data, and no text
_TIMER_UPDATE = 0x40000
_END_SESSION = 0x400000
_SPECIAL = 0xF00000000  # reactions to stories, gifts, payments, requests, polls that end
_UNDECRYPTED = 0xFF000000  # what could not be decrypted


def is_outgoing(number: int) -> bool:
    """Whether the person whose database it is wrote it."""
    return number & _KIND_MASK in _OUTGOING


def skip_reason(number: int) -> str:
    """Why what has this number is no text that somebody wrote; empty if it is one."""
    kind = number & _KIND_MASK
    if kind == _DRAFT:
        return "a draft"
    if kind != _INBOX and kind not in _OUTGOING:
        return "a call" if kind in _CALLS else "a notice"
    return (
        "a notice"
        if number & (_KEY_EXCHANGE | _GROUP_UPDATE | _TIMER_UPDATE | _END_SESSION | _SPECIAL | _UNDECRYPTED)
        else ""
    )
