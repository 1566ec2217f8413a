"""Classifies input from the line: a key, a row of tape, the driver's own echo, noise, or BREAK by one of its routes.

Joins the keyboard, the echo canceller and the noise filter. Data in, data out; knows no queue, no printing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from drivers.events import BreakRoute
from drivers.input.echo_canceller import EchoCanceller
from drivers.input.keyboard import BREAK_KEY, END_OF_INPUT, INTERRUPT, RETURN, SAME_BREAK_S, Keyboard
from drivers.input.noise_filter import NoiseFilter
from drivers.line.line_input import Break, Byte, FramingError, LineSignal
from drivers.profile import Profile

XON, XOFF = "\x11", "\x13"
RETYPE = "\x12"  # ^R of the line editor

CaptureMode = Literal["tape", "answer", "noise"]
ReceivedKind = Literal[
    "key", "row", "pause", "resume", "break", "held", "garbled", "echo", "ignored", "damaged", "noise"
]


@dataclass(frozen=True, slots=True)
class Received:
    """`key` is set for a key, `route` for a BREAK; `machine_printed` is a byte that half duplex printed by itself."""

    kind: ReceivedKind
    key: str = ""
    route: BreakRoute | None = None
    machine_printed: int | None = None


class HeldBreak:
    """Makes one BREAK of a held one: adapters report the open line again and again, each in its own form.

    The next BREAK counts after a clean character, or after a pause of SAME_BREAK_S.
    """

    _SAME_KEY_S = 0.25  # ^C under REPT, or held at a terminal, comes at least so often
    _REMAINS = frozenset(b"\x00\x7f\x80\xff")  # of an open line, where its mark is not understood

    def __init__(self) -> None:
        self._reported_at = float("-inf")
        self._control_c_at = float("-inf")

    def is_same(self, signal: LineSignal, at: float) -> bool:
        """Returns whether this signal belongs to the last BREAK. To be called with each signal that is no echo."""
        is_remains = not isinstance(signal, Byte) or signal.value in self._REMAINS
        if not is_remains or at - self._reported_at > SAME_BREAK_S:
            self._reported_at = float("-inf")
            return False
        self._reported_at = at
        return True

    def note_break(self, at: float) -> None:
        self._reported_at = at

    def is_same_control_c(self, at: float) -> bool:
        """Returns whether this ^C belongs to the last one."""
        before, self._control_c_at = self._control_c_at, at
        return at - before < self._SAME_KEY_S


class Receiver:
    """Classifies each input by its content, its moment and the mode: keys, or rows of a tape or of an answer."""

    def __init__(self, profile: Profile, character_s: float, *, is_serial: bool = False) -> None:
        """`is_serial`: the line is a serial port, which cannot deliver more than ten characters a second."""
        self.keyboard = Keyboard(profile.break_detect)
        self.noise_filter = NoiseFilter(is_serial=is_serial)
        self.echo_canceller = EchoCanceller(profile.duplex, character_s=character_s)
        self._mode: CaptureMode | None = None
        self._held_break = HeldBreak()

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
            return self._classify_break("break", signal, at)
        if isinstance(signal, FramingError):
            return self._classify_damaged(signal, at)
        verdict = self.echo_canceller.classify(signal.value, at)
        if verdict == "key":
            return self._classify_key(signal.value, at)
        return self._classify_break("echo", signal, at) if verdict == "break" else Received(verdict)

    def _classify_damaged(self, signal: FramingError, at: float) -> Received:
        self.keyboard.damaged += 1
        verdict = self.echo_canceller.classify_damaged(signal.value, at)
        if verdict == "break":
            return self._classify_break("echo", signal, at)
        if self._held_break.is_same(signal, at):
            return Received("held")
        if verdict == "key" and not self._mode and self.noise_filter.note_damaged(at):
            return Received("noise")
        return Received("garbled" if verdict == "garbled" else "damaged")

    def _classify_break(self, route: BreakRoute, signal: LineSignal, at: float) -> Received:
        is_same = self._held_break.is_same(signal, at)
        self._held_break.note_break(at)
        if is_same:
            return Received("held")
        self.noise_filter.note_break(at)
        return Received("break", route=route)

    def _classify_key(self, byte: int, at: float) -> Received:
        printed = byte if self.is_half_duplex else None
        if self.keyboard.is_reading_tape:
            return Received("row", machine_printed=printed)
        if byte == 0x00:
            if self.keyboard.decode_byte(byte, at) == BREAK_KEY:
                return self._classify_break("nul", Byte(byte), at)
            self._held_break.is_same(Byte(byte), at)
            return Received("row" if self._mode else "ignored", machine_printed=printed)
        if self._held_break.is_same(Byte(byte), at):
            return Received("held", machine_printed=printed)
        if not self._mode and self.noise_filter.note_character(byte, at):
            return Received("noise", machine_printed=printed)
        key = self.keyboard.decode_byte(byte, at)
        if key == INTERRUPT:
            kind: ReceivedKind = "held" if self._held_break.is_same_control_c(at) else "break"
            return Received(kind, route="^C", machine_printed=printed)
        if self._mode:
            return Received("row", machine_printed=printed)
        is_spoilt = not (self.noise_filter.is_proven or self.noise_filter.is_unspoilt)
        if key == "" or (key == END_OF_INPUT and is_spoilt):
            return Received("ignored", machine_printed=printed)
        if key in (XON, XOFF):
            return Received("pause" if key == XOFF else "resume", machine_printed=printed)
        if key == RETURN and not self.noise_filter.accepts_return():
            key = RETYPE
        return Received("key", key, machine_printed=printed)
