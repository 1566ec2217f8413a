"""Wire bytes to a sheet of overstruck cells: what tests read, and what a page draws.

Knows where the carriage is, not when: a strike in flight is the affair of `virtual`, which tells this sheet where
the type wheel met it.
"""

from __future__ import annotations

COLUMNS = 72  # 10 to the inch on 8 1/2 inch paper - Teletype Bulletin 310B 574-100-101TC, 2.08

BEL, LF, CR, RUBOUT = 0x07, 0x0A, 0x0D, 0x7F


def glyph_of(byte: int) -> str:
    """What the type wheel has for a byte: one character SP to 0x5F, or nothing.

    The parity bit and bit 6 do not reach the wheel, so 0x60-0x7E print as 0x40-0x5E; RUBOUT prints nothing.
    """
    byte &= 0x7F
    if byte < 0x20 or byte == RUBOUT:
        return ""
    return chr(byte if byte < 0x60 else byte - 0x20)


class Paper:
    """A sheet that grows downwards; a cell holds all that was struck there, in order."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self.columns = columns
        self.lines: list[list[str]] = [[]]
        self.column = 0  # `columns` means: the line is full, spacing is suppressed at the right margin
        self.bells = 0

    def feed(self, data: bytes) -> None:
        """Bytes as they went over the wire, parity bit or not, all of them struck with the carriage at rest."""
        for byte in data:
            self._take(byte & 0x7F)

    def _take(self, byte: int) -> None:
        if byte == CR:
            self.column = 0
        elif byte == LF:
            self.line_feed()
        elif byte == BEL:
            self.bells += 1
        elif glyph := glyph_of(byte):
            self.strike(glyph, self.column)
            self.column = min(self.column + 1, self.columns)

    def strike(self, glyph: str, column: int) -> None:
        """One glyph onto a cell of the current line; past the last column it lands in the last."""
        line = self.lines[-1]
        column = min(column, self.columns - 1)
        line.extend([""] * (column + 1 - len(line)))
        line[column] += glyph

    def line_feed(self) -> None:
        self.lines.append([])

    def text(self) -> str:
        """The sheet as lines of text; of an overstruck cell the last glyph that leaves ink."""
        return "\n".join(self.foot(len(self.lines)))

    def foot(self, count: int) -> list[str]:
        """The last lines of the sheet, as `text` has them."""
        return ["".join(map(_ink, line)).rstrip() for line in self.lines[-count:]]


def _ink(cell: str) -> str:
    return cell.replace(" ", "")[-1:] or " "
