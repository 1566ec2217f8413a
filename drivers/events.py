"""Events of a Teletype, for observers. All times are clock seconds.

Knows bytes and moments; no port, no clock, no paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How a BREAK arrived: marked by the kernel or the far end; as a bare NUL from an adapter that marks nothing; as a
# spoilt echo in half duplex; or as the key ^C.
BreakRoute = Literal["break", "nul", "echo", "^C"]


@dataclass(frozen=True, slots=True)
class CharacterStruck:
    """A byte of 7 bits was written; its character time begins at `at`, with the carriage at `column` (None: unknown).

    `queued` is the time at which the text was handed to the Teletype.
    """

    at: float
    queued: float
    byte: int
    column: int | None


@dataclass(frozen=True, slots=True)
class KeyReceived:
    """A byte came from the keyboard, raw with its parity bit. A `damaged` byte is not typed."""

    at: float
    byte: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class BreakPressed:
    """The operator pressed BREAK or ^C; `unprinted` characters were dropped from the queue."""

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
    """The line is back after a hang-up; `resent` characters of its last line of paper are struck again."""

    at: float
    name: str
    resent: int


@dataclass(frozen=True, slots=True)
class ParameterDetected:
    """The driver has detected the parity of the keyboard, or the duplex that the profile leaves open."""

    at: float
    parameter: Literal["parity", "duplex"]
    value: str


@dataclass(frozen=True, slots=True)
class PrintingPaused:
    """The operator pressed ^S; printing stops."""

    at: float


@dataclass(frozen=True, slots=True)
class PrintingResumed:
    """Printing continues after a pause of `after_s`; `timed_out`: the driver ended the pause, not the operator."""

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
    """Half duplex: a character came back as another. The operator pressed a key over it, or the loop is bad."""

    at: float
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class NoiseDetected:
    """What comes from the line is noise from now on, or keys again; `count`: noise characters since the start."""

    at: float
    is_noisy: bool
    count: int


@dataclass(frozen=True, slots=True)
class MotorSwitched:
    """The motor was switched; when it is switched off, `ran_s` is the time that it has run."""

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
    | NoiseDetected
    | MotorSwitched
)
