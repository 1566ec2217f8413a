import json
import re
from itertools import combinations, pairwise

import pytest

from drivers.paper.glyphs import BASELINE, CAP_LINE, HEIGHT, PEN_WIDTH, WIDTH, glyph_table, pen_strokes, svg_path
from drivers.profile import Profile

WHEEL = [chr(code) for code in range(0x20, 0x60)]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FIGURES = "0123456789"


def points(glyph, wheel="1968"):
    return [point for stroke in pen_strokes(glyph, wheel) for point in stroke]


def width_of(glyph):
    across = [x for x, _ in points(glyph)]
    return max(across) - min(across)


def inked_squares(glyph, wheel="1968"):
    """Returns the squares of a coarse grid that the pen crosses, by which an eye tells glyphs apart."""
    squares = set()
    for stroke in pen_strokes(glyph, wheel):
        for (x, y), (to_x, to_y) in pairwise(stroke):
            squares |= {
                (round(x + (to_x - x) * step / 20) // 30, round(y + (to_y - y) * step / 20) // 30) for step in range(21)
            }
    return squares


@pytest.mark.parametrize("wheel", ["1963", "1968"])
def test_each_glyph_but_the_blank_has_ink_and_stays_in_its_box(wheel):
    for glyph in WHEEL:
        assert bool(points(glyph, wheel)) == (glyph != " ")
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT - PEN_WIDTH // 2 for x, y in points(glyph, wheel)), glyph


def test_each_stroke_moves():
    for glyph in WHEEL:
        for stroke in pen_strokes(glyph):
            assert len(stroke) > 1
            assert all(first != second for first, second in pairwise(stroke)), glyph


def test_letters_and_figures_stand_on_the_baseline_and_reach_the_height_of_capitals():
    for glyph in LETTERS + FIGURES:
        heights = [y for _, y in points(glyph)]
        assert min(heights) == CAP_LINE, glyph
        assert max(heights) == BASELINE or glyph == "Q", glyph


def test_neighbours_never_touch_but_for_the_underline():
    for glyph in WHEEL:
        across = [x for x, _ in points(glyph)]
        if across and glyph != "_":
            assert min(across) - PEN_WIDTH // 2 > 0, glyph
            assert max(across) + PEN_WIDTH // 2 < WIDTH, glyph


@pytest.mark.parametrize("wheel", ["1963", "1968"])
def test_no_glyph_can_be_taken_for_another(wheel):
    for first, second in combinations(WHEEL, 2):
        assert len(inked_squares(first, wheel) ^ inked_squares(second, wheel)) >= 2, first + second


def test_a_zero_is_narrower_than_an_o():
    assert width_of("0") < width_of("O")


@pytest.mark.parametrize("glyph", "AHIMOTUVWXY08!+-=")
def test_symmetric_glyphs_are_symmetric(glyph):
    drawn = set(points(glyph))
    for x, y in drawn:
        assert any(abs(WIDTH - x - near_x) <= 1 and abs(y - near_y) <= 1 for near_x, near_y in drawn)


@pytest.mark.parametrize(("left", "right"), ["()", "[]", "<>", "/\\"])
def test_pairs_are_mirrored(left, right):
    assert {(WIDTH - x, y) for x, y in points(left)} == set(points(right))


def test_the_wheels_differ_in_two_glyphs():
    assert [glyph for glyph in WHEEL if pen_strokes(glyph, "1963") != pen_strokes(glyph, "1968")] == ["^", "_"]
    assert pen_strokes("↑") == pen_strokes("^", "1963")
    assert pen_strokes("←") == pen_strokes("_", "1963")


def test_a_slash_is_for_the_zero_alone():
    assert pen_strokes("0", slashed_zero=True)[:1] == pen_strokes("0")
    assert len(pen_strokes("0", slashed_zero=True)) == 2
    assert pen_strokes("O", slashed_zero=True) == pen_strokes("O")


def test_an_svg_path_has_the_same_points():
    for glyph in WHEEL:
        path = svg_path(glyph, "1963", slashed_zero=True)
        numbers = list(map(int, re.findall(r"\d+", path)))
        strokes = pen_strokes(glyph, "1963", slashed_zero=True)
        assert list(zip(numbers[::2], numbers[1::2], strict=True)) == [point for stroke in strokes for point in stroke]
        assert path.count("M") == len(strokes)
    assert svg_path("-") == "M48 208L192 208"


@pytest.mark.parametrize("glyph", ["a", "{", "\x7f", "\n", "", "AB", "é", "→"])
def test_characters_that_are_not_on_the_wheel_are_refused(glyph):
    with pytest.raises(ValueError, match="not on the type wheel"):
        pen_strokes(glyph)


def test_the_table_for_a_browser_has_the_strokes_of_the_wheel_and_the_margins_of_the_machine():
    table = json.loads(json.dumps(glyph_table(Profile(wheel="1963", columns=86, auto_return=True))))
    assert sorted(table["glyphs"]) == sorted(WHEEL)
    for glyph, strokes in table["glyphs"].items():
        expected = [[number for point in stroke for number in point] for stroke in pen_strokes(glyph, "1963")]
        assert strokes == expected
    assert (table["columns"], table["pitch"], table["auto_return"]) == (86, 12, True)
    assert glyph_table()["columns"] == 72
