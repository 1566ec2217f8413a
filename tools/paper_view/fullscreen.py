"""The full-screen view: the paper scrolls up in the middle of the terminal, with a line of state below."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rich.align import Align
from rich.console import Console, Group
from rich.live import Live
from rich.style import Style
from rich.text import Text

from tools.paper_view.scrolling import visible_glyph

MARGIN_COLUMNS = 2  # blank columns of paper on either side of the 72
PAPER_STYLE = "grey11 on #f2ead7"
CARRIAGE_STYLE = "#f2ead7 on grey11"
STATE_STYLE = "grey70 on grey11"

CellLines = Sequence[Sequence[str]]  # lines of cells; a cell holds all characters struck in it
# Its arguments: a function that returns the last N lines, the column of the carriage, the state.
DrawFrame = Callable[[Callable[[int], CellLines], int, str], None]


def render_frame(lines: CellLines, column: int, state: str, columns: int, width: int, height: int) -> Group:
    """Renders the foot of the sheet, the carriage as a block, and the state below.

    The line being struck is the last but one of the screen. A screen narrower than the sheet follows the carriage, and
    the state names its columns. A screen of one line has no state.
    """
    count = max(1, height - 1)
    shown = [*[()] * count, *lines][-count:]
    column = min(column, columns - 1)
    left = max(0, column + 1 - width)
    edge = MARGIN_COLUMNS if width >= columns + 2 * MARGIN_COLUMNS else 0
    sheet = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(shown):
        is_last = number == len(shown) - 1
        row = _render_row(line, range(left, min(columns, left + width)), edge)
        if is_last:
            row.stylize(CARRIAGE_STYLE, edge + column - left, edge + column - left + 1)
        sheet.append_text(row)
        if not is_last:
            sheet.append("\n")
    if width < columns:
        state = f"{left + 1}-{left + width}/{columns} {' '.join(state.split())}"
    below = Text(state.center(width)[:width], style=STATE_STYLE, no_wrap=True, overflow="crop", end="")
    return Group(Align.center(sheet, width=width), *([below] if height > 1 else []))


def _render_row(line: Sequence[str], columns: range, edge: int) -> Text:
    cells = [visible_glyph(line[column] if column < len(line) else "") for column in columns]
    row = Text(" " * edge + "".join(glyph for glyph, _, _ in cells) + " " * edge, style=PAPER_STYLE)
    for at, (_, bold, underlined) in enumerate(cells, edge):
        if bold or underlined:
            row.stylize(Style(bold=bold, underline=underlined), at, at + 1)
    return row


@contextlib.contextmanager
def open_screen(console: Console, columns: int) -> Iterator[DrawFrame]:
    """Opens the terminal's alternate screen and yields a function that draws; restores the screen at the end."""
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def draw(foot: Callable[[int], CellLines], column: int, state: str) -> None:
        width, height = console.size
        live.update(render_frame(foot(height), column, state, columns, width, height), refresh=True)

    live.start()
    try:
        yield draw
    finally:
        with contextlib.suppress(OSError):  # the terminal is closed
            live.stop()
