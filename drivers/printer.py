"""Text to strokes: folded to the type wheel, words wrapped whole, CR LF with the time the carriage needs.

Knows the physical column. Does not know when anything is struck: a stroke says how long the carriage will travel,
and whoever keeps the time waits that long.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.charset import fold
from drivers.paper import BEL, COLUMNS, CR, LF

# From the start of a CR to the start of the next printing character: one character time always, two more from the
# right margin - two fills after a function, Teletype Bulletin 310B 574-100-101TC 3.12.
RETURN_S = 0.100
TRAVEL_S = 0.200


@dataclass(frozen=True, slots=True)
class Stroke:
    """One byte (7 bits) for the machine, with the column where the carriage stands before it; None is unknown.

    `settle_s`, on a CR only: from its start until the start of the next character that spaces.
    """

    byte: int
    column: int | None
    settle_s: float = 0.0

    @property
    def spaces(self) -> bool:
        """Whether it moves the carriage: a glyph or the blank. Only these need a carriage at rest."""
        return self.byte >= 0x20


class Printer:
    """Words are held back until they are whole: one that does not fit goes to the next line."""

    def __init__(self, columns: int = COLUMNS, *, column: int | None = None, travel_s: float = TRAVEL_S) -> None:
        self._columns = columns
        self._travel_s = travel_s
        self._blanks = 0
        self._word = ""
        self._inked = False  # a CR was struck and its LF was not: at column 0, on a line that is not clean
        self.column = column

    @property
    def held(self) -> int:
        """How many characters are held back."""
        return self._blanks + len(self._word)

    def feed(self, text: str) -> list[Stroke]:
        """Everything up to the last word, which may go on in the next piece; the pieces may be cut anywhere."""
        strokes: list[Stroke] = []
        for char in fold(text):
            if char == "\n":
                strokes += self._release()
                strokes += self._new_line()
                self._blanks = 0
            elif char == " ":
                strokes += self._release()
                self._blanks += 1
            else:
                strokes += self._lengthen(char)
        return strokes

    def flush(self) -> list[Stroke]:
        """What was held back, the blanks after it included: a prompt ends in one."""
        strokes = self._release()
        if self._blanks:
            strokes += self._clean_line()
            strokes += self._put(" " * min(self._blanks, self._columns - (self.column or 0)))
            self._blanks = 0
        return strokes

    def echo(self, text: str) -> list[Stroke]:
        """Typed keys: nothing held back, no word kept whole, `\\a` rings."""
        strokes = self.flush()
        for char in text:
            if char == "\a":
                strokes += self.bell()
            else:
                for glyph in fold(char):
                    strokes += self._echo_one(glyph)
        return strokes

    def fresh_line(self) -> list[Stroke]:
        """To the left margin of a clean line; nothing if the carriage is there already."""
        strokes = self.flush()
        return strokes + (self._clean_line() if self.column == 0 else self._new_line())

    def bell(self) -> list[Stroke]:
        return [Stroke(BEL, self.column)]

    def forget(self, unstruck: list[Stroke]) -> None:
        """These strokes, the last ones given out, were never struck; what is held back goes with them."""
        moving = [stroke for stroke in unstruck if stroke.byte != BEL]
        if moving:
            self.column = moving[0].column
            self._inked = moving[0] == Stroke(LF, 0)  # after a blank line not so, but a second one harms nothing
        self._word = ""
        self._blanks = 0

    def _lengthen(self, char: str) -> list[Stroke]:
        if len(self._word) < self._columns:
            self._word += char
            return []
        strokes = self._release()  # longer than any line: cut, on a line of its own
        self._word = char
        return strokes

    def _release(self) -> list[Stroke]:
        if not self._word:
            return []
        strokes = self._clean_line()
        column = self.column or 0
        if column + self.held > self._columns:
            strokes += self._new_line() if column else []
            self._blanks = 0  # the blanks at a wrap would only indent the next line
        strokes += self._put(" " * self._blanks + self._word)
        self._word = ""
        self._blanks = 0
        return strokes

    def _echo_one(self, glyph: str) -> list[Stroke]:
        if glyph == "\n":
            return self._new_line()
        full = self.column is not None and self.column >= self._columns
        return (self._new_line() if full else self._clean_line()) + self._put(glyph)

    def _put(self, glyphs: str) -> list[Stroke]:
        column = self.column or 0
        self.column = column + len(glyphs)
        return [Stroke(ord(glyph), column + offset) for offset, glyph in enumerate(glyphs)]

    def _clean_line(self) -> list[Stroke]:
        """What it takes that the next glyph lands on no other: nothing, but after a start or a BREAK."""
        return self._new_line() if self.column is None or self._inked else []

    def _new_line(self) -> list[Stroke]:
        self._inked = False
        # CR first: the LF then hides a tenth of a second of the carriage's flight.
        before, self.column = self.column, 0
        if before == 0:
            return [Stroke(LF, 0)]
        return [Stroke(CR, before, self._settle_s(before)), Stroke(LF, 0)]

    def _settle_s(self, column: int | None) -> float:
        # Someone may have typed with the line in LOCAL: an unknown column is as far out as there is.
        return RETURN_S + self._travel_s * (COLUMNS if column is None else column) / COLUMNS
