"""The noise filter: whether the characters from the line come from a typist.

A typist's characters share one parity, are whole, and are keys of a keyboard. Each character that fits raises a score,
each that does not lowers it; there is one score for each parity that a keyboard may have, and the best one counts. A
serial port adds the speed: at 110 baud no more than ten characters a second can come. Data in, data out; the moment of
each character is an argument. Knows no queue and no paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.input.keyboard import parities_of
from drivers.profile import Parity
from drivers.text.charset import strip_parity

_PROVEN = 4.0  # score of clean characters after which ^D may end the session
_MAX_SCORE = 4.0
_NOISE_SCORE = -5.0  # noise that begins is found after about ten characters
_MIN_SCORE, _MIN_SCORE_OF_NOISE = -6.0, -24.0  # a new keyboard is known after 6 characters; noise is left after 24
_FITS, _USELESS, _DOES_NOT_FIT = 1.0, -1.0, -2.0
_RECOVERY_PER_S = 0.2  # of a negative score, while nothing comes
QUIET_S = 1.5  # a BREAK after so much silence is the operator's
_MAX_RATE = 12.0  # characters a second: 10 bits at 110 baud, and a UART 5 % fast
_MAX_BURST = 64.0  # characters that a FIFO, a USB chip or a stopped process may hold back and deliver at once
_USEFUL_CONTROLS = frozenset(b"\x03\x04\x07\x08\t\n\r\x11\x12\x13\x15\x17\x1b")  # that the editor or the queue obeys
_NEUTRAL = frozenset(b"\x00\x7f")  # leader and RUBOUT: what an open or a loose line sends too


@dataclass(slots=True)
class _TypedLine:
    """The characters since the last RETURN."""

    characters: int = 0
    suspects: int = 0
    was_queried: bool = False


class NoiseFilter:
    """`is_noisy`: what comes is noise, and no key. `count`: the characters that were taken for noise."""

    def __init__(self, *, is_serial: bool = False) -> None:
        """`is_serial`: a UART at 110 baud is before the driver, so no more than ten characters a second can come."""
        self.is_noisy = False
        self.count = 0
        self._is_serial = is_serial
        self._scores: dict[Parity, float] = {"even": 0.0, "mark": 0.0, "space": 0.0}
        self._has_suspects = False  # since the score was proven
        self._last_at = float("-inf")
        self._allowance = _MAX_BURST
        self._utf8_left = 0  # bytes that a character of UTF-8 still needs
        self._line = _TypedLine()

    @property
    def is_proven(self) -> bool:
        """Whether the last characters were clean ones."""
        return max(self._scores.values()) >= _PROVEN

    @property
    def is_unspoilt(self) -> bool:
        """Whether nothing suspect has come since the start, or since the last proof."""
        return not self._has_suspects

    def note_character(self, byte: int, at: float) -> bool:
        """Weighs a character of 8 bits that is no echo; returns whether it is noise."""
        self._let_time_pass(at)
        bits = strip_parity(byte)
        is_useless = bits < 0x20 and bits not in _USEFUL_CONTROLS and bits not in _NEUTRAL
        points: dict[Parity, float] = dict.fromkeys(self._scores, _DOES_NOT_FIT)
        for mode in parities_of(byte):
            points[mode] = 0.0 if bits in _NEUTRAL else _USELESS if is_useless else _FITS
        if (utf8_points := self._utf8_points(byte)) is not None:
            points["space"] = utf8_points  # a terminal's keyboard has no parity, and sends UTF-8
        for mode, change in points.items():
            self._add_to_score(mode, change)
        best = max(self._scores, key=self._scores.__getitem__)
        if points[best] < 0.0:
            self._note_suspect()
        else:
            self._line.characters += 1
        if self._is_too_fast():
            self._note_misfit()
            self.is_noisy = True
        return self._decide()

    def note_damaged(self, at: float) -> bool:
        """Weighs a character without its stop bits; returns whether it is noise."""
        self._let_time_pass(at)
        self._note_suspect()
        self._note_misfit()
        return self._decide()

    def note_break(self, at: float) -> None:
        """Records a BREAK: on a quiet line it is the operator's, and what follows is typed."""
        quiet_s = at - self._last_at
        self._let_time_pass(at)
        self._line = _TypedLine()
        if quiet_s > QUIET_S:
            self.is_noisy = False
            self._scores = {mode: max(0.0, score) for mode, score in self._scores.items()}

    def accepts_return(self) -> bool:
        """Returns whether a RETURN, already noted, may end this line; begins the next line if so.

        The first RETURN of a line that has as many suspect characters as clean ones is refused, the second is not.
        """
        line = self._line
        if line.suspects and line.suspects >= line.characters and not line.was_queried:
            line.was_queried = True
            return False
        self._line = _TypedLine()
        return True

    def _utf8_points(self, byte: int) -> float | None:
        """Returns the points of a byte inside of a character of UTF-8, or at its wrong end; None for other bytes."""
        left, self._utf8_left = self._utf8_left, 0
        if left and 0x80 <= byte < 0xC0:
            self._utf8_left = left - 1
            return 0.0 if self._utf8_left else _FITS
        if 0xC2 <= byte < 0xF5 and not left:
            self._utf8_left = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
            return 0.0
        return _DOES_NOT_FIT if left else None

    def _let_time_pass(self, at: float) -> None:
        quiet_s = max(0.0, at - self._last_at)
        self._last_at = at
        self._allowance = min(_MAX_BURST, self._allowance + quiet_s * _MAX_RATE)
        for mode, score in self._scores.items():
            if score < 0.0:
                self._scores[mode] = min(0.0, score + quiet_s * _RECOVERY_PER_S)

    def _is_too_fast(self) -> bool:
        if not self._is_serial:
            return False
        self._allowance = max(-1.0, self._allowance - 1.0)
        return self._allowance < 0.0

    def _note_suspect(self) -> None:
        self._line.suspects += 1
        self._line.was_queried = False
        self._has_suspects = True

    def _note_misfit(self) -> None:
        for mode in self._scores:
            self._add_to_score(mode, _DOES_NOT_FIT)

    def _add_to_score(self, mode: Parity, points: float) -> None:
        lowest = _MIN_SCORE_OF_NOISE if self.is_noisy else _MIN_SCORE
        self._scores[mode] = min(_MAX_SCORE, max(lowest, self._scores[mode] + points))

    def _decide(self) -> bool:
        best = max(self._scores.values())
        if best >= 0.0 and self._allowance >= 0.0:
            self.is_noisy = False
        elif best <= _NOISE_SCORE:
            self.is_noisy = True
        if best >= _PROVEN:
            self._has_suspects = False
        self.count += self.is_noisy
        return self.is_noisy
