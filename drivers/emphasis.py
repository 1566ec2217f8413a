"""Bold and underline as a typewriter does them: `X\\bX`, `_\\bX`, `X\\b_`, or any one character over another.

A cell is a str: the glyph of the first pass over the paper, then those of the later passes. Knows the word that is
held back, and what waits for the end of the line; not where the carriage stands.
"""

from __future__ import annotations

from drivers.profile import Wheel

UNDERLINE = "\0"  # in a cell, until it is known what else is there
_DEEPEST = 8  # passes; the paper holds no more


class Word:
    """The word that is held back, cell by cell, and how far backspaces have gone back in it."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._cells: list[str] = []
        self._width = 0  # cells of the last character, which is how far a backspace goes
        self.backed = 0  # from the end of the word to where the next character goes

    def __len__(self) -> int:
        return len(self._cells)

    def append(self, glyph: str) -> None:
        self._cells.append(glyph)

    def typed(self, glyphs: str) -> None:
        """The glyphs of the last character that went over no other."""
        self._width = 0 if glyphs == "\n" else len(glyphs.strip()) or 1
        self.backed = 0

    def back(self, most: int) -> None:
        """One backspace, but no further from the end of the word than so many cells."""
        self.backed = min(self.backed + self._width, most)

    def over(self, glyphs: str) -> tuple[str, dict[int, str]]:
        """Puts the glyphs of one character over those that stand there.

        Returns the glyphs that reach beyond the end of the word, and those that belong before its beginning, where
        a word was flushed before it was whole: by column, counted from there, so negative.
        """
        line = glyphs == UNDERLINE
        glyphs = glyphs * self._width if line else glyphs.strip() or " "
        at, backed = len(self._cells) - self.backed, self.backed
        self.backed = max(0, backed - max(len(glyphs), self._width))
        before = {at + offset: glyph for offset, glyph in enumerate(glyphs[:backed]) if self._has_ink(glyph)}
        for place in [place for place in before if place >= 0]:
            self._cells[place] = (self._cells[place] + before.pop(place))[:_DEEPEST]
        return "" if line else glyphs[backed:], before

    def take(self) -> list[str]:
        """The cells; the word is empty then."""
        cells, self._cells = self._cells, []
        return [self._inked(cell) for cell in cells]

    def forget(self) -> None:
        """Nothing stands here, and nothing before it."""
        self._cells = []
        self._width = self.backed = 0

    def _has_ink(self, glyph: str) -> bool:
        return glyph != " " and not (glyph == UNDERLINE and self._wheel == "1963")  # an arrow there

    def _inked(self, cell: str) -> str:
        """The underline last, so that a line of them is one pass; alone on the wheel of 1963 it is a dash."""
        if UNDERLINE not in cell:
            return cell
        glyphs = cell.replace(UNDERLINE, "")
        if self._wheel == "1963":
            return glyphs or "-"
        return glyphs + "_" * (len(cell) - len(glyphs))


class Passes:
    """What the later passes over a line strike, by column."""

    def __init__(self) -> None:
        self._over: dict[int, str] = {}

    def add(self, column: int, glyphs: str) -> None:
        """Glyphs over the one in this column, a pass each."""
        over = self._over.get(column, "") + glyphs.replace(UNDERLINE, "_")
        self._over[column] = over[: _DEEPEST - 1]

    def forget(self) -> None:
        self._over = {}

    def take(self) -> list[str]:
        """The passes from the left margin, each no longer than its last glyph; none is left then."""
        over, self._over = self._over, {}
        rows = []
        for depth in range(max(map(len, over.values()), default=0)):
            glyphs = {column: cell[depth] for column, cell in over.items() if len(cell) > depth}
            rows.append("".join(glyphs.get(column, " ") for column in range(max(glyphs) + 1)))
        return rows
