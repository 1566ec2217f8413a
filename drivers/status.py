"""The state of a machine and its line at this moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class MachineCounters:
    """Events counted since the start."""

    struck: int = 0
    glyphs: int = 0  # of the struck characters, those that print, without later passes over the same text
    keyed: int = 0
    damaged: int = 0  # characters without their stop bits, or with a parity that the kernel rejects
    noise: int = 0  # characters that were noise, and no keys
    breaks: int = 0
    garbled: int = 0  # half duplex: characters that came back as another
    hang_ups: int = 0

    def count_strike(self, byte: int, is_overprint: bool = False) -> None:
        """Counts a byte of seven bits that was written to the machine."""
        self.struck += 1
        self.glyphs += 0x20 < byte < 0x7F and not is_overprint


@dataclass(frozen=True, slots=True)
class Status:
    """`column` None: unknown. `below` counts written bytes that are not yet struck, the one being struck included."""

    line: str
    lost: str | None
    column: int | None
    keyboard_parity: str | None
    wrong_parity: int
    is_noisy: bool  # what comes from the line is noise at present
    duplex: str | None
    below: int
    ready: int  # characters that are queued and not yet written
    mid_word: bool  # the next stroke is a glyph: the paper would end within a word
    held: int  # of these, characters that the printer holds back: a word that may go on, or blanks
    idle_ms: int  # until the last written byte is struck
    character_ms: float
    paused: bool
    motor_on: bool
    motor_ran_s: float
    missing_echoes: int
    counters: MachineCounters
