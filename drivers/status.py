"""How a machine and its line are just now: what a person asks who stands before it, or far from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class MachineCounters:
    """What has happened since the start."""

    struck: int = 0
    keyed: int = 0
    damaged: int = 0  # characters without their stop bits, or with bad parity by the kernel's word
    breaks: int = 0
    garbled: int = 0  # half duplex: came back as another
    hang_ups: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """`column` None is unknown; `below` counts bytes handed over, the one being struck among them."""

    line: str
    lost: str | None
    column: int | None
    keyboard_parity: str | None
    wrong_parity: int
    duplex: str | None
    below: int
    ready: int  # characters that stand ready above, not yet written
    held: int  # of these, a word or a blank that may go on: it is not yet for the wire
    idle_ms: int  # until the last of what is below is struck
    character_ms: float
    paused: bool
    motor_on: bool
    motor_ran_s: float
    missing_echoes: int
    counters: MachineCounters
