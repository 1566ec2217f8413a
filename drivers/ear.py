"""What something that came up the wire is: a key, a row of tape, our own echo, or BREAK by one of its routes.

Joins the keyboard and the echo canceller. Data in, data out; does not know who types, prints or captures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.echo import Echo
from drivers.events import Break, Byte, Frame, Route
from drivers.keyboard import BREAK_KEY, INTERRUPT, Keyboard
from drivers.profile import Profile

X_ON, X_OFF = "\x11", "\x13"

Captured = Literal["tape", "answer", "noise"]
Kind = Literal["key", "row", "pause", "go on", "break", "garbled", "echo", "unheard", "damaged"]


@dataclass(frozen=True, slots=True)
class Sense:
    """`key` is set for a key, `route` for a BREAK; `machine_printed` is a byte that half duplex printed by itself."""

    kind: Kind
    key: str = ""
    route: Route | None = None
    machine_printed: int | None = None


class Ear:
    """Told by `capture` that no keys are to come now, but rows of a tape, an answer to ENQ, or mere noise."""

    def __init__(self, profile: Profile, character_s: float = CHARACTER_S) -> None:
        self.keyboard = Keyboard(profile.break_detect)
        self.echo = Echo(profile.duplex, character_s=character_s)
        self._captured: Captured | None = None

    @property
    def half_duplex(self) -> bool:
        return self.echo.half

    def capture(self, what: Captured | None) -> None:
        """BREAK as a bare NUL, and ^C, end what makes noise alone: on a tape and on a drum these are rows."""
        self._captured = what
        self.keyboard.reading_tape = what in ("tape", "answer")

    def hear(self, heard: Byte | Break | Frame, at: float) -> Iterator[tuple[Byte | Break | Frame, Sense]]:
        """What this is, and before it what turns out by it."""
        sense = self._sense(heard, at)
        yield from self.taken_back(at)
        yield heard, sense

    def taken_back(self, at: float) -> Iterator[tuple[Byte, Sense]]:
        """Keys that were taken for echoes while nobody knew."""
        for byte in self.echo.take_back():
            yield Byte(byte), self._typed(byte, at)

    def _sense(self, heard: Byte | Break | Frame, at: float) -> Sense:
        if isinstance(heard, Break):
            self.keyboard.marked_break()
            return Sense("break", route="break")
        if isinstance(heard, Frame):
            self.keyboard.damaged += 1
            verdict = self.echo.framed(heard.value, at)
            if verdict == "break":
                return Sense("break", route="echo")
            return Sense("garbled" if verdict == "garbled" else "damaged")
        verdict = self.echo.heard(heard.value, at)
        if verdict == "key":
            return self._typed(heard.value, at)
        return Sense("break", route="echo") if verdict == "break" else Sense(verdict)

    def _typed(self, byte: int, at: float) -> Sense:
        printed = byte if self.half_duplex else None
        if self.keyboard.reading_tape:
            return Sense("row", machine_printed=printed)
        key = self.keyboard.receive(byte, at)
        if key == BREAK_KEY:
            return Sense("break", route="nul")
        if key == INTERRUPT:
            return Sense("break", route="^C", machine_printed=printed)
        if self._captured:
            return Sense("row", machine_printed=printed)
        if key == "":
            return Sense("unheard", machine_printed=printed)
        if key in (X_ON, X_OFF):
            return Sense("pause" if key == X_OFF else "go on", machine_printed=printed)
        return Sense("key", key, machine_printed=printed)
