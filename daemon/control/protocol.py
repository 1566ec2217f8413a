"""The messages between a command and a running daemon: one line of JSON each, checked and limited in size. Pure.

Every malformed message is a ProtocolError.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from daemon.control.forget_messages import ForgetTexts, TextsForgotten
from daemon.errors import ProtocolError
from drivers.paper.paper import BEL, CR, LF, RUBOUT
from drivers.text.charset import Style

MAX_LINE_BYTES = 4 << 20  # a million characters are 28 hours of paper
STRIKE_CODES = frozenset({BEL, LF, CR, *range(0x20, RUBOUT)})  # none works a reader, a punch or a drum
MAX_QUOTED_KEYS, MAX_QUOTED_CHARS = 3, 40  # of unknown keys, in an error message


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Asks for a StatusReport; allowed at any time."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Asks for the machine: Acquired follows, after QueuedReply if it is busy. Without `wait` a busy one is refused."""

    wait: bool = False


@dataclass(frozen=True, slots=True)
class PrintJob:
    """Prints a text: prose or code with wrapped words, or `raw`, cell by cell."""

    text: str
    raw: bool = False
    style: Style = "prose"
    overstrike: bool = False


@dataclass(frozen=True, slots=True)
class StrikeJob:
    """Strikes glyphs, CR, LF and BEL as they are, seven bits each: neither folded nor wrapped, on the line begun."""

    codes: bytes

    def __post_init__(self) -> None:
        if unsafe := set(self.codes) - STRIKE_CODES:
            raise ProtocolError(f"Strike: 0x{min(unsafe):02X} is no glyph, CR, LF or BEL")


@dataclass(frozen=True, slots=True)
class PunchJob:
    """Punches rows; `text`: the machine may print them as text at the same time."""

    rows: bytes
    text: bool = True


@dataclass(frozen=True, slots=True)
class ReadTapeJob:
    """Reads the tape in the reader; JobEnded has its rows."""


@dataclass(frozen=True, slots=True)
class ForgetConversation:
    """Clears what the model and the viewers have of the conversation, and prints that; JobEnded follows."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """Stops the running job."""


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """Puts a text into the spool; SpoolAccepted follows. Allowed at any time, as the other requests about the spool.

    `source` and `person`: on whose behalf. `keep_s`: 0 for the configured time. `once`: the caller's own key, or "".
    """

    text: str
    source: str
    person: str
    raw: bool = False
    style: Style = "prose"
    overstrike: bool = False
    keep_s: float = 0.0
    once: str = ""


@dataclass(frozen=True, slots=True)
class ListJobs:
    """Asks for a SpoolReport."""


@dataclass(frozen=True, slots=True)
class ChangeJobs:
    """Changes the job `job_id`, or clears the jobs of a `person` ("": all jobs); SpoolChanged follows."""

    action: Literal["cancel", "hold", "release", "clear"]
    job_id: int = 0
    person: str = ""


@dataclass(frozen=True, slots=True)
class ChangePaper:
    """Tells of a new roll with its `lines`, or of a new ribbon, or only asks; PaperReport follows."""

    action: Literal["show", "roll", "ribbon"] = "show"
    lines: int = 0


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The line, the session's activity, and the machine's status and profile; `busy`: why Acquire is refused now."""

    line: str
    doing: str
    busy: str = ""
    chip: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueuedReply:
    """The machine is busy; Acquired follows later."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """The machine belongs to the caller until it leaves or the operator presses BREAK."""


@dataclass(frozen=True, slots=True)
class ProgressReply:
    """`done` of the job's `total` characters or rows are struck."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The job is over; `struck` characters were sent to the machine for it."""

    how: Literal["done", "break", "stopped"]
    struck: int
    rows: bytes = b""


@dataclass(frozen=True, slots=True)
class SpoolAccepted:
    """The job is on the disk: its number, its place, and the seconds until its first line (-1: not known)."""

    job_id: int
    place: int
    seconds: float
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """The jobs in the order of printing, each with its place and seconds; `blocked`: why none prints now, or ""."""

    jobs: list[dict[str, Any]]
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class SpoolChanged:
    """The number of jobs that were changed."""

    count: int


@dataclass(frozen=True, slots=True)
class PaperReport:
    """The lines that are left on the roll (-1: not counted), and the characters struck with the ribbon."""

    lines_left: int
    ribbon_chars: int


@dataclass(frozen=True, slots=True)
class RefusedReply:
    """The request is refused: the reason in one line, and the exit code for the command."""

    why: str
    code: int = 69


SpoolRequest = SubmitJob | ListJobs | ChangeJobs | ChangePaper
SpoolResponse = SpoolAccepted | SpoolReport | SpoolChanged | PaperReport
MachineRequest = StatusRequest | Acquire | PrintJob | StrikeJob | PunchJob | ReadTapeJob | ForgetConversation | StopJob
ControlRequest = MachineRequest | SpoolRequest | ForgetTexts
ControlResponse = (
    StatusReport | QueuedReply | Acquired | ProgressReply | JobEnded | RefusedReply | SpoolResponse | TextsForgotten
)
WIRE_NAMES: dict[type, str] = {  # the value of "is" in a message; it stays when a class is renamed
    StatusRequest: "AskStatus",
    Acquire: "Take",
    PrintJob: "Print",
    StrikeJob: "Strike",
    PunchJob: "Punch",
    ReadTapeJob: "Read",
    ForgetConversation: "Forget",
    StopJob: "Stop",
    SubmitJob: "Submit",
    ListJobs: "ListJobs",
    ChangeJobs: "ChangeJobs",
    ChangePaper: "ChangePaper",
    ForgetTexts: "ForgetTexts",
    TextsForgotten: "TextsForgotten",
    StatusReport: "Report",
    QueuedReply: "Queued",
    Acquired: "Taken",
    ProgressReply: "Progress",
    JobEnded: "Ended",
    RefusedReply: "Refused",
    SpoolAccepted: "Accepted",
    SpoolReport: "Jobs",
    SpoolChanged: "Changed",
    PaperReport: "Paper",
}


def encode_message(message: ControlRequest | ControlResponse) -> bytes:
    """Returns the message as one line. Raises ProtocolError if it exceeds MAX_LINE_BYTES."""
    plain = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(message).items()
    }
    text = json.dumps({"is": WIRE_NAMES[type(message)], **plain}, separators=(",", ":"), ensure_ascii=False)
    line = text.encode("utf-8", "surrogatepass") + b"\n"  # json.loads passes surrogates too
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"{len(line):,} bytes exceed the daemon's limit ({MAX_LINE_BYTES:,}): send it in parts")
    return line


def decode_request(line: bytes) -> ControlRequest:
    """Returns the request in a line. Raises ProtocolError."""
    request: ControlRequest = _decode(line, get_args(ControlRequest))
    return request


def decode_response(line: bytes) -> ControlResponse:
    """Returns the response in a line. Raises ProtocolError."""
    response: ControlResponse = _decode(line, get_args(ControlResponse))
    return response


def _decode(line: bytes, kinds: tuple[type, ...]) -> Any:
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("a line that is not JSON") from None
    by_name = {WIRE_NAMES[kind]: kind for kind in kinds}
    if not isinstance(plain, dict) or not isinstance(plain.get("is"), str) or plain["is"] not in by_name:
        raise ProtocolError(f"a line that is none of {', '.join(by_name)}")
    name = plain.pop("is")
    kind = by_name[name]
    hints = _type_hints(kind)
    if unknown := [key for key in plain if key not in hints]:
        shown = ", ".join(ascii(key[:MAX_QUOTED_CHARS]) for key in unknown[:MAX_QUOTED_KEYS])
        more = len(unknown) - MAX_QUOTED_KEYS
        raise ProtocolError(f"{name} has no {shown}{f' and {more:,} more' if more > 0 else ''}")
    try:
        return kind(**{key: _check_field(name, key, value, hints[key]) for key, value in plain.items()})
    except TypeError:
        raise ProtocolError(f"{name} needs {', '.join(item.name for item in fields(kind))}") from None


@cache
def _type_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _check_field(name: str, key: str, value: Any, hint: Any) -> Any:
    if hint is bytes and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ProtocolError(f"{name}: {key} is not base64") from None
    if get_origin(hint) is Literal:
        is_valid = isinstance(value, str) and value in get_args(hint)
    else:
        expected = get_origin(hint) or hint
        is_valid = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    if not is_valid:
        raise ProtocolError(f"{name}: {key} has a wrong type or value")
    return value
