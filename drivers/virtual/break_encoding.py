"""What a serial adapter makes of a BREAK: the three kinds there are, as bytes. `events.Marking` reads the first.

Knows bytes; no moment, no machine.
"""

from __future__ import annotations

from typing import Literal

from drivers.events import Break, Byte, FramingError

BreakMode = Literal["marked", "nul", "none"]


def encode_line_input(line_input: Byte | Break | FramingError, mode: BreakMode) -> bytes:
    """The bytes for what the line did.

    marked: as termios' PARMRK has it, FF 00 00, and FF doubled: 16550, PL011, PL2303. nul: a bare 00, and damage
    goes unsaid: CH340 at its best. none: a BREAK alone is nothing at all.
    """
    if isinstance(line_input, Break):
        return {"marked": b"\xff\x00\x00", "nul": b"\x00", "none": b""}[mode]
    if mode != "marked":
        return bytes((line_input.value,))
    if isinstance(line_input, FramingError):
        return bytes((0xFF, 0x00, line_input.value))
    return b"\xff\xff" if line_input.value == 0xFF else bytes((line_input.value,))
