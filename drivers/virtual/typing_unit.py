"""The typing unit: it takes bytes with their start times, prints them, and counts the errors of the driver.

The carriage travels, glyphs pile up in the last column, and glyphs are smeared during a carriage return. Knows no line
and no keyboard; punch, reader and drum belong to `teletype_sim`. The wheel of 1963 has arrows at 0x5E and 0x5F; the
sheet keeps `^` and `_` for both wheels, and `profile.wheel` tells how to draw them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from drivers.clock import CHARACTER_S
from drivers.paper.paper import BEL, CR, LF, RUBOUT, Paper, glyph_of
from drivers.profile import PITCH, Profile, pitch_of
from drivers.text.charset import even_parity
from drivers.virtual.mechanics import BOUNCE_S, STRIKE_DELAY_S, TYPICAL, Mechanism

ENQ, DC1, DC2, DC3, DC4 = 0x05, 0x11, 0x12, 0x13, 0x14
_EPSILON_S = 1e-6  # floating point, no early byte
_MAX_STRIKES = 100_000  # nearly three hours of paper


@dataclass(frozen=True, slots=True)
class Strike:
    """A byte (7 bits) that the mechanism has received, and the column of the carriage then."""

    start: float
    byte: int
    column: int
    smeared: bool = False  # struck during a carriage return
    piled_up: bool = False  # over another glyph, in the last column
    bounced: bool = False  # struck at home, while the carriage may still bounce
    ignored: bool = False  # a function whose lever is coded for the other parity bit
    local: bool = False  # made by this machine's own keyboard, reader or drum


class TypingUnit:
    """One typing unit with the options of the profile; `columns` overrides the profile's.

    `coded_levers`: the levers of CR, LF and BEL are coded for level 8 too, and ignore a byte with odd parity - Bulletin
    310B 574-122-100TC, "on units with parity do not break off the no. 8 tines". `bell_columns`: columns, counted from
    1, at which the machine rings by itself.
    """

    def __init__(
        self,
        columns: int | None = None,
        *,
        character_s: float = CHARACTER_S,
        mechanism: Mechanism = TYPICAL,
        profile: Profile = Profile(),  # noqa: B008 - frozen
        coded_levers: bool = False,
        bell_columns: tuple[int, ...] = (),
    ) -> None:
        self.profile = profile
        self.mechanism = mechanism
        self.paper = Paper(profile.columns if columns is None else columns)
        self.column = 0
        self.strike_count = 0  # all bytes received, also those no longer in `strikes`
        self.open_line_cycles = 0  # cycles run with an open line, heard as chatter
        self.bells_rung: list[tuple[float, int]] = []  # time and column of each bell, by itself or by BEL
        self.strikes: deque[Strike] = deque(maxlen=_MAX_STRIKES)
        self.smeared: list[Strike] = []
        self.piled_up: list[Strike] = []
        self.forbidden: list[Strike] = []
        self.overspeed: list[Strike] = []
        self.bounced: list[Strike] = []  # for the operator of a machine in bad order; no error of the driver
        self.ignored: list[Strike] = []
        self._coded_levers = coded_levers
        self._bell_columns = frozenset(bell_columns)
        self._character_s = character_s
        self._mass = 1.0 if character_s else 0.0  # a machine without pacing has a carriage without mass
        self._allowed_controls = _allowed_controls_of(profile)
        self._last_start = float("-inf")  # of a byte from the line
        self._return_started_at = float("-inf")  # the last CR: its time and column
        self._return_from_column = 0

    @property
    def driver_errors(self) -> list[Strike]:
        """All errors of the driver. Errors of the operator do not count."""
        return self.smeared + self.piled_up + self.forbidden + self.overspeed

    def receive(self, byte: int, start: float, *, local: bool = False, punching: bool = False) -> Strike:
        """Takes one byte whose start bit came at `start`. `punching`: the punch is on, and any byte is a row."""
        strike = self._perform(byte, start, start + STRIKE_DELAY_S * self._mass)
        if local:
            strike = replace(strike, local=True)
        else:
            self._record_errors(strike, start, punching)
        if strike.bounced:
            self.bounced.append(strike)
        if strike.ignored:
            self.ignored.append(strike)
        self.strikes.append(strike)
        self.strike_count += 1
        return strike

    def run_open_line(self) -> None:
        """Runs one cycle on a line without current: all bits spacing, nothing printed, only noise."""
        self.open_line_cycles += 1

    def _perform(self, byte: int, start: float, struck_at: float) -> Strike:
        bits = byte & 0x7F
        if glyph := glyph_of(bits):
            return self._print_glyph(glyph, bits, start, struck_at)
        strike = Strike(start, bits, self.column)
        if bits not in (CR, LF, BEL):
            return strike
        if self._coded_levers and byte != even_parity(bits):
            return replace(strike, ignored=True)
        if bits == BEL:
            self._ring_bell(start)
        if bits == LF or (self.profile.return_feeds and bits == CR):
            self.paper.line_feed()
        if bits == CR or (self.profile.feed_returns and bits == LF):
            self._return_carriage(struck_at)
        return strike

    def _print_glyph(self, glyph: str, bits: int, start: float, struck_at: float) -> Strike:
        home_at = self._home_at()
        if home_at - struck_at > _EPSILON_S:  # it spaces only once the carriage is home, so this glyph does not move it
            share = min(1.0, (home_at - struck_at) / (home_at - self._return_started_at))
            column = min(round(self._return_from_column * share), self.paper.columns - 1)
            self.paper.strike(glyph, column)
            return Strike(start, bits, column, smeared=True)
        full = self.column >= self.paper.columns
        column = min(self.column, self.paper.columns - 1)
        self.paper.strike(glyph, column)
        self.column = self.paper.column = column + 1
        bounced = bool(self._mass) and struck_at < home_at + BOUNCE_S - _EPSILON_S
        self._handle_margin(start, struck_at, full)
        return Strike(start, bits, column, piled_up=full, bounced=bounced)

    def _handle_margin(self, start: float, struck_at: float, full: bool) -> None:
        if self.column in self._bell_columns and not full:
            self._ring_bell(start)
        if self.profile.auto_return and self.column == self.paper.columns:
            # In the same cycle in which the last character is struck - Bulletin 310B 574-122-100TC 4.109 to 4.111.
            self.paper.line_feed()
            self._return_carriage(struck_at)

    def _home_at(self) -> float:
        column = self._return_from_column * PITCH / pitch_of(self.paper.columns)
        return self._return_started_at + self.mechanism.cr_travel_s(column) * self._mass

    def _return_carriage(self, struck_at: float) -> None:
        if struck_at >= self._home_at():  # a second CR during the return changes nothing
            self._return_started_at, self._return_from_column = struck_at, self.column
        self.column = self.paper.column = 0

    def _ring_bell(self, start: float) -> None:
        self.paper.bells += 1
        self.bells_rung.append((start, self.column))

    def _record_errors(self, strike: Strike, start: float, punching: bool) -> None:
        if strike.smeared:
            self.smeared.append(strike)
        if strike.piled_up:
            self.piled_up.append(strike)
        if strike.byte < 0x20 and strike.byte not in self._allowed_controls and not punching:
            self.forbidden.append(strike)
        if start < self._last_start + self._character_s - _EPSILON_S:
            self.overspeed.append(strike)
        self._last_start = start


def _allowed_controls_of(profile: Profile) -> frozenset[int]:
    """Returns the control codes that a driver may send to a machine with these options."""
    allowed = {0x00, BEL, LF, CR, RUBOUT}
    allowed |= {DC1, DC3} if profile.auto_reader else set()
    allowed |= {DC2, DC4} if profile.auto_punch else set()
    return frozenset(allowed | ({ENQ} if profile.answerback else set()))
