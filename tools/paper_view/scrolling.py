"""The paper in a terminal that scrolls: for each strike what is written there, at the column where it really fell.

Takes strikes, gives text with the cursor's moves in it (ECMA-48, which every terminal but a dumb one knows). A terminal
narrower than the sheet has a line of it on several rows. Knows no terminal, and not how wide one is until it is told.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.paper.paper import BEL, Paper, glyph_of
from drivers.profile import Profile
from drivers.virtual import Strike

_ARROWS = str.maketrans("^_", "↑←")


def visible_glyph(cell: str) -> tuple[str, bool, bool]:
    """What a terminal can show of a cell: one glyph or a blank, whether it is bold, whether it is underlined.

    Ink upon ink is blacker, so it is bold; of different glyphs the last is seen, and `_` is a line under another.
    """
    inks = cell.replace(" ", "")
    others = inks.replace("_", "") or inks
    return others[-1:] or " ", len(others) > 1, others != inks


class ScrollingPaper:
    """The foot of a sheet in such a machine, and the cursor, which stands where the carriage is."""

    def __init__(self, profile: Profile, width: int) -> None:
        self._paper = Paper.for_profile(profile)
        self._has_arrows = profile.wheel == "1963"
        self._width = max(1, width)
        self._row_count = 1  # of the terminal, that the line being struck has had so far
        self._cursor_row = 0  # the one of them with the cursor in it
        self._cursor_column = (
            0  # the cursor's column; after the last of a row a terminal has its own idea, and it is sent for
        )

    def render_strike(self, strike: Strike, width: int) -> str:
        """What is written for a strike. A terminal that has become wider is heeded from the next line on."""
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
        """The line being struck is wiped out, and something else may stand in its place; `again` draws it below."""
        text = self._move_to_column(0) + "\x1b[J"
        self._row_count = 1
        return text

    def redraw_line(self) -> str:
        """The line being struck, on rows that are blank, with the cursor at the start of the first."""
        line = self._paper.lines[-1]
        inked = (column for column, cell in enumerate(line) if cell.strip())
        return "".join(self._render_cell(line, column) for column in inked) + self._move_to_column(self._paper.column)

    def leave_line(self) -> str:
        """The cursor goes to a row of its own, below all that is struck."""
        blank = not any(cell.strip() for cell in self._paper.lines[-1])
        return self._move_to_column(0) if blank else self._feed_line(self._width)

    def _render_cell(self, line: Sequence[str], column: int) -> str:
        glyph, bold, underlined = visible_glyph(line[column])
        if self._has_arrows:
            glyph = glyph.translate(_ARROWS)
        style = ";".join(code for code, on in (("1", bold), ("4", underlined)) if on)
        text = self._move_to_column(column) + (f"\x1b[{style}m{glyph}\x1b[m" if style else glyph)
        self._cursor_column = column % self._width + 1
        return text

    def _move_to_column(self, column: int) -> str:
        """A carriage in its last column, or held there with the line full, is the same to the eye."""
        row, at = divmod(min(column, self._paper.columns - 1), self._width)
        text = self._move_to_row(row)
        if at != self._cursor_column:
            text += f"\x1b[{at + 1}G" if at else "\r"
        self._cursor_column = at
        return text

    def _move_to_row(self, row: int) -> str:
        there = min(row, self._row_count - 1)
        text = f"\x1b[{there - self._cursor_row}B" if there > self._cursor_row else ""
        text += f"\x1b[{self._cursor_row - there}A" if there < self._cursor_row else ""
        if row > there:  # a row is new only if the terminal scrolls for it
            text += "\n" * (row - there)
            self._cursor_column, self._row_count = 0, row + 1
        self._cursor_row = row
        return text

    def _feed_line(self, width: int) -> str:
        text = self._move_to_row(self._row_count - 1) + "\n"
        self._width, self._row_count, self._cursor_row, self._cursor_column = max(1, width), 1, 0, 0
        return text
