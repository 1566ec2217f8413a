"""The carriage: where it stands, how long it travels home, and what was given out on the line under it.

Gives strokes out one function or one run of glyphs at a time. Does not know words, nor when anything is struck: a
stroke says how long the carriage will travel, and whoever keeps the time waits that long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from drivers.paper import BEL, CR, LF, RUBOUT, glyph_of
from drivers.profile import Profile

Fill = Literal["idle", "rubout", "nul"]

CYCLE_S = 0.100  # one function; a CR takes it even from the left margin - Bulletin 310B 574-122-100TC 3.02
_FILLS = 2  # on a tape after every function - Bulletin 310B 574-100-101TC 3.12
_FILL_BYTE: dict[Fill, int] = {"rubout": RUBOUT, "nul": 0x00}
_LINES = 4000  # kept for what is given out and never struck: eight hours of paper
_ROOM = 20_000  # strokes kept of one line: three hundred passes
_BY_ITSELF = 0x80  # marks a byte that the machine printed from its own keyboard


@dataclass(frozen=True, slots=True)
class Stroke:
    """One byte (7 bits) for the machine, with the column where the carriage stands before it; None is unknown.

    `settle_s`, where the carriage flies home: from its start until the start of the next character that spaces.
    """

    byte: int
    column: int | None
    settle_s: float = 0.0

    @property
    def spaces(self) -> bool:
        """Whether it moves the carriage: a glyph or the blank. Only these need a carriage at rest."""
        return 0x20 <= self.byte < RUBOUT


@dataclass(slots=True)
class _Line:
    """One line of paper: where the carriage stood when it came up, and all strokes since, the last ends it."""

    start: int | None
    strokes: bytearray = field(default_factory=bytearray)


class Carriage:
    """`column` and `clean` are as they will be when all that was given out is struck.

    `fill` is what goes out while the carriage flies: nothing, or characters where the tape must be replayable.
    """

    def __init__(self, profile: Profile, column: int | None) -> None:
        self.fill: Fill = "idle"
        self._profile = profile
        self._lines: deque[_Line] = deque([_Line(column)])
        self.column = column
        self._ink = 0  # how far to the right this line has ink
        self._stand()

    @property
    def clean(self) -> bool:
        """Whether the next glyph lands on no other."""
        return self.column is not None and self.column >= self._ink

    def strike(self, glyphs: str) -> list[Stroke]:
        """Glyphs from where the carriage stands, which must be known; they must fit."""
        column = self.column or 0
        self.column = column + len(glyphs)
        self._ink = max(self._ink, column + len(glyphs.rstrip(" ")))
        self._lines[-1].strokes += glyphs.encode("ascii")
        return [Stroke(ord(glyph), column + offset) for offset, glyph in enumerate(glyphs)]

    def bell(self) -> list[Stroke]:
        return [self._function(BEL)]

    def back(self) -> list[Stroke]:
        """To the left margin of the same line, for a second pass; where CR feeds the paper there is none."""
        if self.column == 0 or self._profile.return_feeds:
            return []
        return self._filled([self._function(CR)])

    def new_line(self) -> list[Stroke]:
        """To the left margin of the next line."""
        if self.column == 0:
            return self._filled([self._function(LF)])
        strokes = [self._function(CR)]
        if not self._profile.return_feeds:  # CR first: the LF then hides a tenth of a second of the carriage's flight
            strokes.append(self._function(LF))
        return self._filled(strokes)

    def observe(self, byte: int) -> float:
        """A byte that the machine printed by itself; says how long the carriage then travels, from its start."""
        byte &= 0x7F
        settle_s = self._settle_s(byte)
        self._log(byte, _BY_ITSELF)
        return settle_s

    def lost_track(self) -> None:
        """The carriage may stand anywhere, on any line."""
        self._lines = deque([_Line(None)])
        self._stand()

    def _function(self, byte: int) -> Stroke:
        stroke = Stroke(byte, self.column, self._settle_s(byte))
        self._log(byte)
        return stroke

    def _filled(self, functions: list[Stroke]) -> list[Stroke]:
        """At least two fills, and so many that the carriage is home when they are through."""
        if self.fill == "idle":
            return functions
        flight_s = functions[0].settle_s - CYCLE_S * len(functions)
        count = max(_FILLS, ceil(flight_s / CYCLE_S - 1e-6))
        return functions + [self._function(_FILL_BYTE[self.fill]) for _ in range(count)]

    def _settle_s(self, byte: int) -> float:
        """How long from the start of this byte until the carriage is home; 0 if it does not fly."""
        # Someone may have typed with the line in LOCAL: an unknown column is as far out as there is.
        column = self._profile.columns if self.column is None else self.column
        if glyph_of(byte):
            column += 1
            flies = self._profile.auto_return and self.column is not None and column >= self._profile.columns
        else:
            flies = byte == CR or (byte == LF and self._profile.feed_returns)
        return CYCLE_S + self._profile.flight_s(column) if flies and column else 0.0

    # What was given out.

    def _log(self, byte: int, mark: int = 0) -> None:
        line = self._lines[-1]
        line.strokes.append(byte | mark)
        if len(line.strokes) > _ROOM:
            line.start = None
            del line.strokes[: _ROOM // 2]
        if self._follow(byte):
            if len(self._lines) == _LINES:
                self._lines.popleft()
                self._lines[0].start = None  # nobody can say any more what comes before it
            self._lines.append(_Line(self.column))

    def _follow(self, byte: int) -> bool:
        """Moves the carriage as the machine does; says whether a line ends."""
        if byte == CR:
            self.column = 0
            ended = self._profile.return_feeds
        elif byte == LF:
            self.column = 0 if self._profile.feed_returns else self.column
            ended = True
        else:
            ended = bool(glyph_of(byte)) and self._space(inked=byte & 0x5F != 0)
        self._ink = 0 if ended else self._ink
        return ended

    def _space(self, *, inked: bool) -> bool:
        if self.column is None:
            return False
        self.column = min(self.column + 1, self._profile.columns)  # past the stop everything lands in the last cell
        if inked:
            self._ink = max(self._ink, self.column)
        if self._profile.auto_return and self.column == self._profile.columns:
            self.column = 0
            return True
        return False

    def forget(self, unstruck: Sequence[Stroke]) -> None:
        """These strokes, the last ones given out, were never struck; what is not ours among them is passed over."""
        wanted = [stroke.byte for stroke in unstruck]
        by_itself = bytearray()
        while wanted:
            strokes = self._lines[-1].strokes
            if not strokes:
                if len(self._lines) == 1:
                    break
                self._lines.pop()
            elif strokes[-1] & _BY_ITSELF:
                by_itself.append(strokes.pop() & 0x7F)
            elif strokes[-1] == wanted.pop():
                strokes.pop()
        self._stand()
        for byte in reversed(by_itself):
            self._log(byte, _BY_ITSELF)

    def _stand(self) -> None:
        """Finds column and ink anew from the last line."""
        line = self._lines[-1]
        self.column = line.start
        self._ink = self._profile.columns if line.start is None else line.start  # the worst, on the first line
        for byte in line.strokes:
            self._follow(byte & 0x7F)
