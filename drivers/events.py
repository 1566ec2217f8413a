"""What comes up the wire, what whoever watches is told, and the kernel's way to mark a BREAK among bytes.

Knows bytes and moments; no port, no clock, no paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How a BREAK came: marked by the kernel or the far end; as a bare NUL, from an adapter that marks nothing; as a
# spoilt echo in half duplex; or as the key ^C.
BreakRoute = Literal["break", "nul", "echo", "^C"]


@dataclass(frozen=True, slots=True)
class Byte:
    """One character as it came, its parity bit still in it."""

    value: int


@dataclass(frozen=True, slots=True)
class Break:
    """The BREAK key: the line was open for a character or longer."""


@dataclass(frozen=True, slots=True)
class FramingError:
    """A character without its stop bits, or with bad parity: noise, or a slipped start bit."""

    value: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """The line is gone; nothing more comes, nothing more may be written."""

    reason: str


LineInput = Byte | Break | FramingError | HangUp


@dataclass(frozen=True, slots=True)
class CharacterStruck:
    """A byte went to the machine: its type wheel meets the paper from `at` on, `column` is where the carriage stood.

    `queued` is when the text was handed to the Teletype. Clock seconds, as all times here. The byte has 7 bits.
    """

    at: float
    queued: float
    byte: int
    column: int | None


@dataclass(frozen=True, slots=True)
class KeyReceived:
    """A key was pressed; the byte is raw, with its parity bit. One that was damaged on its way is not typed."""

    at: float
    byte: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class BreakPressed:
    """BREAK or ^C came; `unprinted` characters that stood ready will never be struck."""

    at: float
    route: BreakRoute
    unprinted: int


@dataclass(frozen=True, slots=True)
class LineDisconnected:
    """The line hung up."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class LineReconnected:
    """The line is back after a hang-up; `again` characters of the line it was in are struck once more."""

    at: float
    name: str
    resent: int


@dataclass(frozen=True, slots=True)
class ParameterDetected:
    """Something about the machine that nobody had said: its keyboard's parity, or its duplex."""

    at: float
    parameter: Literal["parity", "duplex"]
    value: str


@dataclass(frozen=True, slots=True)
class PrintingPaused:
    """The operator pressed ^S; printing stands still."""

    at: float


@dataclass(frozen=True, slots=True)
class PrintingResumed:
    """Printing goes on, `after_s` later; `forgotten` when nobody had ended the pause."""

    at: float
    after_s: float
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class AnswerbackReceived:
    """The answerback drum's answer to ENQ, raw; empty if there was none."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class EchoMismatch:
    """In half duplex a character came back as another: somebody pressed a key over it, or the loop is bad."""

    at: float
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class MotorSwitched:
    """The motor was switched; `ran_s` is how long it had run, when it is switched off."""

    at: float
    on: bool
    ran_s: float = 0.0


Event = (
    CharacterStruck
    | KeyReceived
    | BreakPressed
    | LineDisconnected
    | LineReconnected
    | ParameterDetected
    | PrintingPaused
    | PrintingResumed
    | AnswerbackReceived
    | EchoMismatch
    | MotorSwitched
)


class ParmrkDecoder:
    """The decoder for PARMRK (termios(3)): FF FF is the byte FF, FF 00 00 a BREAK, FF 00 x a damaged x.

    `feed` may be given the bytes in any pieces. FF before anything else means a far end that does not double its
    FF; both bytes are then passed on, so that nothing typed is lost.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Byte | Break | FramingError]:
        heard: list[Byte | Break | FramingError] = []
        for value in data:
            heard += self._decode_byte(value)
        return heard

    def _decode_byte(self, value: int) -> list[Byte | Break | FramingError]:
        held, self._held = self._held, b""
        if held == b"\xff\x00":
            return [FramingError(value) if value else Break()]
        if held == b"\xff":
            if value == 0x00:
                self._held = b"\xff\x00"
                return []
            return [Byte(0xFF)] if value == 0xFF else [Byte(0xFF), Byte(value)]
        if value == 0xFF:
            self._held = b"\xff"
            return []
        return [Byte(value)]
