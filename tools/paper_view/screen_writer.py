"""Writes frames to a terminal (ECMA-48): the cells that changed, and a scroll where the rows moved up.

A whole frame has 2,000 characters. At 25 frames a second a remote terminal would fall behind the machine. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_SCROLL_LINES = 4  # of one frame; after more, the rows are written again
JOINED_CELLS = 5  # so many unchanged cells between changed ones take no more bytes than a cursor move

ScreenCell = tuple[str, str]  # a character and its SGR parameters
ScreenRow = Sequence[ScreenCell]
BLANK: ScreenCell = (" ", "")
_UNKNOWN: ScreenCell = ("", "")  # differs from every cell of a frame


class ScreenWriter:
    """The cells that the terminal shows. The last row of a frame does not scroll."""

    def __init__(self) -> None:
        self._shown: list[ScreenRow] = []
        self._style = ""

    def write_frame(self, frame: Sequence[ScreenRow]) -> str:
        """Returns the text that makes the terminal show the frame; one of another size clears the screen first."""
        text = ""
        if len(frame) != len(self._shown) or len(frame[0]) != len(self._shown[0]):
            self._shown = [[BLANK] * len(row) for row in frame]
            text = "\x1b[2J"
        text += self._scroll(frame)
        for number, row in enumerate(frame):
            runs = _changed_runs(self._shown[number], row)
            if number == len(frame) - 1 and any(row[column][0].isalpha() for run in runs for column in range(*run)):
                runs = [_inked_run(self._shown[number], row)]  # a log of the terminal has whole states
            for start, end in runs:
                text += f"\x1b[{number + 1};{start + 1}H" + "".join(map(self._write_cell, row[start:end]))
        self._shown = list(frame)
        return text + self._set_style("")

    def _write_cell(self, cell: ScreenCell) -> str:
        char, style = cell
        return self._set_style(style) + char

    def _set_style(self, style: str) -> str:
        before, self._style = self._style, style
        if style == before:
            return ""
        if before and style.startswith(f"{before};"):
            return f"\x1b[{style[len(before) + 1 :]}m"
        return f"\x1b[{'0;' if before and style else ''}{style}m"

    def _scroll(self, frame: Sequence[ScreenRow]) -> str:
        """Scrolls all rows but the last, if the frame's rows were shown lower. The lowest of them may have changed."""
        bottom = len(frame) - 1
        for lines in range(min(MAX_SCROLL_LINES, bottom - 1)):
            kept = bottom - 1 - lines
            if self._shown[lines : lines + kept] == list(frame[:kept]):
                break
        else:
            return ""
        if lines == 0:
            return ""
        self._shown[:bottom] = [*self._shown[lines:bottom], *[[_UNKNOWN] * len(frame[0])] * lines]
        feeds = "\n" * lines
        return f"\x1b[1;{bottom}r\x1b[{bottom};1H{feeds}\x1b[r"


def _changed_runs(shown: ScreenRow, row: ScreenRow) -> list[tuple[int, int]]:
    """Returns the start and end of each run of cells to write; near runs are joined."""
    runs: list[tuple[int, int]] = []
    for column, (before, after) in enumerate(zip(shown, row, strict=True)):
        if before == after:
            continue
        if runs and column - runs[-1][1] < JOINED_CELLS:
            runs[-1] = (runs[-1][0], column + 1)
        else:
            runs.append((column, column + 1))
    return runs


def _inked_run(shown: ScreenRow, row: ScreenRow) -> tuple[int, int]:
    """Returns the start and end of the characters of a row, those shown before included."""
    inked = [
        column for column, cells in enumerate(zip(shown, row, strict=True)) if any(cell != BLANK for cell in cells)
    ]
    return inked[0], inked[-1] + 1
