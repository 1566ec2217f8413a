"""What a command may ask of a running daemon, and what it is told: a line of JSON each, bounded and checked.

Data in, data out; knows no socket. What does not fit is a BadOrder, whatever bytes it is made of.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from daemon.errors import BadOrder
from drivers.charset import Style

LINE_BYTES = 4 << 20  # a million characters are a day and a night of paper


@dataclass(frozen=True, slots=True)
class AskStatus:
    """How is the machine? Answered at any time, by Report."""


@dataclass(frozen=True, slots=True)
class Take:
    """The machine, please; told Taken, perhaps after Queued. Without `wait` now or not at all."""

    wait: bool = False


@dataclass(frozen=True, slots=True)
class Print:
    """Text onto the paper: prose or code with words wrapped, or `raw`, cell by cell."""

    text: str
    raw: bool = False
    style: Style = "prose"
    overstrike: bool = False


@dataclass(frozen=True, slots=True)
class Punch:
    """Rows onto a tape; `text` if they are also to be struck as text."""

    rows: bytes
    text: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """The tape in the reader; its rows come with Ended."""


@dataclass(frozen=True, slots=True)
class Stop:
    """No more of what is being done."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `.STATUS` would print, and the machine's profile, as data; `busy` is why it would be refused now."""

    line: str
    doing: str
    busy: str = ""
    chip: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queued:
    """Somebody has the machine; it will come."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The machine is yours until you leave, or the operator presses BREAK."""


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of the order's characters or rows are struck."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The order is over; `struck` characters went to the machine for it."""

    how: Literal["done", "break", "stopped"]
    struck: int
    rows: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """No, and why, in one line; `code` is what a command should end with."""

    why: str
    code: int = 69


Order = AskStatus | Take | Print | Punch | Read | Stop
Reply = Report | Queued | Taken | Progress | Ended | Refused


def encode(said: Order | Reply) -> bytes:
    """One line. Raises BadOrder if it is longer than a daemon takes."""
    plain = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(said).items()
    }
    line = json.dumps({"is": type(said).__name__, **plain}, separators=(",", ":")).encode() + b"\n"
    if len(line) > LINE_BYTES:
        raise BadOrder(f"{len(line):,} bytes are more than a daemon takes at once ({LINE_BYTES:,}): send it in parts")
    return line


def order_of(line: bytes) -> Order:
    """The order in a line. Raises BadOrder."""
    order: Order = _decode(line, get_args(Order))
    return order


def reply_of(line: bytes) -> Reply:
    """The reply in a line. Raises BadOrder."""
    reply: Reply = _decode(line, get_args(Reply))
    return reply


def _decode(line: bytes, kinds: tuple[type, ...]) -> Any:
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        raise BadOrder("a line that is not JSON") from None
    names = {kind.__name__: kind for kind in kinds}
    if not isinstance(plain, dict) or not isinstance(plain.get("is"), str) or plain["is"] not in names:
        raise BadOrder(f"a line that is none of {', '.join(names)}")
    kind = names[plain.pop("is")]
    hints = get_type_hints(kind)
    if unknown := set(plain) - set(hints):
        raise BadOrder(f"{kind.__name__} has no {', '.join(sorted(map(ascii, unknown)))}")
    try:
        return kind(**{name: _typed(kind, name, value, hints[name]) for name, value in plain.items()})
    except TypeError:
        wants = ", ".join(item.name for item in fields(kind))
        raise BadOrder(f"{kind.__name__} wants {wants}") from None


def _typed(kind: type, name: str, value: Any, hint: Any) -> Any:
    if hint is bytes and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise BadOrder(f"{kind.__name__}: {name} is not base64") from None
    if get_origin(hint) is Literal:
        fits = isinstance(value, str) and value in get_args(hint)
    else:
        expected = get_origin(hint) or hint
        fits = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    if not fits:
        raise BadOrder(f"{kind.__name__}: {name} is not what it should be")
    return value
