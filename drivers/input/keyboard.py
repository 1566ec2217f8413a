"""The keyboard decoder: bytes to keys.

Strips and learns the parity, and decides whether a bare NUL is BREAK or tape. Data in, data out; the moment of each
byte is an argument. Knows no meaning of a key, and no consumer of the keys.
"""

from __future__ import annotations

from collections import deque

from drivers.profile import BreakDetect, Parity
from drivers.text.charset import even_parity, strip_parity

# Keys that are no glyphs, as characters of 7 bits.
BELL, RETURN, LINE_FEED, ESCAPE, INTERRUPT, END_OF_INPUT = "\a", "\r", "\n", "\x1b", "\x03", "\x04"
BREAK_KEY = "BREAK"  # has no code: the line was open
NOISE_KEY = "NOISE"  # no key: the keys before it were noise, and so is what comes now

SAME_BREAK_S = 0.6  # a held BREAK that is reported again and again is one; so are the NULs of a leader
_PARITY_WINDOW = 128  # characters; a replaced keyboard is recognised after half as many
_VOTE_LEAD = 3  # characters by which a parity must lead the next best; one or two spoilt ones decide nothing


class Keyboard:
    """Learns the parity of the keyboard, and decides what a bare NUL means.

    There are three keyboards: even parity, level 8 always marking, level 8 always spacing - Teletype Bulletin 310B
    574-100-101TC. `damaged` characters were spoilt by the line and are not typed; `wrong_parity` counts characters with
    another parity than the learned one, which are typed.
    """

    def __init__(self, break_detect: BreakDetect = "auto") -> None:
        self.is_reading_tape = False  # NULs are leader
        self.parity: Parity | None = None  # None until enough characters have come
        self.received_count = 0
        self.damaged = 0
        self.wrong_parity = 0
        self._break_detect = break_detect
        self._marks_breaks = False
        self._nul_at = float("-inf")
        self._recent_modes: deque[frozenset[Parity]] = deque()  # the parities that each of the last characters has
        self._votes: dict[Parity, int] = {"even": 0, "mark": 0, "space": 0}

    def note_marked_break(self) -> None:
        """Records that the adapter marks a BREAK, so that a bare NUL is none."""
        self._marks_breaks = True

    def decode_byte(self, byte: int, at: float) -> str:
        """Returns the key of a byte: one character of 7 bits, BREAK_KEY, or an empty string for a row of leader."""
        bits = strip_parity(byte)
        if bits != 0x00:
            self._learn_parity(byte)
            return chr(bits)
        return self._decode_nul(at) if byte == 0x00 else ""  # 0x80 is the NUL of a marking keyboard

    def _decode_nul(self, at: float) -> str:
        alone, self._nul_at = at - self._nul_at > SAME_BREAK_S, at
        if self.is_reading_tape or not alone or self._break_detect == "marked":
            return ""
        # A marking keyboard has no key for 0x00, so there it can only be a BREAK.
        is_break = self._break_detect == "nul" or not self._marks_breaks or self.parity == "mark"
        return BREAK_KEY if is_break else ""

    def _learn_parity(self, byte: int) -> None:
        self.received_count += 1
        agreed = parities_of(byte)
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


def parities_of(byte: int) -> frozenset[Parity]:
    """Returns the parities with which a keyboard would send this byte."""
    even: list[Parity] = ["even"] if byte == even_parity(byte) else []
    return frozenset([*even, "mark" if byte & 0x80 else "space"])
