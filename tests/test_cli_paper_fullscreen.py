"""The full-screen view: frames of the paper, and the bytes that bring a terminal from one frame to the next."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.virtual import TypingUnit
from tools.paper_view.fullscreen import render_frame
from tools.paper_view.screen_writer import ScreenCell, ScreenRow, ScreenWriter
from tools.paper_view.terminal_type import PALETTES, Palette

LINES = ["FIRST", "THE LINE BEFORE", "0123456789" * 7]
_PIECE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(.)", re.DOTALL)


class Terminal:
    """A terminal of ECMA-48 with a scrolling region. New lines have the colour `fill`, as terminals differ in it."""

    def __init__(self, width: int, height: int, fill: str = "") -> None:
        self.cells: list[list[ScreenCell]] = [[(" ", "")] * width for _ in range(height)]
        self.row = self.column = 0
        self.bottom = height
        self._fill, self._style = fill, ""

    def write(self, text: str) -> None:
        for codes, function, char in _PIECE.findall(text):
            if function == "H":
                self.row, self.column = (int(number) - 1 for number in codes.split(";"))
            elif function == "m":
                self._style = self._combine(codes)
            elif function == "r":
                self.bottom = int(codes.split(";")[1]) if codes else len(self.cells)
                self.row = self.column = 0
            elif function == "J":
                assert (codes, self._style) == ("2", "")
                self.cells = [[(" ", "")] * len(row) for row in self.cells]
            elif char == "\n":
                assert self.row == self.bottom - 1
                del self.cells[0]
                self.cells.insert(self.bottom - 1, [(" ", self._fill)] * len(self.cells[0]))
            else:
                assert not function
                assert char.isprintable()
                self.cells[self.row][self.column] = (char, self._style)
                self.column += 1

    def _combine(self, codes: str) -> str:
        if codes in ("", "0"):
            return ""
        return codes[2:] if codes.startswith("0;") else f"{self._style};{codes}" if self._style else codes


def rows(lines: list[str], column: int, width: int, height: int, columns: int = 72) -> list[str]:
    """Returns the text of a frame on a terminal of that size."""
    frame = render_frame(lines, column, "COLUMN 71", columns, width, height)
    return ["".join(char for char, _ in row) for row in frame]


def carriage(frame: list[ScreenRow]) -> tuple[int, int]:
    """Returns the row and column of the carriage's block."""
    (at,) = [(number, column) for number, row in enumerate(frame) for column, (_, sgr) in enumerate(row) if "7" in sgr]
    return at


@pytest.mark.parametrize("size", [(80, 24), (72, 24), (40, 5), (80, 2), (72, 1), (40, 1), (3, 24), (1, 1), (200, 60)])
@pytest.mark.parametrize("column", [0, 2, 39, 40, 71, 72])
def test_a_frame_fills_the_screen(size: tuple[int, int], column: int) -> None:
    width, height = size
    shown = rows(LINES, column, width, height)
    assert len(shown) == height
    assert {*map(len, shown)} == {width}


@pytest.mark.parametrize("palette", PALETTES.values())
@pytest.mark.parametrize("column", [0, 39, 40, 70, 71, 72])
@pytest.mark.parametrize("width", [200, 80, 72, 60, 40])
def test_the_carriage_is_where_the_next_character_falls(palette: Palette, column: int, width: int) -> None:
    frame = render_frame(LINES, column, "", 72, width, 12, palette)
    cells = [(cell, sgr) for row in frame for cell, sgr in row if sgr == palette.carriage]
    (block,) = cells
    assert block[0] == LINES[-1].ljust(72)[min(column, 71)]


def test_the_line_being_struck_is_above_the_state() -> None:
    *_, struck, state = rows(LINES, 70, 80, 24)
    assert struck.strip() == LINES[-1]
    assert state.strip() == "COLUMN 71"


@pytest.mark.parametrize("column", [0, 5, 70])
def test_on_a_narrow_screen_every_line_can_be_read_to_its_end(column: int) -> None:
    shown = rows(["A" * 72, "B" * 60, "0123456789" * 7], column, 60, 9)
    assert [row.rstrip() for row in shown[-6:-1]] == ["A" * 60, "A" * 12, "B" * 60, "0123456789" * 6, "0123456789"]
    assert shown[-1].strip() == "COLUMN 71"


def test_the_carriage_of_a_full_row_is_in_the_next_one() -> None:
    assert carriage(render_frame(["X" * 60], 60, "", 72, 60, 9)) == (7, 0)
    assert carriage(render_frame(["X" * 59], 59, "", 72, 60, 9)) == (7, 59)


def test_blanks_at_the_end_of_a_line_take_no_row() -> None:
    assert [row.strip() for row in rows([["A", *[" "] * 70], "B"], 1, 60, 4)] == ["", "A", "B", "COLUMN 71"]


def test_overstruck_glyphs_are_bold_and_underscores_underline() -> None:
    lines = [["A", "BB", "C_", "DD_"]]
    for palette in PALETTES.values():
        frame = render_frame(lines, 70, "", 72, 80, 2, palette)
        styles = {char: sgr.removeprefix(palette.paper).strip(";") for char, sgr in frame[0] if char.strip()}
        bold = "1" if palette.has_bold else ""
        assert styles == {"A": "", "B": bold, "C": "4", "D": f"{bold};4".strip(";")}


def test_a_short_sheet_is_at_the_bottom_of_the_screen() -> None:
    shown = rows(["ONE", "TWO"], 3, 80, 6)
    assert [row.strip() for row in shown] == ["", "", "", "ONE", "TWO", "COLUMN 71"]


def test_a_screen_of_one_line_shows_the_line_being_struck() -> None:
    assert [row.rstrip() for row in rows(LINES, 70, 72, 1)] == [LINES[-1]]


def test_a_screen_of_two_lines_shows_the_line_being_struck_and_the_state() -> None:
    assert [row.strip() for row in rows(LINES, 70, 72, 2)] == [LINES[-1], "COLUMN 71"]


STEPS = st.lists(st.tuples(st.text("AB \r\n_", max_size=12), st.booleans()), max_size=12)


@given(STEPS, st.sampled_from([(80, 6), (20, 5), (9, 1), (76, 2), (72, 12)]), st.sampled_from([*PALETTES]))
def test_after_any_typing_the_terminal_shows_the_frame(
    steps: list[tuple[str, bool]], size: tuple[int, int], colours: str | None
) -> None:
    unit, writer, palette = TypingUnit(character_s=0.0), ScreenWriter(), PALETTES[colours]
    terminal = Terminal(*size, fill="41")
    for typed, resizes in steps:
        if resizes:
            size = (size[0] + 1, size[1] + 1)
            terminal = Terminal(*size)
        for byte in typed.encode():
            unit.receive(byte, 0.0)
        frame = render_frame(unit.paper.lines[-size[1] :], unit.column, f"COLUMN {unit.column}", 72, *size, palette)
        terminal.write(writer.write_frame(frame))
        assert terminal.cells == [list(row) for row in frame]
        assert writer.write_frame(frame) == ""


@pytest.mark.parametrize("size", [(60, 24), (80, 24), (132, 50)])
@pytest.mark.parametrize("palette", PALETTES.values())
def test_ten_characters_a_second_take_less_than_two_kilobytes(palette: Palette, size: tuple[int, int]) -> None:
    unit, writer = TypingUnit(character_s=0.1), ScreenWriter()
    line = b"THE BELL OF THE MACHINE RANG, AND THE PAPER MOVED UP BY ONE LINE.\r\n"
    sheet, text = line * size[1], line * 4
    sent = []
    for number, byte in enumerate(sheet + text):
        unit.receive(byte, number * 0.1)
        if number >= len(sheet):
            state = f"COLUMN {unit.column + 1:2}   PRINTING    CTRL-C BREAKS"
            frame = render_frame(unit.paper.lines[-size[1] :], unit.column, state, 72, *size, palette)
            sent.append(len(writer.write_frame(frame)))
    seconds = len(text) / 10
    assert sum(sent[1:]) / seconds < 1500
    assert max(sum(sent[start : start + 10]) for start in range(1, len(text), 10)) < 3000
