import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drivers.paper.paper import CR, LF, Paper
from drivers.profile import Profile
from drivers.text.charset import fold_text
from drivers.text.printer import Printer, Stroke

TEXTS = st.text(st.sampled_from("abcdefgh    \n\r—½²³🚀é_\b") | st.characters(), max_size=200)
ART = st.text(st.sampled_from("/\\X#   \n\r\r\f\b—é🚀"), max_size=150)
CUTS = st.lists(st.integers(0, 200), max_size=6)
PROFILES = st.builds(
    Profile,
    columns=st.sampled_from([20, 40, 72, 74, 86]),
    wheel=st.sampled_from(["1963", "1968"]),
    auto_return=st.booleans(),
    return_feeds=st.booleans(),
    feed_returns=st.booleans(),
    margin_bell=st.integers(0, 9),
)

# The modes in which a text is printed.
MODES: dict[str, Callable[[Printer, str], list[Stroke]]] = {
    "prose": lambda printer, text: printer.feed(text),
    "code": lambda printer, text: printer.feed(text, "code"),
    "typewriter": lambda printer, text: printer.feed(text, overstrike=True),
    "art": lambda printer, text: printer.feed_raw(text),
    "echo": lambda printer, text: printer.echo_keys(text),
}


def bytes_of(strokes: list[Stroke]) -> bytes:
    return bytes(stroke.byte for stroke in strokes)


def print_bytes(text: str, columns: int = 72, mode: str = "prose", **profile) -> bytes:
    printer = Printer(Profile(columns=columns, **profile), column=0)
    return bytes_of(MODES[mode](printer, text) + printer.flush())


def travel_s(profile: Profile, column: int) -> float:
    """Returns the seconds of travel from a column, which is narrower at 12 columns to the inch."""
    inches = column / (12 if profile.columns == 86 else 10)
    return profile.full_cr_travel_s * inches / 7.2


def sheet(strokes: list[Stroke], profile: Profile = Profile()) -> Paper:  # noqa: B008
    """Returns paper wider than the machine, which shows glyphs beyond the margin."""
    paper = Paper.for_profile(replace(profile, columns=200, auto_return=False))
    paper.feed(bytes_of(strokes))
    return paper


# Laws.


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60)
@given(text=TEXTS | ART, cuts=CUTS, profile=PROFILES)
def test_a_text_cut_anywhere_gives_the_same_strokes(mode, text, cuts, profile):
    edges = [0, *sorted(cuts), len(text)]
    whole, pieces = Printer(profile), Printer(profile)
    strokes = [stroke for a, b in pairwise(edges) for stroke in MODES[mode](pieces, text[a:b])]
    assert strokes + pieces.flush() == MODES[mode](whole, text) + whole.flush()
    assert pieces.column == whole.column


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60)
@given(text=TEXTS | ART, profile=PROFILES)
def test_no_line_is_too_long_on_any_machine(mode, text, profile):
    printer = Printer(profile)
    strokes = MODES[mode](printer, text) + printer.flush() + printer.fresh_line()
    assert max(map(len, sheet(strokes, profile).inked_cells())) <= profile.usable_columns
    assert not any(
        stroke.is_spacing and (stroke.column is None or stroke.column >= profile.usable_columns) for stroke in strokes
    )


@given(TEXTS, st.integers(20, 74))
def test_no_word_that_fits_is_split(text, columns):
    paper = Paper(200)
    paper.feed(print_bytes(text, columns))
    chunks = [w[i : i + columns] for w in fold_text(text).split() for i in range(0, len(w), columns)]
    assert paper.text().split() == chunks


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60)
@given(text=TEXTS, fill=st.sampled_from(["idle", "rubout", "nul"]))
def test_only_printing_characters_line_ends_and_fill_come_out(mode, fill, text):
    printer = Printer(Profile(margin_bell=0))
    printer.fill = fill
    strokes = MODES[mode](printer, text.replace("\a", "")) + printer.flush()
    fills = {"idle": set(), "rubout": {0x7F}, "nul": {0x00}}[fill]
    assert set(bytes_of(strokes)) <= {*range(0x20, 0x60), CR, LF} | fills


@given(TEXTS)
def test_at_most_the_last_word_is_held_back(text):
    printer = Printer(column=0)
    printer.feed(text)
    last = re.search(r" *[^ \n]*$", fold_text(text))
    assert last is not None
    assert printer.held_characters <= len(last[0])


@pytest.mark.parametrize("mode", ["prose", "code", "echo"])
@given(text=TEXTS, profile=PROFILES)
def test_without_overstrikes_no_glyph_lands_on_another(mode, text, profile):
    printer = Printer(profile)
    strokes = MODES[mode](printer, text) + printer.flush() + printer.fresh_line()
    assert sheet(strokes, profile).overstruck_cells() == []


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60)
@given(text=TEXTS | ART, profile=PROFILES)
def test_each_stroke_says_where_the_carriage_stands_and_how_long_it_flies(mode, text, profile):
    printer = Printer(profile)
    column: int | None = None
    for stroke in MODES[mode](printer, text) + printer.flush() + printer.fresh_line():
        assert stroke.column == column
        far = profile.columns if column is None else column
        assert stroke.settle_s == (pytest.approx(0.1 + travel_s(profile, far)) if stroke.byte == CR else 0.0)
        column = 0 if stroke.byte == CR else column if column is None else column + stroke.is_spacing
    assert printer.column == column


# Prose.


def test_a_word_of_exactly_72_fits():
    assert print_bytes("x" * 72) == b"X" * 72


def test_a_word_of_73_is_cut_on_a_line_of_its_own():
    assert print_bytes("a " + "x" * 73 + " b") == b"A\r\n" + b"X" * 72 + b"\r\nX B"


def test_blanks_at_a_wrap_are_dropped():
    assert print_bytes("a" * 70 + "     bcd") == b"A" * 70 + b"\r\nBCD"


def test_blanks_at_the_end_of_a_line_are_not_printed():
    assert print_bytes("ab   \ncd") == b"AB\r\nCD"


def test_blanks_at_the_beginning_of_a_line_are_kept():
    assert print_bytes("a\n    b") == b"A\r\n    B"


def test_a_blank_line_costs_only_a_line_feed():
    assert print_bytes("a\n\n\nb") == b"A\r\n\n\nB"


def test_flush_prints_the_blank_after_a_prompt():
    assert print_bytes("? ") == b"? "


def test_flush_in_mid_word_goes_on_where_it_was():
    printer = Printer(column=0)
    assert bytes_of(printer.feed("hel") + printer.flush() + printer.feed("lo") + printer.flush()) == b"HELLO"


def test_a_fraction_in_pieces_keeps_away_from_its_number():
    printer = Printer(column=0)
    strokes = printer.feed("3") + printer.feed("½ ") + printer.feed("½\n½") + printer.flush()
    assert bytes_of(strokes) == b"3 1/2 1/2\r\n1/2"


def test_a_fraction_on_a_fresh_line_begins_it():
    printer = Printer(column=0)
    assert bytes_of(printer.feed("3") + printer.fresh_line() + printer.feed("½") + printer.flush()) == b"3\r\n1/2"


def test_code_is_folded_reversibly():
    assert print_bytes("if (Ok) {\n}", mode="code") == b"IF (\\OK) \\(\r\n\\)"


def test_an_unknown_column_means_a_clean_line_first():
    printer = Printer()
    assert bytes_of(printer.feed("a ")) == b"\r\nA"


def test_fresh_line_does_nothing_at_the_left_margin():
    assert Printer(column=0).fresh_line() == []


def test_a_bell_does_not_move_the_carriage():
    printer = Printer(column=7)
    assert printer.bell() == [Stroke(0x07, 7)]
    assert printer.column == 7


# Typed keys.


def test_echo_holds_nothing_back_and_wraps_at_the_margin():
    printer = Printer(column=70)
    assert bytes_of(printer.echo_keys("abc\a")) == b"AB\r\nC\x07"
    assert printer.column == 1


def test_echo_passes_no_control_but_the_bell():
    assert bytes_of(Printer(column=0).echo_keys("a\x05\x11\x12\x14\x1bb")) == b"AB"


@pytest.mark.parametrize(("columns", "before", "rings"), [(72, 8, 64), (40, 5, 35), (72, 0, None)])
def test_the_margin_bell_rings_once_where_the_profile_says(columns, before, rings):
    strokes = Printer(Profile(columns=columns, margin_bell=before), column=0).echo_keys("x" * columns)
    assert [stroke.column for stroke in strokes if stroke.byte == 0x07] == ([] if rings is None else [rings])


def test_the_margin_bell_is_for_typing_and_not_for_text():
    assert b"\a" not in print_bytes("a " * 100)


# Overstrikes.


@pytest.mark.parametrize(
    ("text", "paper"),
    [
        ("b\bbo\bol\bld\bd\n", b"BOLD\rBOLD\r\n"),
        ("a _\bb_\bc d\n", b"A BC D\r  __\r\n"),
        ("a b\b_c\b_ d\n", b"A BC D\r  __\r\n"),
        ("_\bx\bx\n", b"X\rX\r_\r\n"),
        ("x\b/\n", b"X\r/\r\n"),
        ("ab\b\b__ c\n", b"AB C\r__\r\n"),
        ("snake_case \b_\n", b"SNAKE_CASE_\r\n"),
        ("—\b—\n—\b_a\n", b"--\r--\r\n--A\r__\r\n"),
        ("3½\b_ x\n", b"3 1/2 X\r  ___\r\n"),
        ("—\b-a\n", b"--A\r-\r\n"),
        ("\bx\n\by\n", b"X\r\nY\r\n"),
        ("a\b\n\bb\b ", b"A\r\nB"),
        ("ab cd\b\b\b\b/ x\n", b"AB CD\r / X\r\n"),
        ("a   \b\bx\n", b"A X\r\n"),
        ("a \b\b\b\b/b\n", b"AB\r/\r\n"),
        ("ab cd\b\b\b/\n", b"AB CD\r  /\r\n"),
        ("x²\b²³\b³ _\b1_\b0_\b²\n", b"X^23 10^2\r ^23 ___\r\n"),
    ],
)
def test_a_typewriters_overstrikes_are_later_passes(text, paper):
    assert print_bytes(text, mode="typewriter") == paper


def test_a_backspace_at_the_right_margin_loses_no_ink():
    printer = Printer(Profile(columns=20), column=0)
    strokes = printer.feed("x" * 20 + "    ", overstrike=True) + printer.flush()
    strokes += printer.feed("yy\b\b\b/\n", overstrike=True)
    assert sorted("".join(map("".join, sheet(strokes).inked_cells()))) == sorted("X" * 20 + "YY/")


def ink(paper: Paper) -> list[str]:
    return sorted(glyph for line in paper.inked_cells() for cell in line for glyph in cell)


TYPED = st.lists(st.sampled_from(["a", "b", "cde", "  ", " ", "\b", "\b\b", "/", "\n"]), max_size=40)


@given(TYPED, CUTS, st.sampled_from([20, 30, 72]), st.sampled_from([None, 0, 9]))
def test_all_overstruck_glyphs_leave_ink(keys, cuts, columns, column):
    text = "".join(keys)
    printer = Printer(Profile(columns=columns), column=column)
    strokes: list[Stroke] = []
    for first, end in pairwise([0, *sorted(cuts), len(text)]):
        strokes += printer.feed(text[first:end], overstrike=True) + printer.flush()
    paper = sheet(strokes + printer.fresh_line())
    assume(max((len(cell) for line in paper.inked_cells() for cell in line), default=0) < 8)
    assert ink(paper) == sorted(glyph for glyph in text.upper() if glyph > " ")


@given(TYPED)
def test_overstrikes_land_where_a_typewriter_puts_them(keys):
    text = "".join(keys)
    assume(max(map(len, text.split("\n"))) <= 72)
    printer = Printer(column=0)
    paper = sheet(printer.feed(text, overstrike=True) + printer.fresh_line())
    lines: list[list[str]] = [[]]
    column = 0
    for char in text.upper():
        if char == "\n":
            lines.append([])
        line = lines[-1]
        column = 0 if char == "\n" else max(0, column - 1) if char == "\b" else column
        if char >= " ":
            line.extend([""] * (column + 1 - len(line)))
            line[column] += char.strip()
            column += 1
    assume(max((len(cell) for line in lines for cell in line), default=0) < 8)
    drawn = [stripped([sorted(cell) for cell in line]) for line in lines]
    cells = [stripped([sorted(cell) for cell in line]) for line in paper.inked_cells()]
    assert cells[: len(drawn)] == drawn


def test_without_overstrike_a_backspace_vanishes():
    assert print_bytes("_\bx\n") == b"_X\r\n"


def test_a_word_with_overstrikes_wraps_as_a_whole_and_each_line_has_its_own_passes():
    text = "a" * 66 + " o\bo o\bon\bn " + "b\bbo\bol\bld\bd\n"
    assert print_bytes(text, mode="typewriter") == b"A" * 66 + b" O ON\r" + b" " * 67 + b"O ON\r\nBOLD\rBOLD\r\n"


def test_a_pass_takes_the_time_of_its_own_column():
    strokes = Printer(column=0).feed("_\ba" + "b" * 35 + "\n", overstrike=True)
    assert [(stroke.column, stroke.settle_s) for stroke in strokes if stroke.byte == CR] == [
        (36, pytest.approx(0.2)),
        (1, pytest.approx(0.1 + 0.2 / 72)),
    ]


def test_a_pair_may_be_flushed_in_between():
    printer = Printer(column=0)
    strokes = printer.feed("ab", overstrike=True) + printer.flush() + printer.feed("\bbc\n", overstrike=True)
    assert bytes_of(strokes) == b"ABC\r B\r\n"


def test_a_backspace_does_not_reach_into_text_that_has_none():
    printer = Printer(column=0)
    strokes = printer.feed("ab\b", overstrike=True) + printer.feed("c") + printer.feed("d\n", overstrike=True)
    assert bytes_of(strokes) == b"ABCD\r\n"


@pytest.mark.parametrize("flushed", [False, True])
def test_a_cell_is_struck_eight_times_at_most(flushed):
    printer = Printer(column=0)
    strokes = printer.feed("x", overstrike=True)
    for _ in range(50):
        strokes += printer.flush() if flushed else []
        strokes += printer.feed("\bx", overstrike=True)
    assert bytes_of(strokes + printer.feed("\n")) == b"X\rX\rX\rX\rX\rX\rX\rX\r\n"


def test_the_wheel_of_1963_cannot_underline():
    assert print_bytes("_\ba b\b_ _ x\bx\n", mode="typewriter", wheel="1963") == b"A B - X\r      X\r\n"
    printer = Printer(Profile(wheel="1963"), column=0)
    strokes = printer.feed("a", overstrike=True) + printer.flush() + printer.feed("\b_\n", overstrike=True)
    assert bytes_of(strokes) == b"A\r\n"


@given(st.lists(st.sampled_from(["a", "b", "c\bc", "_\bd", "e\b_", " ", "\n", "f\bf\b_"]), max_size=120))
def test_overstrikes_change_no_line_and_land_on_their_letters(characters):
    text = "".join(characters)
    printer, plain = Printer(column=0), Printer(column=0)
    strokes = printer.feed(text, overstrike=True) + printer.flush() + printer.fresh_line()
    first = re.sub("_\b|\b.", "", text)
    lines = sheet(plain.feed(first) + plain.flush() + plain.fresh_line()).inked_cells()
    cells = sheet(strokes).inked_cells()
    assert [[cell[:1] for cell in line] for line in cells] == lines
    over = {"A": "", "B": "", "C": "C", "D": "_", "E": "_", "F": "F_"}
    assert all(cell[1:] == over[cell[0]] for line in cells for cell in line if cell)


# Art.


@pytest.mark.parametrize(
    ("text", "paper"),
    [
        ("x  x\n x\n", b"X  X\r\n X\r\n"),
        ("ab\r--\n", b"AB\r--\r\n"),
        ("ab\r--\r\nc", b"AB\r--\r\nC"),
        ("ab\r\r\r\nc", b"AB\r\nC"),
        ("ab\r  \r\n", b"AB\r\n"),
        ("ab   \n   \nc", b"AB\r\n\nC"),
        ("\n\nx", b"\n\nX"),
        ("a\fb\x07\x1b", b"A\r\nB"),
        ("abc\r \rX", b"ABC\rX"),
        ("ab\b\b__c\n", b"ABC\r__\r\n"),
        ("a  \bb\bx\n", b"A B\r  X\r\n"),
        ("a\b\b\b_\n\b_", b"A\r_\r\n_"),
        ("é—…½🚀█", b"E-.??#"),
        ("\rx\r-", b"X\r-"),
    ],
)
def test_art_is_struck_as_it_is(text, paper):
    assert print_bytes(text, mode="art") == paper


def test_art_that_is_too_wide_is_cut_and_not_wrapped():
    assert print_bytes("x" * 90 + "\r" + "-" * 73 + "\ny", mode="art") == b"X" * 72 + b"\r" + b"-" * 72 + b"\r\nY"
    assert print_bytes(" " * 72 + "x\ny", mode="art") == b"\nY"
    assert print_bytes("x" * 75 + "\b\b\b\b/", mode="art") == print_bytes("x" * 72 + "\b/", mode="art")


def test_text_after_an_unfinished_overprint_begins_a_line():
    printer = Printer(column=0)
    assert bytes_of(printer.feed_raw("abc\r-") + printer.feed("d ") + printer.flush()) == b"ABC\r-\r\nD "


def test_text_ends_the_state_of_art():
    printer = Printer(column=0)
    assert bytes_of(printer.feed_raw("a\r") + printer.feed("b ") + printer.feed_raw("c")) == b"AB C"


def test_art_may_be_flushed_in_the_second_pass():
    printer = Printer(column=0)
    strokes = printer.feed_raw("abc\r ") + printer.flush() + printer.feed_raw("-\r") + printer.flush()
    assert bytes_of(strokes) == b"ABC\r -"


def test_art_continues_on_a_clean_line_when_the_column_is_unknown():
    printer = Printer(column=0)
    printer.feed_raw("abc\r-")
    printer.lose_track()
    assert bytes_of(printer.feed_raw("d")) == b"\r\nD"


@given(ART)
def test_art_on_paper_is_what_was_drawn(text):
    drawn = Paper(200)
    text = text.replace("\b", "")
    for line in text.replace("\r\n", "\n").replace("\f", "\n").split("\n"):
        drawn.feed(re.sub("\r+", "\r", fold_art(line)).encode() + b"\r\n")
    printer = Printer(Profile(columns=74), column=0)
    strokes = printer.feed_raw(text)
    cut = [[cell for cell in line[:74]] for line in drawn.inked_cells()][:-1]
    assert [stripped(line) for line in sheet(strokes).inked_cells()] == [stripped(line) for line in cut]


def fold_art(line: str) -> str:
    return "".join({"\r": "\r", "—": "-", "🚀": "?", "é": "E"}.get(char, char) for char in line)


def stripped(line: list[str]) -> list[str]:
    while line and not line[-1]:
        line = line[:-1]
    return line


# Other machines.


@pytest.mark.parametrize(("column", "settle_s"), [(None, 0.3), (72, 0.3), (36, 0.2), (18, 0.15)])
def test_the_carriage_gets_the_time_that_its_column_needs(column, settle_s):
    carriage_return, line_feed = Printer(column=column).fresh_line()
    assert carriage_return == Stroke(CR, column, pytest.approx(settle_s))
    assert line_feed == Stroke(LF, 0)


def test_a_slow_and_wide_machine_gets_more_time():
    profile = Profile(columns=86, travel_ms=400, gentle=True)
    assert Printer(profile).fresh_line()[0].settle_s == pytest.approx(0.1 + 0.5 * 86 / 72 * 10 / 12)
    assert Printer(profile, column=36).fresh_line()[0].settle_s == pytest.approx(0.1 + 0.5 * 30 / 72)


def test_where_cr_feeds_the_paper_it_is_the_new_line():
    profile = {"return_feeds": True}
    assert print_bytes("a\n\nb\n", **profile) == b"A\r\nB\r"
    assert print_bytes("b\bb\n", mode="typewriter", **profile) == b"B\r"
    assert print_bytes("ab\r--\nc", mode="art", **profile) == b"AB\rC"
    assert print_bytes("\rab\n  \rc", mode="art", **profile) == b"AB\rC"


def test_where_lf_returns_the_carriage_its_travel_is_waited_for():
    printer = Printer(Profile(feed_returns=True), column=36)
    assert printer.observe_byte(LF) == pytest.approx(0.2)
    assert printer.column == 0


def test_with_auto_return_the_last_column_stays_free():
    assert print_bytes("x" * 73, auto_return=True) == b"X" * 71 + b"\r\nXX"


# Fill.


@pytest.mark.parametrize(("travel_ms", "column", "fills"), [(200, 72, 2), (200, 5, 2), (400, 72, 3), (1000, 72, 9)])
def test_a_tape_gets_two_rubouts_or_as_many_as_the_carriage_needs(travel_ms, column, fills):
    printer = Printer(Profile(travel_ms=travel_ms), column=column)
    printer.fill = "rubout"
    strokes = printer.fresh_line()
    assert bytes_of(strokes) == b"\r\n" + b"\x7f" * fills
    assert 0.1 * len(strokes) >= strokes[0].settle_s - 1e-9
    assert not any(stroke.is_spacing for stroke in strokes)


def test_fill_may_change_while_the_printer_runs():
    printer = Printer(column=0)
    strokes = printer.feed("a\n")
    printer.fill = "rubout"
    strokes += printer.feed("_\bb\n\n", overstrike=True)
    printer.fill = "nul"
    strokes += printer.feed("c\n")
    assert bytes_of(strokes) == b"A\r\nB\r\x7f\x7f_\r\n\x7f\x7f\n\x7f\x7fC\r\n\0\0"


@pytest.mark.parametrize("wheel", ["1963", "1968"])
def test_raw_5f_is_what_the_wheel_has_there(wheel):
    printer = Printer(Profile(wheel=wheel), column=0)
    assert [stroke.byte for stroke in printer.feed_raw("A_B^")] == list(b"A_B^")
