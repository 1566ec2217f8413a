"""The scrolling view: renders each strike as text with cursor moves (ECMA-48), at the column where it fell.

A terminal narrower than the sheet shows a line of paper on several rows. The terminal's width is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.paper.paper import BEL, Paper, glyph_of
from drivers.profile import Profile
from drivers.virtual import Strike

_ARROWS = str.maketrans("^_", "↑←")


def visible_glyph(cell: str) -> tuple[str, bool, bool]:
    """Returns the glyph that a terminal shows for a cell, or a blank; whether it is bold; whether it is underlined.

    A glyph struck twice is bold; of different glyphs the last one shows; `_` underlines another glyph.
    """
    struck = cell.replace(" ", "")
    glyphs = struck.replace("_", "") or struck
    return glyphs[-1:] or " ", len(glyphs) > 1, glyphs != struck


class ScrollingPaper:
    """The foot of a sheet, and the terminal's cursor, which follows the carriage."""

    def __init__(self, profile: Profile, width: int) -> None:
        self._paper = Paper.for_profile(profile)
        self._has_arrows = profile.wheel == "1963"
        self._width = max(1, width)
        self._row_count = 1  # rows of the terminal that the line being struck has used
        self._cursor_row = 0  # the row of the cursor among them
        # After the last column of a row terminals differ in where the cursor is, so it is moved explicitly.
        self._cursor_column = 0

    def render_strike(self, strike: Strike, width: int) -> str:
        """Returns the text to write for a strike. A new width counts from the next line on."""
        if strike.ignored:
            return ""
        lines = self._paper.lines
        struck, before = lines[-1], len(lines)
        if strike.smeared:
            self._paper.strike(glyph_of(strike.byte), strike.column)
        else:
            self._paper.feed(bytes((strike.byte,)))
        text = "\a" if strike.byte == BEL else ""
        if glyph_of(strike.byte).strip():
            text += self._render_cell(struck, strike.column)
        for _ in range(len(lines) - before):
            text += self._feed_line(width)
        return text + self._move_to_column(self._paper.column)

    def clear_line(self) -> str:
        """Erases the line being struck, to make room for a message; `redraw_line` draws it again below."""
        text = self._move_to_column(0) + "\x1b[J"
        self._row_count = 1
        return text

    def redraw_line(self) -> str:
        """Draws the line being struck on blank rows; the cursor is at the start of the first row."""
        line = self._paper.lines[-1]
        inked = (column for column, cell in enumerate(line) if cell.strip())
        return "".join(self._render_cell(line, column) for column in inked) + self._move_to_column(self._paper.column)

    def leave_line(self) -> str:
        """Moves the cursor to an empty row below the paper."""
        is_blank = not any(cell.strip() for cell in self._paper.lines[-1])
        return self._move_to_column(0) if is_blank else self._feed_line(self._width)

    def _render_cell(self, line: Sequence[str], column: int) -> str:
        glyph, bold, underlined = visible_glyph(line[column])
        if self._has_arrows:
            glyph = glyph.translate(_ARROWS)
        style = ";".join(code for code, on in (("1", bold), ("4", underlined)) if on)
        text = self._move_to_column(column) + (f"\x1b[{style}m{glyph}\x1b[m" if style else glyph)
        self._cursor_column = column % self._width + 1
        return text

    def _move_to_column(self, column: int) -> str:
        """Moves to a column; a carriage at the end of a full line shows in the last column."""
        row, at = divmod(min(column, self._paper.columns - 1), self._width)
        text = self._move_to_row(row)
        if at != self._cursor_column:
            text += f"\x1b[{at + 1}G" if at else "\r"
        self._cursor_column = at
        return text

    def _move_to_row(self, row: int) -> str:
        known_row = min(row, self._row_count - 1)
        text = f"\x1b[{known_row - self._cursor_row}B" if known_row > self._cursor_row else ""
        text += f"\x1b[{self._cursor_row - known_row}A" if known_row < self._cursor_row else ""
        if row > known_row:  # a new row needs a line feed, so that the terminal scrolls
            text += "\n" * (row - known_row)
            self._cursor_column, self._row_count = 0, row + 1
        self._cursor_row = row
        return text

    def _feed_line(self, width: int) -> str:
        text = self._move_to_row(self._row_count - 1) + "\n"
        self._width, self._row_count, self._cursor_row, self._cursor_column = max(1, width), 1, 0, 0
        return text
