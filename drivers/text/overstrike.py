"""Bold and underline as a typewriter does them: `X\\bX`, `_\\bX`, `X\\b_`, or any one character over another.

A cell is a str: the glyph of the first pass over the paper, then those of the later passes. Knows the word that is
held back, and what waits for the end of the line; not where the carriage stands.
"""

from __future__ import annotations

from drivers.profile import TypeWheel

UNDERLINE = "\0"  # in a cell, until it is known what else is there
_MAX_PASSES = 8  # passes; the paper holds no more


class PendingWord:
    """The word that is held back, cell by cell, and how far backspaces have gone back in it."""

    def __init__(self, wheel: TypeWheel) -> None:
        self._wheel = wheel
        self._cells: list[str] = []
        self._last_width = 0  # cells of the last character, which is how far a backspace goes
        self.back_offset = 0  # from the end of the word to where the next character goes

    def __len__(self) -> int:
        return len(self._cells)

    def append(self, glyph: str) -> None:
        self._cells.append(glyph)

    def note_typed(self, glyphs: str) -> None:
        """The glyphs of the last character that went over no other."""
        self._last_width = 0 if glyphs == "\n" else len(glyphs.strip()) or 1
        self.back_offset = 0

    def backspace(self, limit: int) -> None:
        """One backspace, but no further from the end of the word than so many cells."""
        self.back_offset = min(self.back_offset + self._last_width, limit)

    def overstrike(self, glyphs: str) -> tuple[str, dict[int, str]]:
        """Puts the glyphs of one character over those that stand there.

        Returns the glyphs that reach beyond the end of the word, and those that belong before its beginning, where
        a word was flushed before it was whole: by column, counted from there, so negative.
        """
        line = glyphs == UNDERLINE
        glyphs = glyphs * self._last_width if line else glyphs.strip() or " "
        at, backed = len(self._cells) - self.back_offset, self.back_offset
        self.back_offset = max(0, backed - max(len(glyphs), self._last_width))
        before = {at + offset: glyph for offset, glyph in enumerate(glyphs[:backed]) if self._has_ink(glyph)}
        for place in [place for place in before if place >= 0]:
            self._cells[place] = (self._cells[place] + before.pop(place))[:_MAX_PASSES]
        return "" if line else glyphs[backed:], before

    def take_cells(self) -> list[str]:
        """The cells; the word is empty then."""
        cells, self._cells = self._cells, []
        return [self._resolve_underline(cell) for cell in cells]

    def clear(self) -> None:
        """Nothing stands here, and nothing before it."""
        self._cells = []
        self._last_width = self.back_offset = 0

    def _has_ink(self, glyph: str) -> bool:
        return glyph != " " and not (glyph == UNDERLINE and self._wheel == "1963")  # an arrow there

    def _resolve_underline(self, cell: str) -> str:
        """The underline last, so that a line of them is one pass; alone on the wheel of 1963 it is a dash."""
        if UNDERLINE not in cell:
            return cell
        glyphs = cell.replace(UNDERLINE, "")
        if self._wheel == "1963":
            return glyphs or "-"
        return glyphs + "_" * (len(cell) - len(glyphs))


class OverstrikePasses:
    """What the later passes over a line strike, by column."""

    def __init__(self) -> None:
        self._glyphs_by_column: dict[int, str] = {}

    def add(self, column: int, glyphs: str) -> None:
        """Glyphs over the one in this column, a pass each."""
        over = self._glyphs_by_column.get(column, "") + glyphs.replace(UNDERLINE, "_")
        self._glyphs_by_column[column] = over[: _MAX_PASSES - 1]

    def clear(self) -> None:
        self._glyphs_by_column = {}

    def take_rows(self) -> list[str]:
        """The passes from the left margin, each no longer than its last glyph; none is left then."""
        over, self._glyphs_by_column = self._glyphs_by_column, {}
        rows = []
        for depth in range(max(map(len, over.values()), default=0)):
            glyphs = {column: cell[depth] for column, cell in over.items() if len(cell) > depth}
            rows.append("".join(glyphs.get(column, " ") for column in range(max(glyphs) + 1)))
        return rows
