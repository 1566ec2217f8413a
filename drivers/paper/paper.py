"""The sheet of paper: bytes to overstruck cells, for tests and for drawing.

Knows the column, not the time: `virtual` passes the column of a strike during a carriage return.
"""

from __future__ import annotations

from typing import Self

from drivers.profile import COLUMNS, Profile, TypeWheel

BEL, LF, CR, RUBOUT = 0x07, 0x0A, 0x0D, 0x7F

_ARROWS = str.maketrans("^_", "↑←")  # the glyphs of the wheel of 1963


def glyph_of(byte: int) -> str:
    """Returns the glyph of the type wheel for a byte: one character SP to 0x5F, or an empty string.

    The parity bit and bit 6 do not reach the wheel, so 0x60-0x7E print as 0x40-0x5E; RUBOUT prints nothing.
    """
    byte &= 0x7F
    if byte < 0x20 or byte == RUBOUT:
        return ""
    return chr(byte if byte < 0x60 else byte - 0x20)


class Paper:
    """A sheet that grows downwards; a cell holds all glyphs struck there, in order."""

    def __init__(
        self,
        columns: int = COLUMNS,
        *,
        auto_return: bool = False,
        return_feeds: bool = False,
        feed_returns: bool = False,
    ) -> None:
        """The options are those of a Profile: return and feed at the last column, CR feeds too, LF returns too."""
        self.columns = columns
        self.lines: list[list[str]] = [[]]
        self.column = 0  # equal to `columns`: the line is full, and the carriage stays at the right margin
        self.bells = 0
        self._auto_return, self._return_feeds, self._feed_returns = auto_return, return_feeds, feed_returns

    @classmethod
    def for_profile(cls, profile: Profile) -> Self:
        """Returns a sheet with the options of this machine."""
        return cls(
            profile.columns,
            auto_return=profile.auto_return,
            return_feeds=profile.return_feeds,
            feed_returns=profile.feed_returns,
        )

    def feed(self, data: bytes) -> None:
        """Prints bytes as sent to the machine, with or without parity bit, with the carriage at rest."""
        for byte in data:
            self._print_byte(byte & 0x7F)

    def _print_byte(self, byte: int) -> None:
        if byte == CR:
            self.column = 0
            if self._return_feeds:
                self.line_feed()
        elif byte == LF:
            self.line_feed()
            if self._feed_returns:
                self.column = 0
        elif byte == BEL:
            self.bells += 1
        elif glyph := glyph_of(byte):
            self._print_glyph(glyph)

    def _print_glyph(self, glyph: str) -> None:
        self.strike(glyph, self.column)
        self.column = min(self.column + 1, self.columns)
        if self._auto_return and self.column == self.columns:
            self.column = 0
            self.line_feed()

    def strike(self, glyph: str, column: int) -> None:
        """Strikes one glyph onto a cell of the current line; beyond the last column it is the last cell."""
        line = self.lines[-1]
        column = min(column, self.columns - 1)
        line.extend([""] * (column + 1 - len(line)))
        line[column] += glyph

    def line_feed(self) -> None:
        self.lines.append([])

    def inked_cells(self) -> list[list[str]]:
        """Returns the ink, line by line: no blanks in a cell, and no cells after the last one with ink."""
        return [_strip_blanks(line) for line in self.lines]

    def overstruck_cells(self) -> list[tuple[int, int, str]]:
        """Returns line, column and glyphs of each cell with more than one glyph."""
        return [
            (row, column, cell)
            for row, line in enumerate(self.inked_cells())
            for column, cell in enumerate(line)
            if len(cell) > 1
        ]

    def text(self, wheel: TypeWheel = "1968") -> str:
        """Returns the sheet as lines of text; an overstruck cell shows the last glyph that leaves ink."""
        return "\n".join(self.last_lines(len(self.lines), wheel))

    def last_lines(self, count: int, wheel: TypeWheel = "1968") -> list[str]:
        """Returns the last lines of the sheet, as `text` has them."""
        texts = ["".join(map(_visible_glyph, line)).rstrip() for line in self.lines[max(0, len(self.lines) - count) :]]
        return [text.translate(_ARROWS) for text in texts] if wheel == "1963" else texts

    def overprint_lines(self) -> list[str]:
        """Returns each line as its passes over the paper, CR between them, so that no ink is hidden.

        Joined by CR LF and fed to a sheet without options, they give the same cells.
        """
        return ["\r".join(_split_passes(line)) for line in self.inked_cells()]


def _visible_glyph(cell: str) -> str:
    return cell.replace(" ", "")[-1:] or " "


def _strip_blanks(line: list[str]) -> list[str]:
    cells = [cell.replace(" ", "") for cell in line]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _split_passes(cells: list[str]) -> list[str]:
    """Returns the first glyph of each cell, then the second of the cells that have one, and so on."""
    passes: list[list[str]] = []
    for column, cell in enumerate(cells):
        passes += [[] for _ in range(len(cell) - len(passes))]
        for row, glyph in zip(passes, cell, strict=False):
            row.append(" " * (column - sum(map(len, row))) + glyph)
    return list(map("".join, passes))
