"""What something that came up the wire is: a key, a row of tape, our own echo, or BREAK by one of its routes.

Joins the keyboard and the echo canceller. Data in, data out; does not know who types, prints or captures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.events import Break, BreakRoute, Byte, FramingError
from drivers.input.echo_canceller import EchoCanceller
from drivers.input.keyboard import BREAK_KEY, INTERRUPT, Keyboard
from drivers.profile import Profile

XON, XOFF = "\x11", "\x13"

CaptureMode = Literal["tape", "answer", "noise"]
ReceivedKind = Literal["key", "row", "pause", "go on", "break", "garbled", "echo", "unheard", "damaged"]


@dataclass(frozen=True, slots=True)
class Received:
    """`key` is set for a key, `route` for a BREAK; `machine_printed` is a byte that half duplex printed by itself."""

    kind: ReceivedKind
    key: str = ""
    route: BreakRoute | None = None
    machine_printed: int | None = None


class Receiver:
    """Told by `capture` that no keys are to come now, but rows of a tape, an answer to ENQ, or mere noise."""

    def __init__(self, profile: Profile, character_s: float = CHARACTER_S) -> None:
        self.keyboard = Keyboard(profile.break_detect)
        self.echo_canceller = EchoCanceller(profile.duplex, character_s=character_s)
        self._mode: CaptureMode | None = None

    @property
    def is_half_duplex(self) -> bool:
        return self.echo_canceller.is_half_duplex

    def set_mode(self, mode: CaptureMode | None) -> None:
        """BREAK as a bare NUL, and ^C, end what makes noise alone: on a tape and on a drum these are rows."""
        self._mode = mode
        self.keyboard.is_reading_tape = mode in ("tape", "answer")

    def receive(
        self, line_input: Byte | Break | FramingError, at: float
    ) -> Iterator[tuple[Byte | Break | FramingError, Received]]:
        """What this is, and before it what turns out by it."""
        sense = self._classify(line_input, at)
        yield from self.reclaim_keys(at)
        yield line_input, sense

    def reclaim_keys(self, at: float) -> Iterator[tuple[Byte, Received]]:
        """Keys that were taken for echoes while nobody knew."""
        for byte in self.echo_canceller.take_misjudged_keys():
            yield Byte(byte), self._classify_key(byte, at)

    def _classify(self, line_input: Byte | Break | FramingError, at: float) -> Received:
        if isinstance(line_input, Break):
            self.keyboard.note_marked_break()
            return Received("break", route="break")
        if isinstance(line_input, FramingError):
            self.keyboard.damaged += 1
            verdict = self.echo_canceller.classify_damaged(line_input.value, at)
            if verdict == "break":
                return Received("break", route="echo")
            return Received("garbled" if verdict == "garbled" else "damaged")
        verdict = self.echo_canceller.classify(line_input.value, at)
        if verdict == "key":
            return self._classify_key(line_input.value, at)
        return Received("break", route="echo") if verdict == "break" else Received(verdict)

    def _classify_key(self, byte: int, at: float) -> Received:
        printed = byte if self.is_half_duplex else None
        if self.keyboard.is_reading_tape:
            return Received("row", machine_printed=printed)
        key = self.keyboard.decode_byte(byte, at)
        if key == BREAK_KEY:
            return Received("break", route="nul")
        if key == INTERRUPT:
            return Received("break", route="^C", machine_printed=printed)
        if self._mode:
            return Received("row", machine_printed=printed)
        if key == "":
            return Received("unheard", machine_printed=printed)
        if key in (XON, XOFF):
            return Received("pause" if key == XOFF else "go on", machine_printed=printed)
        return Received("key", key, machine_printed=printed)
