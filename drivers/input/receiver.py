"""Classifies input from the line: a key, a row of tape, the driver's own echo, or BREAK by one of its routes.

Joins the keyboard and the echo canceller. Data in, data out; knows no queue, no printing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from drivers.events import BreakRoute
from drivers.input.echo_canceller import EchoCanceller
from drivers.input.keyboard import BREAK_KEY, INTERRUPT, Keyboard
from drivers.line.line_input import Break, Byte, FramingError, LineSignal
from drivers.profile import Profile

XON, XOFF = "\x11", "\x13"

CaptureMode = Literal["tape", "answer", "noise"]
ReceivedKind = Literal["key", "row", "pause", "resume", "break", "garbled", "echo", "ignored", "damaged"]


@dataclass(frozen=True, slots=True)
class Received:
    """`key` is set for a key, `route` for a BREAK; `machine_printed` is a byte that half duplex printed by itself."""

    kind: ReceivedKind
    key: str = ""
    route: BreakRoute | None = None
    machine_printed: int | None = None


class Receiver:
    """Classifies each input by its content, its moment and the mode: keys, or rows of a tape or of an answer."""

    def __init__(self, profile: Profile, character_s: float) -> None:
        self.keyboard = Keyboard(profile.break_detect)
        self.echo_canceller = EchoCanceller(profile.duplex, character_s=character_s)
        self._mode: CaptureMode | None = None

    @property
    def is_half_duplex(self) -> bool:
        return self.echo_canceller.is_half_duplex

    def set_mode(self, mode: CaptureMode | None) -> None:
        """Sets what input is: rows, or keys (None). In "noise" a bare NUL and ^C are a BREAK; in the others, rows."""
        self._mode = mode
        self.keyboard.is_reading_tape = mode in ("tape", "answer")

    def receive(self, signal: LineSignal, at: float) -> Iterator[tuple[LineSignal, Received]]:
        """Yields this input with its class. Before it come earlier keys that were wrongly taken for echoes."""
        received = self._classify(signal, at)
        yield from self.reclaim_keys(at)
        yield signal, received

    def reclaim_keys(self, at: float) -> Iterator[tuple[Byte, Received]]:
        """Yields the keys that were taken for echoes while the duplex was unknown."""
        for byte in self.echo_canceller.take_misjudged_keys():
            yield Byte(byte), self._classify_key(byte, at)

    def _classify(self, signal: LineSignal, at: float) -> Received:
        if isinstance(signal, Break):
            self.keyboard.note_marked_break()
            return Received("break", route="break")
        if isinstance(signal, FramingError):
            self.keyboard.damaged += 1
            verdict = self.echo_canceller.classify_damaged(signal.value, at)
            if verdict == "break":
                return Received("break", route="echo")
            return Received("garbled" if verdict == "garbled" else "damaged")
        verdict = self.echo_canceller.classify(signal.value, at)
        if verdict == "key":
            return self._classify_key(signal.value, at)
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
            return Received("ignored", machine_printed=printed)
        if key in (XON, XOFF):
            return Received("pause" if key == XOFF else "resume", machine_printed=printed)
        return Received("key", key, machine_printed=printed)
