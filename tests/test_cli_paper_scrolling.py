import re

from hypothesis import given
from hypothesis import strategies as st

from drivers.profile import Profile
from drivers.virtual import TypingUnit
from tools.paper_view.scrolling import ScrollingPaper, visible_glyph

_PIECE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(.)", re.DOTALL)


class Screen:
    """A simple terminal: cursor moves, the pending wrap after the last column, no bottom row."""

    def __init__(self, width: int) -> None:
        self.rows: list[dict[int, str]] = [{}]
        self.row = self.column = 0
        self.bells = 0
        self.styles: set[tuple[str, str]] = set()  # glyph and style
        self._width = width
        self._style = ""

    def write(self, text: str) -> None:
        for codes, move, char in _PIECE.findall(text):
            if move:
                self._move(int(codes or 1) if move != "m" else 0, move, codes)
            elif char == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [{}] * (self.row == len(self.rows))
            elif char == "\r":
                self.column = 0
            elif char == "\a":
                self.bells += 1
            else:
                self._glyph(char)

    def text(self) -> list[str]:
        return ["".join(row.get(at, " ") for at in range(max(row, default=-1) + 1)).rstrip() for row in self.rows]

    def _move(self, count: int, move: str, codes: str) -> None:
        self.column = min(self.column, self._width - 1)
        if move == "m":
            self._style = codes
        elif move == "G":
            self.column = min(count, self._width) - 1
        elif move == "A":
            self.row -= count
            assert self.row >= 0
        elif move == "B":
            self.row += count
            assert self.row < len(self.rows)
        else:
            assert (move, codes) == ("J", "")
            self.rows[self.row] = {at: glyph for at, glyph in self.rows[self.row].items() if at < self.column}
            del self.rows[self.row + 1 :]

    def _glyph(self, char: str) -> None:
        assert char.isprintable()
        assert self.column < self._width, "left to the terminal, which has its own idea"
        self.rows[self.row][self.column] = char
        self.styles.add((char, self._style))
        self.column += 1


class Typed:
    """A machine, and its paper in a terminal of that width."""

    def __init__(self, width: int = 80, profile: Profile = Profile(), character_s: float = 0.0) -> None:  # noqa: B008
        self.machine = TypingUnit(profile=profile, character_s=character_s)
        self.scroll = ScrollingPaper(profile, width)
        self.screen = Screen(width)
        self.width = width
        self.moment = 0.0

    def take(self, data: bytes) -> "Typed":
        for byte in data:
            self.screen.write(self.scroll.render_strike(self.machine.receive(byte, self.moment), self.width))
            self.moment += 0.1
        return self

    def sheet(self) -> list[str]:
        """Returns the sheet, wrapped to that width."""
        lines = ["".join(visible_glyph(cell)[0] for cell in line).rstrip() for line in self.machine.paper.lines]
        return [line[at : at + self.width].rstrip() for line in lines for at in range(0, max(1, len(line)), self.width)]


bytes_of_paper = st.lists(st.sampled_from(b"AB_ \r\n\x07\x00#" + b" " * 5) | st.integers(0, 255), max_size=200).map(
    bytes
)
profiles = st.builds(
    Profile,
    columns=st.sampled_from([5, 40, 72, 80]),
    auto_return=st.booleans(),
    return_feeds=st.booleans(),
    feed_returns=st.booleans(),
)


@given(bytes_of_paper, profiles, st.booleans())
def test_a_terminal_shows_what_the_paper_shows_and_the_cursor_where_the_carriage_is(data, profile, in_flight):
    typed = Typed(profile=profile, character_s=0.1 if in_flight else 0.0).take(data)
    assert typed.screen.text() == typed.sheet()
    assert typed.screen.bells == data.count(b"\x07") + data.count(b"\x87")
    assert typed.screen.column == min(typed.machine.column, profile.columns - 1)
    assert typed.screen.row == len(typed.machine.paper.lines) - 1


@given(bytes_of_paper, st.sampled_from([1, 7, 36, 60]))
def test_a_narrow_terminal_has_a_long_line_on_several_rows(data, width):
    typed = Typed(width).take(b"A" * 80 + data)
    assert [row for row in typed.screen.text() if row] == [row for row in typed.sheet() if row]


@given(bytes_of_paper, bytes_of_paper, st.sampled_from([30, 80]))
def test_a_message_is_printed_above_the_line_being_struck(first, then, width):
    typed = Typed(width).take(first)
    typed.screen.write(typed.scroll.clear_line() + "a word\n" + typed.scroll.redraw_line())
    typed.take(then)
    rows = [row for row in typed.screen.text() if row]
    assert rows.count("a word") == 1
    rows.remove("a word")
    assert rows == [row for row in typed.sheet() if row]


@given(bytes_of_paper, st.sampled_from([30, 80]))
def test_output_after_the_paper_begins_on_a_new_row(data, width):
    typed = Typed(width).take(data)
    typed.screen.write(typed.scroll.leave_line() + "$ ")
    assert typed.screen.text()[-1] == "$"


def test_strikes_pile_up_at_the_margin():
    assert Typed().take(b"A" * 71 + b"XYZ").screen.text() == ["A" * 71 + "Z"]


def test_a_strike_during_a_carriage_return_falls_where_the_carriage_is():
    typed = Typed(character_s=0.1).take(b"A" * 40 + b"\rXY")
    [smeared, *_] = typed.machine.smeared
    assert 0 < smeared.column < 40
    assert typed.screen.text()[0][smeared.column] == "X"


def test_a_space_erases_nothing_and_an_overstruck_glyph_is_bold():
    typed = Typed().take(b"AB BOLD: X\rAC            \bX\r          _\r         X_ U\b_ _")
    assert typed.screen.text()[0].startswith("AC BOLD: X")
    assert {("B", ""), ("C", "1"), ("X", "1")} <= typed.screen.styles


def test_an_underscore_underlines_a_glyph_in_either_order():
    for data in (b"U\r_", b"_\rU"):
        typed = Typed().take(data)
        assert typed.screen.text() == ["U"]
        assert ("U", "4") in typed.screen.styles


def test_the_wheel_of_1963_shows_arrows():
    assert Typed(profile=Profile(wheel="1963")).take(b"^_").screen.text() == ["↑←"]


def test_a_function_that_the_machine_ignores_is_not_shown():
    scroll, machine = ScrollingPaper(Profile(), 80), TypingUnit(coded_levers=True)
    assert scroll.render_strike(machine.receive(0x0A | 0x80, 0.0), 80) == ""


def test_visible_glyph_of_a_cell():
    assert [visible_glyph(cell) for cell in ("", "  ", "A ", "AA", "AB", "_", "__", "A_", "_AA")] == [
        *[(" ", False, False), (" ", False, False), ("A", False, False), ("A", True, False), ("B", True, False)],
        *[("_", False, False), ("_", True, False), ("A", False, True), ("A", True, True)],
    ]
