"""What comes up the wire, what whoever watches is told, and the kernel's way to mark a BREAK among bytes.

Knows bytes and moments; no port, no clock, no paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Route = Literal["break", "^C"]


@dataclass(frozen=True, slots=True)
class Byte:
    """One character as it came, its parity bit still in it."""

    value: int


@dataclass(frozen=True, slots=True)
class Break:
    """The BREAK key: the line was open for a character or longer."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A character without its stop bits, or with bad parity: noise, or a slipped start bit."""

    value: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """The line is gone; nothing more comes, nothing more may be written."""

    reason: str


Heard = Byte | Break | Frame | HangUp


@dataclass(frozen=True, slots=True)
class Struck:
    """A byte went to the machine: its type wheel meets the paper from `at` on, `column` is where the carriage stood.

    `queued` is when the text was handed to the Teletype. Clock seconds, as all times here. The byte has 7 bits.
    """

    at: float
    queued: float
    byte: int
    column: int | None


@dataclass(frozen=True, slots=True)
class Keyed:
    """A key was pressed; the byte is raw, with its parity bit. One that was damaged on its way is not typed."""

    at: float
    byte: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Broke:
    """BREAK or ^C came; `unprinted` characters that stood ready will never be struck."""

    at: float
    route: Route
    unprinted: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The line hung up."""

    at: float
    reason: str


Event = Struck | Keyed | Broke | Lost


class Marking:
    """The decoder for PARMRK (termios(3)): FF FF is the byte FF, FF 00 00 a BREAK, FF 00 x a damaged x.

    `feed` may be given the bytes in any pieces. FF before anything else means a far end that does not double its
    FF; both bytes are then passed on, so that nothing typed is lost.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Byte | Break | Frame]:
        heard: list[Byte | Break | Frame] = []
        for value in data:
            heard += self._one(value)
        return heard

    def _one(self, value: int) -> list[Byte | Break | Frame]:
        held, self._held = self._held, b""
        if held == b"\xff\x00":
            return [Frame(value) if value else Break()]
        if held == b"\xff":
            if value == 0x00:
                self._held = b"\xff\x00"
                return []
            return [Byte(0xFF)] if value == 0xFF else [Byte(0xFF), Byte(value)]
        if value == 0xFF:
            self._held = b"\xff"
            return []
        return [Byte(value)]
