"""Wire bytes to a sheet of overstruck cells: what tests read, and what a page draws.

Knows where the carriage is, not when: a strike in flight is the affair of `virtual`, which tells this sheet where
the type wheel met it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # profile wants COLUMNS from here
    from drivers.profile import Profile, TypeWheel

COLUMNS = 72  # 10 to the inch on 8 1/2 inch paper - Teletype Bulletin 310B 574-100-101TC, 2.08
PITCH, FINE_PITCH = 10, 12  # columns to the inch; fine with kit 182056
PRINTABLE_IN = 8  # inches of the paper that a line can have

BEL, LF, CR, RUBOUT = 0x07, 0x0A, 0x0D, 0x7F

_ARROWS = str.maketrans("^_", "↑←")  # what the wheel of 1963 has there


def glyph_of(byte: int) -> str:
    """What the type wheel has for a byte: one character SP to 0x5F, or nothing.

    The parity bit and bit 6 do not reach the wheel, so 0x60-0x7E print as 0x40-0x5E; RUBOUT prints nothing.
    """
    byte &= 0x7F
    if byte < 0x20 or byte == RUBOUT:
        return ""
    return chr(byte if byte < 0x60 else byte - 0x20)


def pitch_of(columns: int) -> int:
    """Columns to the inch of a machine that has so many: too many for the paper are of one with the kit."""
    return PITCH if columns <= PITCH * PRINTABLE_IN else FINE_PITCH


class Paper:
    """A sheet that grows downwards; a cell holds all that was struck there, in order."""

    def __init__(
        self,
        columns: int = COLUMNS,
        *,
        auto_return: bool = False,
        return_feeds: bool = False,
        feed_returns: bool = False,
    ) -> None:
        """The options are those of a Profile: CR and LF by itself at the last column, CR feeds too, LF returns too."""
        self.columns = columns
        self.lines: list[list[str]] = [[]]
        self.column = 0  # `columns` means: the line is full, spacing is suppressed at the right margin
        self.bells = 0
        self._auto_return, self._return_feeds, self._feed_returns = auto_return, return_feeds, feed_returns

    @classmethod
    def for_profile(cls, profile: Profile) -> Self:
        """The sheet in such a machine."""
        return cls(
            profile.columns,
            auto_return=profile.auto_return,
            return_feeds=profile.return_feeds,
            feed_returns=profile.feed_returns,
        )

    def feed(self, data: bytes) -> None:
        """Bytes as they went over the wire, parity bit or not, all of them struck with the carriage at rest."""
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
        """One glyph onto a cell of the current line; past the last column it lands in the last."""
        line = self.lines[-1]
        column = min(column, self.columns - 1)
        line.extend([""] * (column + 1 - len(line)))
        line[column] += glyph

    def line_feed(self) -> None:
        self.lines.append([])

    def inked_cells(self) -> list[list[str]]:
        """The ink alone, line by line: no blanks in a cell, and none after the last that has ink."""
        return [_strip_blanks(line) for line in self.lines]

    def overstruck_cells(self) -> list[tuple[int, int, str]]:
        """Line, column and glyphs of each cell where ink lies upon ink."""
        return [
            (row, column, cell)
            for row, line in enumerate(self.inked_cells())
            for column, cell in enumerate(line)
            if len(cell) > 1
        ]

    def text(self, wheel: TypeWheel = "1968") -> str:
        """The sheet as lines of text; of an overstruck cell the last glyph that leaves ink."""
        return "\n".join(self.last_lines(len(self.lines), wheel))

    def last_lines(self, count: int, wheel: TypeWheel = "1968") -> list[str]:
        """The last lines of the sheet, as `text` has them."""
        shown = ["".join(map(_visible_glyph, line)).rstrip() for line in self.lines[max(0, len(self.lines) - count) :]]
        return [line.translate(_ARROWS) for line in shown] if wheel == "1963" else shown

    def overprint_lines(self) -> list[str]:
        """Each line as its passes over the paper, CR between them, so that no ink is hidden.

        Joined by CR LF and fed to a sheet without options, they give the same cells again.
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
    """The first glyph of each cell, then the second of those that have one, and so on."""
    passes: list[list[str]] = []
    for column, cell in enumerate(cells):
        passes += [[] for _ in range(len(cell) - len(passes))]
        for turn, glyph in zip(passes, cell, strict=False):
            turn.append(" " * (column - sum(map(len, turn))) + glyph)
    return ["".join(turn) for turn in passes]
