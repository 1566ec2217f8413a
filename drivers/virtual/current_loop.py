"""The signal line: one loop for both ways in half duplex, two in full; space wins over mark, and BREAK over all.

Knows characters and when they begin and end; not what anybody makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

_EPSILON_S = 1e-6  # floating point: one ends as the next begins


@dataclass(slots=True)
class LineCharacter:
    """Eleven units on the line. While they last, others may spoil them."""

    start: float
    end: float
    byte: int
    local: bool  # from this machine's distributor; else from the line's far end
    damaged: bool = False  # without its stop bits
    lost: bool = False  # nobody hears it as a character of its own


class CurrentLoop:
    """`half`: distributor, selector and line are one circuit, and whoever opens it opens it for all."""

    def __init__(self, *, half_duplex: bool) -> None:
        self.half_duplex = half_duplex
        self._active: list[LineCharacter] = []
        self._open_until = float("-inf")

    def begin_character(self, character: LineCharacter) -> LineCharacter:
        """A character starts. Those that are still under way meet it."""
        start = character.start + _EPSILON_S
        self._active = [other for other in self._active if other.end > start]
        if start < self._open_until:
            self._blank_character(character)
        if self.half_duplex:
            for other in self._active:
                _collide(character, other)
        self._active.append(character)
        return character

    def open_loop(self, now: float, until: float) -> None:
        """The send contacts are held open."""
        self._open_until = max(self._open_until, until)
        for character in self._active:
            if character.end > now + _EPSILON_S:
                self._blank_character(character)

    def _blank_character(self, character: LineCharacter) -> None:
        if character.local:
            character.lost = True
        elif self.half_duplex:
            character.byte, character.damaged = 0x00, True


def _collide(one: LineCharacter, other: LineCharacter) -> None:
    """Where either is spacing the loop is; the line's character is what both of them come to."""
    if one.local != other.local:
        typed, struck = (one, other) if one.local else (other, one)
        struck.byte &= typed.byte
        struck.damaged = typed.lost = True
