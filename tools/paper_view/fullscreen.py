"""The full-screen view: the paper scrolls up in the middle of the terminal, with a line of state below."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from tools.paper_view.screen_writer import BLANK, ScreenCell, ScreenRow, ScreenWriter
from tools.paper_view.scrolling import visible_glyph
from tools.paper_view.terminal_type import PALETTES, Palette, choose_palette, terminal_size

MARGIN_COLUMNS = 2  # blank columns of paper on either side of the 72

_OPEN_SCREEN = "\x1b[?1049h\x1b[?25l"  # the alternate screen, without a cursor
# A terminal without an alternate screen keeps the frame, and the shell goes on below it.
_CLOSE_SCREEN = "\x1b[m\x1b[999;1H\n\x1b[?25h\x1b[?1049l"

CellLines = Sequence[Sequence[str]]  # lines of cells; a cell holds all characters struck in it
# Its arguments: a function that returns the last N lines, the column of the carriage, the state.
DrawFrame = Callable[[Callable[[int], CellLines], int, str], None]


def render_frame(
    lines: CellLines, column: int, state: str, columns: int, width: int, height: int, palette: Palette = PALETTES[None]
) -> list[ScreenRow]:
    """Renders the foot of the sheet, the carriage as a block, and the state below, in `height` rows.

    The line being struck is above the state. On a screen narrower than the sheet a line of paper goes on in the next
    row. A screen of one row has no state.
    """
    row_columns = min(width, columns)
    edge = MARGIN_COLUMNS if width >= columns + 2 * MARGIN_COLUMNS else 0
    count = max(1, height - 1)
    sheet: list[list[ScreenCell]] = []
    for line in lines[-count:-1]:
        sheet += _render_line(line, None, columns, row_columns, palette)
    sheet += _render_line(lines[-1] if lines else (), min(column, columns - 1), columns, row_columns, palette)
    blank_row = [(" ", palette.paper)] * row_columns
    margin = [(" ", palette.paper)] * edge
    left = [BLANK] * ((width - row_columns) // 2 - edge)
    right = [BLANK] * (width - row_columns - 2 * edge - len(left))
    rows: list[ScreenRow] = [[*left, *margin, *row, *margin, *right] for row in [*[blank_row] * count, *sheet][-count:]]
    if height > 1:
        text = state if width >= columns else " ".join(state.split())
        # The last cell stays blank: some terminals scroll when it is written.
        rows.append([*((char, palette.state) for char in text.center(width)[: width - 1]), BLANK])
    return rows


def _render_line(
    line: Sequence[str], carriage: int | None, columns: int, row_columns: int, palette: Palette
) -> list[list[ScreenCell]]:
    """Returns the rows of one line of paper; with a carriage it is the line being struck."""
    inked = max((column + 1 for column, cell in enumerate(line[:columns]) if cell.strip()), default=0)
    row_count = max(1, -(-max(inked, 0 if carriage is None else carriage + 1) // row_columns))
    cells = [_render_cell(line[column] if column < len(line) else "", palette) for column in range(inked)]
    cells += [(" ", palette.paper)] * (row_count * row_columns - inked)
    if carriage is not None:
        cells[carriage] = (cells[carriage][0], palette.carriage)
    return [cells[start : start + row_columns] for start in range(0, len(cells), row_columns)]


def _render_cell(cell: str, palette: Palette) -> ScreenCell:
    glyph, is_bold, is_underlined = visible_glyph(cell)
    marks = (palette.paper, "1" if is_bold and palette.has_bold else "", "4" if is_underlined else "")
    return glyph, ";".join(filter(None, marks))


@contextlib.contextmanager
def open_screen(out: TextIO, columns: int) -> Iterator[DrawFrame]:
    """Opens the terminal's alternate screen and yields a function that draws; restores the screen at the end.

    The function raises OSError if the terminal is closed.
    """
    palette, writer = choose_palette(out), ScreenWriter()

    def draw(foot: Callable[[int], CellLines], column: int, state: str) -> None:
        width, height = terminal_size(out)
        frame = render_frame(foot(height), column, state, columns, width, height, palette)
        out.write(writer.write_frame(frame))
        out.flush()

    with contextlib.suppress(OSError):  # the first frame tells
        out.write(_OPEN_SCREEN)
        out.flush()
    try:
        yield draw
    finally:
        with contextlib.suppress(OSError):  # the terminal is closed
            out.write(_CLOSE_SCREEN)
            out.flush()
