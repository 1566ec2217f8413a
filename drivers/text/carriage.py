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

from drivers.paper.paper import BEL, CR, LF, RUBOUT, glyph_of
from drivers.profile import Profile

Fill = Literal["idle", "rubout", "nul"]

CYCLE_S = 0.100  # one function; a CR takes it even from the left margin - Bulletin 310B 574-122-100TC 3.02
_MIN_FILLS = 2  # on a tape after every function - Bulletin 310B 574-100-101TC 3.12
_FILL_BYTE: dict[Fill, int] = {"rubout": RUBOUT, "nul": 0x00}
_MAX_LINES = 4000  # kept for what is given out and never struck: eight hours of paper
_MAX_LINE_STROKES = 20_000  # strokes kept of one line: three hundred passes
_LOCAL_MARK = 0x80  # marks a byte that the machine printed from its own keyboard


@dataclass(frozen=True, slots=True)
class Stroke:
    """One byte (7 bits) for the machine, with the column where the carriage stands before it; None is unknown.

    `settle_s`, where the carriage flies home: from its start until the start of the next character that spaces.
    """

    byte: int
    column: int | None
    settle_s: float = 0.0

    @property
    def is_spacing(self) -> bool:
        """Whether it moves the carriage: a glyph or the blank. Only these need a carriage at rest."""
        return 0x20 <= self.byte < RUBOUT


@dataclass(slots=True)
class _PaperLine:
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
        self._lines: deque[_PaperLine] = deque([_PaperLine(column)])
        self.column = column
        self._ink_end = 0  # how far to the right this line has ink
        self._recompute_position()

    @property
    def is_clean(self) -> bool:
        """Whether the next glyph lands on no other."""
        return self.column is not None and self.column >= self._ink_end

    def strike(self, glyphs: str) -> list[Stroke]:
        """Glyphs from where the carriage stands, which must be known; they must fit."""
        column = self.column or 0
        self.column = column + len(glyphs)
        self._ink_end = max(self._ink_end, column + len(glyphs.rstrip(" ")))
        self._lines[-1].strokes += glyphs.encode("ascii")
        return [Stroke(ord(glyph), column + offset) for offset, glyph in enumerate(glyphs)]

    def bell(self) -> list[Stroke]:
        return [self._function_stroke(BEL)]

    def carriage_return(self) -> list[Stroke]:
        """To the left margin of the same line, for a second pass; where CR feeds the paper there is none."""
        if self.column == 0 or self._profile.return_feeds:
            return []
        return self._with_fill([self._function_stroke(CR)])

    def new_line(self) -> list[Stroke]:
        """To the left margin of the next line."""
        if self.column == 0:
            return self._with_fill([self._function_stroke(LF)])
        strokes = [self._function_stroke(CR)]
        if not self._profile.return_feeds:  # CR first: the LF then hides a tenth of a second of the carriage's flight
            strokes.append(self._function_stroke(LF))
        return self._with_fill(strokes)

    def observe_byte(self, byte: int) -> float:
        """A byte that the machine printed by itself; says how long the carriage then travels, from its start."""
        byte &= 0x7F
        settle_s = self._settle_s(byte)
        self._record(byte, _LOCAL_MARK)
        return settle_s

    def lose_track(self) -> None:
        """The carriage may stand anywhere, on any line."""
        self._lines = deque([_PaperLine(None)])
        self._recompute_position()

    def _function_stroke(self, byte: int) -> Stroke:
        stroke = Stroke(byte, self.column, self._settle_s(byte))
        self._record(byte)
        return stroke

    def _with_fill(self, functions: list[Stroke]) -> list[Stroke]:
        """At least two fills, and so many that the carriage is home when they are through."""
        if self.fill == "idle":
            return functions
        flight_s = functions[0].settle_s - CYCLE_S * len(functions)
        count = max(_MIN_FILLS, ceil(flight_s / CYCLE_S - 1e-6))
        return functions + [self._function_stroke(_FILL_BYTE[self.fill]) for _ in range(count)]

    def _settle_s(self, byte: int) -> float:
        """How long from the start of this byte until the carriage is home; 0 if it does not fly."""
        # Someone may have typed with the line in LOCAL: an unknown column is as far out as there is.
        column = self._profile.columns if self.column is None else self.column
        if glyph_of(byte):
            column += 1
            flies = self._profile.auto_return and self.column is not None and column >= self._profile.columns
        else:
            flies = byte == CR or (byte == LF and self._profile.feed_returns)
        return CYCLE_S + self._profile.cr_travel_s(column) if flies and column else 0.0

    # What was given out.

    def _record(self, byte: int, mark: int = 0) -> None:
        line = self._lines[-1]
        line.strokes.append(byte | mark)
        if len(line.strokes) > _MAX_LINE_STROKES:
            line.start = None
            del line.strokes[: _MAX_LINE_STROKES // 2]
        if self._move_carriage(byte):
            if len(self._lines) == _MAX_LINES:
                self._lines.popleft()
                self._lines[0].start = None  # nobody can say any more what comes before it
            self._lines.append(_PaperLine(self.column))

    def _move_carriage(self, byte: int) -> bool:
        """Moves the carriage as the machine does; says whether a line ends."""
        if byte == CR:
            self.column = 0
            ended = self._profile.return_feeds
        elif byte == LF:
            self.column = 0 if self._profile.feed_returns else self.column
            ended = True
        else:
            ended = bool(glyph_of(byte)) and self._advance(inked=byte & 0x5F != 0)
        self._ink_end = 0 if ended else self._ink_end
        return ended

    def _advance(self, *, inked: bool) -> bool:
        if self.column is None:
            return False
        self.column = min(self.column + 1, self._profile.columns)  # past the stop everything lands in the last cell
        if inked:
            self._ink_end = max(self._ink_end, self.column)
        if self._profile.auto_return and self.column == self._profile.columns:
            self.column = 0
            return True
        return False

    def forget_unstruck(self, unstruck: Sequence[Stroke]) -> None:
        """These strokes, the last ones given out, were never struck; what is not ours among them is passed over."""
        wanted = [stroke.byte for stroke in unstruck]
        by_itself = bytearray()
        while wanted:
            strokes = self._lines[-1].strokes
            if not strokes:
                if len(self._lines) == 1:
                    break
                self._lines.pop()
            elif strokes[-1] & _LOCAL_MARK:
                by_itself.append(strokes.pop() & 0x7F)
            elif strokes[-1] == wanted.pop():
                strokes.pop()
        self._recompute_position()
        for byte in reversed(by_itself):
            self._record(byte, _LOCAL_MARK)

    def _recompute_position(self) -> None:
        """Finds column and ink anew from the last line."""
        line = self._lines[-1]
        self.column = line.start
        self._ink_end = self._profile.columns if line.start is None else line.start  # the worst, on the first line
        for byte in line.strokes:
            self._move_carriage(byte & 0x7F)
