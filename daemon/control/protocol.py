"""What a command may ask of a running daemon, and what it is told: a line of JSON each, bounded and checked.

Data in, data out; knows no socket. What does not fit is a BadOrder, whatever bytes it is made of.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from daemon.errors import ProtocolError
from drivers.text.charset import Style

MAX_LINE_BYTES = 4 << 20  # a million characters are a day and a night of paper


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """How is the machine? Answered at any time, by Report."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """The machine, please; told Taken, perhaps after Queued. Without `wait` now or not at all."""

    wait: bool = False


@dataclass(frozen=True, slots=True)
class PrintJob:
    """Text onto the paper: prose or code with words wrapped, or `raw`, cell by cell."""

    text: str
    raw: bool = False
    style: Style = "prose"
    overstrike: bool = False


@dataclass(frozen=True, slots=True)
class PunchJob:
    """Rows onto a tape; `text` if they are also to be struck as text."""

    rows: bytes
    text: bool = True


@dataclass(frozen=True, slots=True)
class ReadTapeJob:
    """The tape in the reader; its rows come with Ended."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """No more of what is being done."""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What `.STATUS` would print, and the machine's profile, as data; `busy` is why it would be refused now."""

    line: str
    doing: str
    busy: str = ""
    chip: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueuedReply:
    """Somebody has the machine; it will come."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """The machine is yours until you leave, or the operator presses BREAK."""


@dataclass(frozen=True, slots=True)
class ProgressReply:
    """So many of the order's characters or rows are struck."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The order is over; `struck` characters went to the machine for it."""

    how: Literal["done", "break", "stopped"]
    struck: int
    rows: bytes = b""


@dataclass(frozen=True, slots=True)
class RefusedReply:
    """No, and why, in one line; `code` is what a command should end with."""

    why: str
    code: int = 69


ControlRequest = StatusRequest | Acquire | PrintJob | PunchJob | ReadTapeJob | StopJob
ControlResponse = StatusReport | QueuedReply | Acquired | ProgressReply | JobEnded | RefusedReply


def encode_message(message: ControlRequest | ControlResponse) -> bytes:
    """One line. Raises BadOrder if it is longer than a daemon takes."""
    plain = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(message).items()
    }
    line = json.dumps({"is": type(message).__name__, **plain}, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(
            f"{len(line):,} bytes are more than a daemon takes at once ({MAX_LINE_BYTES:,}): send it in parts"
        )
    return line


def decode_request(line: bytes) -> ControlRequest:
    """The order in a line. Raises BadOrder."""
    order: ControlRequest = _decode(line, get_args(ControlRequest))
    return order


def decode_response(line: bytes) -> ControlResponse:
    """The reply in a line. Raises BadOrder."""
    reply: ControlResponse = _decode(line, get_args(ControlResponse))
    return reply


def _decode(line: bytes, kinds: tuple[type, ...]) -> Any:
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("a line that is not JSON") from None
    names = {kind.__name__: kind for kind in kinds}
    if not isinstance(plain, dict) or not isinstance(plain.get("is"), str) or plain["is"] not in names:
        raise ProtocolError(f"a line that is none of {', '.join(names)}")
    kind = names[plain.pop("is")]
    hints = get_type_hints(kind)
    if unknown := set(plain) - set(hints):
        raise ProtocolError(f"{kind.__name__} has no {', '.join(sorted(map(ascii, unknown)))}")
    try:
        return kind(**{name: _check_field(kind, name, value, hints[name]) for name, value in plain.items()})
    except TypeError:
        wants = ", ".join(item.name for item in fields(kind))
        raise ProtocolError(f"{kind.__name__} wants {wants}") from None


def _check_field(kind: type, name: str, value: Any, hint: Any) -> Any:
    if hint is bytes and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ProtocolError(f"{kind.__name__}: {name} is not base64") from None
    if get_origin(hint) is Literal:
        fits = isinstance(value, str) and value in get_args(hint)
    else:
        expected = get_origin(hint) or hint
        fits = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    if not fits:
        raise ProtocolError(f"{kind.__name__}: {name} is not what it should be")
    return value
