"""Input of the line: bytes, BREAK, damaged characters and hang-ups, and their encoding among the bytes (PARMRK).

Knows bytes; no moment, no port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BreakMode = Literal["marked", "nul", "none"]


@dataclass(frozen=True, slots=True)
class Byte:
    """One character as received, its parity bit included."""

    value: int


@dataclass(frozen=True, slots=True)
class Break:
    """The BREAK key: the line was open for a character time or longer."""


@dataclass(frozen=True, slots=True)
class FramingError:
    """A character without its stop bits, or with bad parity: noise, or a slipped start bit."""

    value: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """The line is lost: no more input comes, and no more bytes may be written."""

    reason: str


LineSignal = Byte | Break | FramingError
LineInput = LineSignal | HangUp


class ParmrkDecoder:
    """Decoder for PARMRK (termios(3)): FF FF is the byte FF, FF 00 00 a BREAK, FF 00 x a damaged x.

    `feed` takes the bytes in any pieces. FF before any other byte means a far end that does not double its FF; both
    bytes are then passed on, so that no key is lost.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[LineSignal]:
        signals: list[LineSignal] = []
        for value in data:
            signals += self._decode_byte(value)
        return signals

    def _decode_byte(self, value: int) -> list[LineSignal]:
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


def encode_line_input(signal: LineSignal, mode: BreakMode) -> bytes:
    """Returns the bytes by which a serial adapter reports this signal.

    marked: FF 00 00 for a BREAK, and FF doubled, as PARMRK has it: 16550, PL011, PL2303. nul: a bare 00, and no report
    of damage: CH340. none: no byte for a BREAK.
    """
    if isinstance(signal, Break):
        return {"marked": b"\xff\x00\x00", "nul": b"\x00", "none": b""}[mode]
    if mode != "marked":
        return bytes((signal.value,))
    if isinstance(signal, FramingError):
        return bytes((0xFF, 0x00, signal.value))
    return b"\xff\xff" if signal.value == 0xFF else bytes((signal.value,))
