"""The current loop: one circuit for both directions in half duplex, two in full. Space wins over mark, BREAK over all.

Knows characters and their times; not their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

_EPSILON_S = 1e-6  # floating point: one character ends as the next begins


@dataclass(slots=True)
class LineCharacter:
    """Eleven units on the line. Characters that overlap may spoil each other."""

    start: float
    end: float
    byte: int
    local: bool  # from this machine's distributor; otherwise from the far end of the line
    damaged: bool = False  # without its stop bits
    lost: bool = False  # not received as a character of its own


class CurrentLoop:
    """`half_duplex`: distributor, selector and line are one circuit, which each of them can open."""

    def __init__(self, *, half_duplex: bool) -> None:
        self.half_duplex = half_duplex
        self._active: list[LineCharacter] = []
        self._open_until = float("-inf")

    def begin_character(self, character: LineCharacter) -> None:
        """Starts a character; in half duplex it collides with the characters that are still active."""
        start = character.start + _EPSILON_S
        self._active = [earlier for earlier in self._active if earlier.end > start]
        if start < self._open_until:
            self._blank_character(character)
        if self.half_duplex:
            for earlier in self._active:
                _collide(character, earlier)
        self._active.append(character)

    def open_loop(self, now: float, until: float) -> None:
        """Holds the send contacts open until `until`."""
        self._open_until = max(self._open_until, until)
        for character in self._active:
            if character.end > now + _EPSILON_S:
                self._blank_character(character)

    def _blank_character(self, character: LineCharacter) -> None:
        if character.local:
            character.lost = True
        elif self.half_duplex:
            character.byte, character.damaged = 0x00, True


def _collide(first: LineCharacter, second: LineCharacter) -> None:
    """The loop is spacing where either character is; the line's character becomes the AND of both."""
    if first.local != second.local:
        typed, received = (first, second) if first.local else (second, first)
        received.byte &= typed.byte
        received.damaged = typed.lost = True
