"""The signal line: one loop for both ways in half duplex, two in full; space wins over mark, and BREAK over all.

Knows characters and when they begin and end; not what anybody makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

_TOUCH_S = 1e-6  # floating point: one ends as the next begins


@dataclass(slots=True)
class Character:
    """Eleven units on the line. While they last, others may spoil them."""

    start: float
    end: float
    byte: int
    local: bool  # from this machine's distributor; else from the line's far end
    damaged: bool = False  # without its stop bits
    lost: bool = False  # nobody hears it as a character of its own


class Wiring:
    """`half`: distributor, selector and line are one circuit, and whoever opens it opens it for all."""

    def __init__(self, *, half: bool) -> None:
        self.half = half
        self._under_way: list[Character] = []
        self._open_until = float("-inf")

    def begin(self, character: Character) -> Character:
        """A character starts. Those that are still under way meet it."""
        start = character.start + _TOUCH_S
        self._under_way = [other for other in self._under_way if other.end > start]
        if start < self._open_until:
            self._blank(character)
        if self.half:
            for other in self._under_way:
                _meet(character, other)
        self._under_way.append(character)
        return character

    def open(self, now: float, until: float) -> None:
        """The send contacts are held open."""
        self._open_until = max(self._open_until, until)
        for character in self._under_way:
            if character.end > now + _TOUCH_S:
                self._blank(character)

    def _blank(self, character: Character) -> None:
        if character.local:
            character.lost = True
        elif self.half:
            character.byte, character.damaged = 0x00, True


def _meet(one: Character, other: Character) -> None:
    """Where either is spacing the loop is; the line's character is what both of them come to."""
    if one.local != other.local:
        typed, struck = (one, other) if one.local else (other, one)
        struck.byte &= typed.byte
        struck.damaged = typed.lost = True
