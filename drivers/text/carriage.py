"""The carriage: its column, its travel time, and the strokes made on the current line.

Makes strokes for one function or one run of glyphs at a time. A stroke says how long the carriage travels; the
transmitter waits that long. Knows no words and no moments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.paper.paper import BEL, CR, LF, RUBOUT, glyph_of
from drivers.profile import Profile

Fill = Literal["idle", "rubout", "nul"]

_MIN_FILLS = 2  # on a tape after every function - Bulletin 310B 574-100-101TC 3.12
_FILL_BYTE: dict[Fill, int] = {"rubout": RUBOUT, "nul": 0x00}
_MAX_LINES = 4000  # kept in case their strokes are never struck: eight hours of paper
_MAX_LINE_STROKES = 20_000  # kept of one line: three hundred passes
_LOCAL_MARK = 0x80  # marks a byte that the machine printed from its own keyboard


@dataclass(frozen=True, slots=True)
class Stroke:
    """One byte (7 bits) for the machine, and the column of the carriage before it; None: unknown.

    `settle_s`: seconds from the start of a carriage return to the start of the next spacing character; otherwise 0.
    `is_overprint`: it is struck over glyphs of the same text, in a later pass over the line.
    """

    byte: int
    column: int | None
    settle_s: float = 0.0
    is_overprint: bool = False

    @property
    def is_spacing(self) -> bool:
        """Whether the stroke is a glyph or the blank. Only these strokes need a carriage at rest."""
        return 0x20 <= self.byte < RUBOUT


@dataclass(slots=True)
class _PaperLine:
    """One line of paper: the column at its start, and all strokes since; the last stroke ends it."""

    start: int | None
    strokes: bytearray = field(default_factory=bytearray)


class Carriage:
    """`column` and `is_clean` are the state after all strokes made so far.

    `fill` is sent while the carriage travels: nothing, or characters that make a replayable tape.
    """

    def __init__(self, profile: Profile, column: int | None) -> None:
        self.fill: Fill = "idle"
        self._profile = profile
        self._lines: deque[_PaperLine] = deque([_PaperLine(column)])
        self.column = column
        self._ink_end = 0  # column up to which this line has ink
        self._recompute_position()

    @property
    def is_clean(self) -> bool:
        """Whether the next glyph lands on no other glyph."""
        return self.column is not None and self.column >= self._ink_end

    def strike(self, glyphs: str, *, is_overprint: bool = False) -> list[Stroke]:
        """Returns strokes for glyphs that fit on the line, from the column, which must be known."""
        column = self.column or 0
        self.column = column + len(glyphs)
        self._ink_end = max(self._ink_end, column + len(glyphs.rstrip(" ")))
        self._lines[-1].strokes += glyphs.encode("ascii")
        return [Stroke(ord(glyph), column + offset, is_overprint=is_overprint) for offset, glyph in enumerate(glyphs)]

    def bell(self) -> list[Stroke]:
        return [self._function_stroke(BEL)]

    def carriage_return(self) -> list[Stroke]:
        """Returns the strokes to the left margin of the same line, for a second pass; none where CR feeds the paper."""
        if self.column == 0 or self._profile.return_feeds:
            return []
        return self._with_fill([self._function_stroke(CR)])

    def new_line(self) -> list[Stroke]:
        """Returns the strokes to the left margin of the next line."""
        if self.column == 0:
            return self._with_fill([self._function_stroke(LF)])
        strokes = [self._function_stroke(CR)]
        if not self._profile.return_feeds:  # CR first: the LF then hides a tenth of a second of its travel
            strokes.append(self._function_stroke(LF))
        return self._with_fill(strokes)

    def observe_byte(self, byte: int) -> float:
        """Records a byte that the machine printed by itself; returns its `settle_s`."""
        byte &= 0x7F
        settle_s = self._settle_s(byte)
        self._record(byte, _LOCAL_MARK)
        return settle_s

    def lose_track(self) -> None:
        """Makes column and line unknown."""
        self._lines = deque([_PaperLine(None)])
        self._recompute_position()

    def _function_stroke(self, byte: int) -> Stroke:
        stroke = Stroke(byte, self.column, self._settle_s(byte))
        self._record(byte)
        return stroke

    def _with_fill(self, functions: list[Stroke]) -> list[Stroke]:
        """Adds at least two fills, and enough to cover the travel of the carriage."""
        if self.fill == "idle":
            return functions
        travel_s = functions[0].settle_s - CHARACTER_S * len(functions)
        count = max(_MIN_FILLS, ceil(travel_s / CHARACTER_S - 1e-6))
        return functions + [self._function_stroke(_FILL_BYTE[self.fill]) for _ in range(count)]

    def _settle_s(self, byte: int) -> float:
        """Returns the seconds from the start of this byte until the carriage is home; 0 if it does not travel."""
        # The operator may have typed in LOCAL: an unknown column counts as the last one.
        column = self._profile.columns if self.column is None else self.column
        if glyph_of(byte):
            column += 1
            returns = self._profile.auto_return and self.column is not None and column >= self._profile.columns
        else:
            returns = byte == CR or (byte == LF and self._profile.feed_returns)
        return CHARACTER_S + self._profile.cr_travel_s(column) if returns and column else 0.0

    # The strokes of the last lines.

    def _record(self, byte: int, mark: int = 0) -> None:
        line = self._lines[-1]
        line.strokes.append(byte | mark)
        if len(line.strokes) > _MAX_LINE_STROKES:
            line.start = None
            del line.strokes[: _MAX_LINE_STROKES // 2]
        if self._move_carriage(byte):
            if len(self._lines) == _MAX_LINES:
                self._lines.popleft()
                self._lines[0].start = None  # the lines before it are forgotten
            self._lines.append(_PaperLine(self.column))

    def _move_carriage(self, byte: int) -> bool:
        """Moves the carriage as the machine does; returns whether the line ends."""
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
        self.column = min(self.column + 1, self._profile.columns)  # past the stop every glyph lands in the last cell
        if inked:
            self._ink_end = max(self._ink_end, self.column)
        if self._profile.auto_return and self.column == self._profile.columns:
            self.column = 0
            return True
        return False

    def forget_unstruck(self, unstruck: Sequence[Stroke]) -> None:
        """Removes the last strokes, which were never struck. Strokes that this carriage did not make are skipped."""
        bytes_left = [stroke.byte for stroke in unstruck]
        local_bytes = bytearray()
        while bytes_left:
            strokes = self._lines[-1].strokes
            if not strokes:
                if len(self._lines) == 1:
                    break
                self._lines.pop()
            elif strokes[-1] & _LOCAL_MARK:
                local_bytes.append(strokes.pop() & 0x7F)
            elif strokes[-1] == bytes_left.pop():
                strokes.pop()
        self._recompute_position()
        for byte in reversed(local_bytes):
            self._record(byte, _LOCAL_MARK)

    def _recompute_position(self) -> None:
        """Computes column and ink from the strokes of the last line."""
        line = self._lines[-1]
        self.column = line.start
        self._ink_end = self._profile.columns if line.start is None else line.start  # the worst case, on the first line
        for byte in line.strokes:
            self._move_carriage(byte & 0x7F)
