"""Bold and underline as a typewriter makes them: `X\\bX`, `_\\bX`, `X\\b_`, or any character over another.

A cell is a str: the glyph of the first pass over the paper, then the glyphs of later passes. Knows the held-back word
and the passes due at the end of the line; not the column of the carriage.
"""

from __future__ import annotations

from drivers.profile import TypeWheel

UNDERLINE = "\0"  # in a cell, until its other glyphs are known
_MAX_PASSES = 8  # passes over one line; the paper bears no more


class PendingWord:
    """The held-back word, cell by cell, and how far backspaces have gone back in it."""

    def __init__(self, wheel: TypeWheel) -> None:
        self._wheel = wheel
        self._cells: list[str] = []
        self._last_width = 0  # cells of the last character, the distance of one backspace
        self.back_offset = 0  # cells from the end of the word back to the next character

    def __len__(self) -> int:
        return len(self._cells)

    def append(self, glyph: str) -> None:
        self._cells.append(glyph)

    def note_typed(self, glyphs: str) -> None:
        """Records the width of the last character, which was struck over no other."""
        self._last_width = 0 if glyphs == "\n" else len(glyphs.strip()) or 1
        self.back_offset = 0

    def backspace(self, limit: int) -> None:
        """Goes back by the last character, at most `limit` cells from the end of the word."""
        self.back_offset = min(self.back_offset + self._last_width, limit)

    def overstrike(self, glyphs: str) -> tuple[str, dict[int, str]]:
        """Puts the glyphs of one character over the cells that backspaces have gone back to.

        Returns the glyphs beyond the end of the word, and by their column the glyphs before its beginning, where part
        of the word was flushed. These columns are counted from the beginning of the word, so they are negative.
        """
        is_underline = glyphs == UNDERLINE
        glyphs = glyphs * self._last_width if is_underline else glyphs.strip() or " "
        start, back_offset = len(self._cells) - self.back_offset, self.back_offset
        self.back_offset = max(0, back_offset - max(len(glyphs), self._last_width))
        before = {start + at: glyph for at, glyph in enumerate(glyphs[:back_offset]) if self._has_ink(glyph)}
        for index in [index for index in before if index >= 0]:
            self._cells[index] = (self._cells[index] + before.pop(index))[:_MAX_PASSES]
        return "" if is_underline else glyphs[back_offset:], before

    def take_cells(self) -> list[str]:
        """Returns the cells, and empties the word."""
        cells, self._cells = self._cells, []
        return [self._resolve_underline(cell) for cell in cells]

    def clear(self) -> None:
        """Forgets the word and the characters before it."""
        self._cells = []
        self._last_width = self.back_offset = 0

    def _has_ink(self, glyph: str) -> bool:
        return glyph != " " and not (glyph == UNDERLINE and self._wheel == "1963")  # an arrow on that wheel

    def _resolve_underline(self, cell: str) -> str:
        """Puts the underline last, so that a line of them is one pass; alone on the wheel of 1963 it is a dash."""
        if UNDERLINE not in cell:
            return cell
        glyphs = cell.replace(UNDERLINE, "")
        if self._wheel == "1963":
            return glyphs or "-"
        return glyphs + "_" * (len(cell) - len(glyphs))


class OverstrikePasses:
    """The glyphs of the later passes over a line, by column."""

    def __init__(self) -> None:
        self._glyphs_by_column: dict[int, str] = {}

    def add(self, column: int, glyphs: str) -> None:
        """Adds glyphs over the one in this column, a pass each."""
        cell = self._glyphs_by_column.get(column, "") + glyphs.replace(UNDERLINE, "_")
        self._glyphs_by_column[column] = cell[: _MAX_PASSES - 1]

    def clear(self) -> None:
        self._glyphs_by_column = {}

    def take_rows(self) -> list[str]:
        """Returns the passes from the left margin, each up to its last glyph, and forgets them."""
        cells, self._glyphs_by_column = self._glyphs_by_column, {}
        rows = []
        for depth in range(max(map(len, cells.values()), default=0)):
            glyphs = {column: cell[depth] for column, cell in cells.items() if len(cell) > depth}
            rows.append("".join(glyphs.get(column, " ") for column in range(max(glyphs) + 1)))
        return rows
