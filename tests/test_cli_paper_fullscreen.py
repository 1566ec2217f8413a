import io

import pytest
from rich.console import Console

from tools.paper_view.fullscreen import render_frame

LINES = ["FIRST", "THE LINE BEFORE", "0123456789" * 7]


def rows(lines: list[str], column: int, width: int, height: int, columns: int = 72) -> list[str]:
    """Renders the frame as a terminal of that size shows it."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None, force_terminal=True)
    console.print(render_frame(lines, column, "COLUMN 71", columns, width, height), end="")
    return out.getvalue().rstrip("\n").split("\n")


def carriage(lines: list[str], column: int, width: int, height: int) -> int:
    """Returns the column of the carriage's block in its row."""
    sheet = render_frame(lines, column, "", 72, width, height).renderables[0].renderable
    last = sheet.plain.rsplit("\n", 1)[-1]
    (at,) = [span.start for span in sheet.spans if span.end - span.start == 1 and "on grey11" in str(span.style)]
    return int(at) - (len(sheet.plain) - len(last))


@pytest.mark.parametrize("size", [(80, 24), (72, 24), (40, 5), (80, 2), (72, 1), (40, 1), (3, 24), (1, 1), (200, 60)])
@pytest.mark.parametrize("column", [0, 2, 39, 40, 71, 72])
def test_a_frame_fills_the_screen_and_shows_the_carriage(size, column):
    width, height = size
    shown = rows(LINES, column, width, height)
    assert len(shown) == height
    assert max(map(len, shown)) <= width
    assert 0 <= carriage(LINES, column, width, height) < width


def test_the_line_being_struck_is_above_the_state():
    *_, struck, state = rows(LINES, 70, 80, 24)
    assert struck.strip() == LINES[-1]
    assert state.strip() == "COLUMN 71"


def test_a_narrow_screen_says_which_columns_it_shows():
    assert rows(LINES, 39, 60, 5)[-1].strip() == "1-60/72 COLUMN 71"
    assert rows(LINES, 70, 60, 5)[-1].strip() == "12-71/72 COLUMN 71"


def test_overstruck_glyphs_are_bold_and_underscores_underline():
    sheet = render_frame([["A", "BB", "C_"]], 70, "", 72, 80, 2).renderables[0].renderable
    styled = {sheet.plain[span.start : span.end]: span.style for span in sheet.spans if span.end - span.start == 1}
    assert sheet.plain.strip() == "ABC"
    assert styled["B"].bold
    assert styled["C"].underline
    assert "A" not in styled


def test_a_short_sheet_is_at_the_bottom_of_the_screen():
    shown = rows(["ONE", "TWO"], 3, 80, 6)
    assert [row.strip() for row in shown] == ["", "", "", "ONE", "TWO", "COLUMN 71"]


def test_a_narrow_screen_follows_the_carriage():
    assert rows(LINES, 39, 40, 5)[3] == LINES[-1][:40]
    assert rows(LINES, 70, 40, 5)[3].rstrip() == LINES[-1][31:]


def test_a_screen_of_one_line_shows_the_line_being_struck():
    assert [row.rstrip() for row in rows(LINES, 70, 72, 1)] == [LINES[-1]]


def test_a_screen_of_two_lines_shows_the_line_being_struck_and_the_state():
    assert [row.strip() for row in rows(LINES, 70, 72, 2)] == [LINES[-1], "COLUMN 71"]
