"""Bytes to keys: the parity bit stripped and its mode learned, and a bare NUL taken for the BREAK key or for tape.

Data in, data out; the moment of each byte is an argument. Does not know what a key does, nor who reads it.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from drivers.profile import BreakDetect
from drivers.text.charset import even_parity, strip_parity

Parity = Literal["even", "mark", "space"]

# The keys that are no glyphs, as characters of 7 bits.
BELL, RETURN, LINE_FEED, ESCAPE, INTERRUPT, END_OF_INPUT = "\a", "\r", "\n", "\x1b", "\x03", "\x04"
BREAK_KEY = "BREAK"  # has no code: the line stood open

_SAME_BREAK_S = 0.25  # two characters and a half: further NULs so soon are one BREAK held down, or a leader
_PARITY_WINDOW = 128  # characters; a keyboard that was changed for another is known after half as many
_VOTE_LEAD = 3  # characters that must speak for a mode against the next best; noise of one or two decides nothing


class Keyboard:
    """Learns which keyboard is out there, and says of a bare NUL what it means.

    There are three: even parity, level 8 always marking, level 8 always spacing - Teletype Bulletin 310B
    574-100-101TC. `damaged` characters were spoilt by the wire and are not typed; `wrong` ones came with another
    parity than the learned one, and are typed.
    """

    def __init__(self, break_detect: BreakDetect = "auto") -> None:
        self.is_reading_tape = False  # NULs are leader
        self.parity: Parity | None = None  # None until enough has come to tell
        self.received_count = 0
        self.damaged = 0
        self.wrong_parity = 0
        self._break_detect = break_detect
        self._marks_breaks = False
        self._nul_at = float("-inf")
        self._recent_modes: deque[frozenset[Parity]] = deque()  # the modes that each of the last characters agrees with
        self._votes: dict[Parity, int] = {"even": 0, "mark": 0, "space": 0}

    def note_marked_break(self) -> None:
        """A BREAK came marked as one: this adapter marks them, so a bare NUL is no BREAK."""
        self._marks_breaks = True

    def decode_byte(self, byte: int, at: float) -> str:
        """The key of a byte: one character of 7 bits, or BREAK_KEY, or nothing for a row of leader."""
        bits = strip_parity(byte)
        if bits != 0x00:
            self._learn_parity(byte)
            return chr(bits)
        return self._decode_nul(at) if byte == 0x00 else ""  # 0x80 is the NUL of a marking keyboard

    def _decode_nul(self, at: float) -> str:
        alone, self._nul_at = at - self._nul_at > _SAME_BREAK_S, at
        if self.is_reading_tape or not alone or self._break_detect == "marked":
            return ""
        # A marking keyboard has no key for 0x00, so from there it can be nothing else.
        is_break = self._break_detect == "nul" or not self._marks_breaks or self.parity == "mark"
        return BREAK_KEY if is_break else ""

    def _learn_parity(self, byte: int) -> None:
        self.received_count += 1
        agreed = _modes_matching(byte)
        self.wrong_parity += self.parity is not None and self.parity not in agreed
        self._recent_modes.append(agreed)
        for mode in agreed:
            self._votes[mode] += 1
        if len(self._recent_modes) > _PARITY_WINDOW:
            for mode in self._recent_modes.popleft():
                self._votes[mode] -= 1
        best, second, _ = sorted(self._votes, key=self._votes.__getitem__, reverse=True)
        if best != self.parity and self._votes[best] >= self._votes[second] + _VOTE_LEAD:
            self.parity, self.wrong_parity = best, 0


def _modes_matching(byte: int) -> frozenset[Parity]:
    """The modes in which a keyboard would send this byte."""
    even: list[Parity] = ["even"] if byte == even_parity(byte) else []
    return frozenset([*even, "mark" if byte & 0x80 else "space"])
