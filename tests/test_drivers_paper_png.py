import io
import subprocess
import sys

import pytest
from fakes_teletype import raises_driver_error
from PIL import Image, ImageChops

from drivers.paper.paper import Paper
from drivers.paper.paper_png import INK_RGB, PAPER_RGB, draw_pages, draw_png, max_lines
from tools.main import EXTRAS

CELL, LINE, TOP, LEFT = 15, 25, 75, 97  # dots at 150 to the inch: the text in the middle of the roll


def sheet(*lines):
    paper = Paper()
    paper.feed("\r\n".join(lines).encode())
    return paper.lines


def open_png(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def ink(image):
    """Returns the distance of each dot from bare paper."""
    return ImageChops.difference(image, Image.new("RGB", image.size, PAPER_RGB)).convert("L")


def ink_amount(image):
    return sum(level * count for level, count in enumerate(ink(image).histogram()))


def test_the_paper_is_a_roll_of_eight_and_a_half_inches_and_as_long_as_its_lines():
    png = draw_png(sheet("ONE", "TWO", "THREE"))
    assert open_png(png).size == (1275, 2 * TOP + 3 * LINE)
    with Image.open(io.BytesIO(png)) as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert open_png(draw_png(sheet("ONE"), dpi=60)).size == (510, 70)


def test_blanks_and_an_empty_sheet_leave_the_paper_bare():
    for lines in ([], [[]], sheet("   ", " ")):
        assert open_png(draw_png(lines)).getcolors() == [(1275 * (2 * TOP + max(1, len(lines)) * LINE), PAPER_RGB)]


def test_each_glyph_leaves_ink_in_its_own_cell_and_nowhere_else():
    for code in range(0x21, 0x60):
        box = ink(open_png(draw_png(sheet("", " " * 7 + chr(code))))).getbbox()
        assert box is not None
        x, y = LEFT + 7 * CELL, TOP + LINE
        assert x - 2 <= box[0] < box[2] <= x + CELL + 2, chr(code)
        assert y <= box[1] < box[3] <= y + LINE, chr(code)


def test_the_last_column_is_as_far_from_the_edge_as_the_first():
    left, _, right, _ = ink(open_png(draw_png(sheet("H" * 72)))).getbbox()
    assert abs(left - (1275 - right)) <= 3


def test_ink_upon_ink_is_darker_and_never_darker_than_the_ribbon():
    once, twice = (open_png(draw_png([[cell] * 72])) for cell in ("X", "XX"))
    assert 1.05 * ink_amount(once) < ink_amount(twice)
    darkest = open_png(draw_png([["X" * 40]])).getextrema()
    assert tuple(low for low, _ in darkest) == pytest.approx(INK_RGB, abs=3)


@pytest.mark.parametrize("dpi", [75, 150, 300])
def test_overstrike_art_has_black_and_greys_in_order(dpi):
    def dots(cell):
        """Returns the light of the dots between cap line and base line, the darkest first."""
        image = open_png(draw_png([[cell] * 72], dpi=dpi)).convert("L")
        x, y = round(LEFT * dpi / 150), round(TOP * dpi / 150)
        box = (x + round(dpi), y + round(dpi / 30), x + round(6 * dpi), y + round(dpi / 7.5))
        return sorted(image.crop(box).tobytes())

    ramp = [dots(cell) for cell in (".", "+", "X", "M", "MW", "MWX", "MWX#", "MWXHO@#8$")]
    means = [sum(light) / len(light) for light in ramp]
    assert means == sorted(means, reverse=True)
    assert means[0] > 220
    assert means[-1] < 42
    assert ramp[-1][len(ramp[-1]) // 2] < 20  # black


def test_an_overstruck_cell_shows_both_glyphs():
    bar, dash, cross = (ink(open_png(draw_png([[cell]]))).getbbox() for cell in ("!", "-", "!-"))
    assert cross[0] <= dash[0] + 1
    assert cross[1] <= bar[1] + 1
    assert cross[3] >= bar[3] - 1


def test_the_seed_determines_the_uneven_ink():
    lines = sheet("EEEEEEEEEE")
    assert draw_png(lines) == draw_png(lines) != draw_png(lines, seed=34)
    cells = [
        open_png(draw_png(lines)).crop((LEFT + n * CELL, TOP, LEFT + (n + 1) * CELL, TOP + LINE)).tobytes()
        for n in range(10)
    ]
    assert len(set(cells)) == 10


def test_a_sheet_that_grows_keeps_what_it_had():
    short, long = (open_png(draw_png(sheet(*["THE TELETYPE IS"] * count))) for count in (3, 7))
    common_box = (0, 0, 1275, TOP + 3 * LINE)
    assert short.crop(common_box).tobytes() == long.crop(common_box).tobytes()


def test_the_wheel_of_1963_draws_its_arrows():
    assert draw_png(sheet("A^_"), wheel="1963") != draw_png(sheet("A^_"))
    assert draw_png(sheet("A0"), slashed_zero=True) != draw_png(sheet("A0")) == draw_png(sheet("A0"), wheel="1963")


def test_pages_put_together_are_the_sheet():
    lines = sheet(*(f"LINE {number}" for number in range(10)))
    whole, parts = open_png(draw_png(lines)), [open_png(png) for png in draw_pages(lines, lines_per_page=4)]
    assert [part.height for part in parts] == [2 * TOP + count * LINE for count in (4, 4, 2)]
    at = TOP
    for part in parts:
        text = part.crop((0, TOP, 1275, part.height - TOP))
        assert text.tobytes() == whole.crop((0, at, 1275, at + text.height)).tobytes()
        at += text.height


def test_more_lines_than_a_picture_can_have_are_refused_or_cut_into_pages():
    lines = [["A"]] * (max_lines() + 1)
    with raises_driver_error("damaged", match="cut the sheet"):
        draw_png(lines)
    assert [open_png(png).height for png in draw_pages(lines, lines_per_page=10**6)] == [
        2 * TOP + max_lines() * LINE,
        2 * TOP + LINE,
    ]


@pytest.mark.parametrize("dpi", [-1, 0, 1, 29, 601, 2400])
def test_a_resolution_out_of_range_is_refused_in_one_line(dpi):
    with raises_driver_error("damaged", match=f"^{dpi} dots to the inch: give 30 to 600$"):
        draw_png(sheet("A"), dpi=dpi)


@pytest.mark.parametrize("dpi", [30, 600])
def test_the_coarsest_and_the_finest_picture_can_be_drawn(dpi):
    assert open_png(draw_png(sheet("A"), dpi=dpi)).width == round(8.5 * dpi)


@pytest.mark.parametrize("length", [-1, 0])
def test_a_page_has_a_line_at_least(length):
    with raises_driver_error("damaged", match="give at least 1"):
        list(draw_pages(sheet("A"), lines_per_page=length))


def test_no_picture_is_higher_than_programs_show():
    for dpi in (50, 70, 100, 150, 200, 400):
        assert 30_000 < max_lines(dpi) * round(dpi / 6) + dpi <= 32_000


def test_a_machine_of_twelve_to_the_inch_fits_the_same_roll():
    image = open_png(draw_png([["H"] * 86], columns=86))
    left, _, right, _ = ink(image).getbbox()
    assert image.width == 1275
    assert right - left == pytest.approx(86 / 12 * 150, abs=6)


def test_a_missing_pillow_names_its_extra():
    program = (
        "import sys\nsys.modules['PIL'] = None\n"
        "try:\n import drivers.paper.paper_png\nexcept ImportError as e: print(e.name)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert EXTRAS[result.stdout.strip()] == "png"
