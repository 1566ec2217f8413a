"""The tape punch: a slave of the typing unit's codebars, it punches all that is received while it is on.

Raw, 8 bits a row, fill and the DC4 that ends it among them. Knows nothing of who sent what.
"""

from __future__ import annotations

from drivers.virtual.typing_unit import DC2, DC4


class TapePunch:
    """`auto`: it obeys DC2 and DC4; else only its own buttons, which are `on`."""

    def __init__(self, *, auto: bool = False) -> None:
        self.is_on = False
        self.tape = bytearray()
        self._auto = auto

    def receive(self, byte: int) -> bool:
        """A byte that the typing unit has received, 8 bits; whether it is now a row."""
        bits = byte & 0x7F
        punched = self.is_on
        if punched:
            self.tape.append(byte)
        if self._auto and bits in (DC2, DC4):  # the mechanism moves at the end of its cycle: DC4 is still punched
            self.is_on = bits == DC2
        return punched
