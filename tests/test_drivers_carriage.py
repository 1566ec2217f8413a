"""Strokes that were never struck, keys that the machine printed by itself, and a lost column."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_drivers_printer import ART, MODES, PROFILES, TEXTS, bytes_of, sheet, travel_s

from drivers.paper.paper import BEL, CR, LF, Paper
from drivers.text import carriage
from drivers.text.printer import Printer, Stroke

CONTINUATIONS = {
    "feed": lambda printer: [],
    "fresh line": lambda printer: printer.fresh_line(),
    "echo": lambda printer: printer.echo_keys("x"),
    "bell": lambda printer: printer.echo_keys("\a"),
}
KEYS = st.lists(
    st.sampled_from(
        [b"ABCDEFGHIJKLMNOPQRSTU", b"A", b" ", b"_", b"\r", b"\n", b"\x07", b"\x7f", b"\0", b"\xc1", b"\x8d"]
    ),
    max_size=30,
).map(b"".join)


def last_line(paper: Paper) -> list[str]:
    return next((line for line in reversed(paper.inked_cells()) if line), [])


def strike_first(printer: Printer, strokes: list[Stroke], count: int) -> list[Stroke]:
    """Returns the first strokes; the others were never struck."""
    printer.forget_unstruck(strokes[count:])
    return strokes[:count]


# Strokes that were never struck.


@pytest.mark.parametrize("continuation", CONTINUATIONS)
@pytest.mark.parametrize("mode", ["prose", "typewriter", "echo"])
@settings(max_examples=40)
@given(text=TEXTS, first=st.integers(0, 200), second=st.integers(0, 4), profile=PROFILES)
def test_no_glyph_lands_on_another_after_any_unstruck_strokes(mode, continuation, text, first, second, profile):
    printer = Printer(profile)
    struck = strike_first(printer, MODES[mode](printer, text) + printer.flush(), first)
    start = len(struck)
    again = CONTINUATIONS[continuation](printer) + printer.feed("  again") + printer.flush()
    struck += strike_first(printer, again, second)
    struck += printer.echo_keys("once more")
    lines = sheet(struck, profile).inked_cells()
    intended = sheet(struck[:start], profile).overstruck_cells()  # by the typewriter mode
    assert [cell for cell in sheet(struck, profile).overstruck_cells() if cell not in intended] == []
    assert max(map(len, lines)) <= profile.usable_columns
    assert sheet(struck, profile).column == printer.column


@given(text=ART, at=st.integers(0, 200), more=ART)
def test_interrupted_art_is_not_overstruck(text, at, more):
    printer = Printer()
    struck = strike_first(printer, printer.feed_raw(text), at)
    before = sheet(struck).overstruck_cells()
    struck += printer.feed_raw(re.sub("[\r\b]", "", more))
    assert [cell for cell in sheet(struck).overstruck_cells() if cell not in before] == []


def test_strokes_that_were_never_struck_do_not_move_the_carriage():
    printer = Printer(column=0)
    strokes = printer.feed("hello there wor")
    printer.forget_unstruck(strokes[3:])
    assert (printer.column, printer.held_characters, printer.flush()) == (3, 0, [])


def test_an_unstruck_line_feed_is_struck_later():
    printer = Printer(column=5)
    printer.forget_unstruck(printer.fresh_line()[1:])
    assert printer.column == 0
    assert bytes_of(printer.fresh_line()) == b"\n"
    assert printer.fresh_line() == []


def test_an_unstruck_line_break_leaves_the_carriage_on_its_line():
    printer = Printer(column=0)
    strokes = printer.feed("ab\ncd\n\nef\n")
    printer.forget_unstruck(strokes[2:])
    assert printer.column == 2
    assert bytes_of(printer.feed("x ")) == b"X"


def test_an_unstruck_second_pass_is_dropped():
    printer = Printer(column=0)
    strokes = printer.feed("b\bbo\bo", overstrike=True) + printer.flush()
    printer.forget_unstruck(strokes[2:])
    assert bytes_of(printer.fresh_line()) == b"\r\n"


def test_a_break_in_a_bold_word_leaves_no_second_pass():
    printer = Printer(column=0)
    strokes = printer.feed("b\bbo\bol\bld\bd ", overstrike=True)
    printer.forget_unstruck(strokes[2:])
    assert bytes_of(printer.feed("d over\n")) == b"D OVER\r\n"


def test_unstruck_control_codes_are_skipped():
    printer = Printer(column=0)
    strokes = printer.feed("abc def ")
    printer.forget_unstruck([*strokes[3:5], Stroke(0x14, 5), *strokes[5:], Stroke(BEL, 7), Stroke(0x12, 7)])
    assert printer.column == 3


def test_forgotten_lines_make_the_column_unknown(monkeypatch):
    monkeypatch.setattr(carriage, "_MAX_LINES", 5)
    printer = Printer(column=0)
    strokes = printer.feed("ab\n" * 20)
    printer.forget_unstruck(strokes[-8:])
    assert printer.column == 0
    printer.forget_unstruck(strokes[:-8])
    assert printer.column is None
    assert bytes_of(printer.fresh_line()) == b"\r\n"


def test_the_column_is_known_after_very_many_passes(monkeypatch):
    monkeypatch.setattr(carriage, "_MAX_LINE_STROKES", 102)
    printer = Printer(column=0)
    for _ in range(200):
        strokes = printer.feed_raw("abcd\r")
    printer.forget_unstruck(strokes[-2:])
    assert printer.column == 2


# Half duplex: keys that the machine printed by itself.


@given(KEYS, PROFILES)
def test_the_column_follows_the_machines_own_keys(keys, profile):
    printer, paper = Printer(profile, column=0), Paper.for_profile(profile)
    for byte in keys:
        before = paper.column
        paper.feed(bytes([byte]))
        settle_s = printer.observe_byte(byte)
        assert printer.column == paper.column
        home = before > 0 and paper.column == 0
        far = before + (byte & 0x7F not in (CR, LF))
        assert settle_s == (pytest.approx(0.1 + travel_s(profile, far)) if home else 0.0)
    paper.feed(bytes_of(printer.feed("x") + printer.flush()))
    assert last_line(paper)[-1] == "X"


@given(KEYS)
def test_nothing_is_struck_over_what_was_typed(keys):
    printer, paper = Printer(column=0), Paper(200)
    for byte in keys:
        paper.feed(bytes([byte]))
        printer.observe_byte(byte)
    own = paper.overstruck_cells()
    paper.feed(bytes_of(printer.feed("hello there") + printer.flush()))
    assert paper.overstruck_cells() == own


def test_after_return_was_typed_a_line_feed_is_enough():
    printer = Printer(column=0)
    for byte in b"AB\r":
        printer.observe_byte(byte)
    assert printer.echo_keys("\n") == [Stroke(LF, 0)]


def test_an_unknown_column_is_known_again_after_a_return():
    printer = Printer()
    printer.observe_byte(ord("A"))
    assert printer.column is None
    assert printer.observe_byte(CR) == pytest.approx(0.3)
    assert printer.column == 0
    assert bytes_of(printer.fresh_line()) == b"\n"


def test_a_key_at_the_margin_needs_a_new_line():
    printer = Printer(column=70)
    printer.observe_byte(ord("A"))
    assert printer.return_at_margin() == []
    printer.observe_byte(ord("B"))
    assert bytes_of(printer.return_at_margin()) == b"\r\n"
    assert printer.column == 0


def test_a_key_between_strokes_that_are_forgotten_stays_typed():
    printer = Printer(column=0)
    strokes = printer.feed("ab cd ")
    printer.observe_byte(ord("X"))
    printer.forget_unstruck(strokes[2:])
    assert printer.column == 3
    assert bytes_of(printer.feed("ef ")) == b"EF"


def test_after_lose_track_the_return_takes_the_longest_time():
    printer = Printer(column=0)
    printer.feed("b\bb ", overstrike=True)
    printer.lose_track()
    assert printer.column is None
    assert printer.fresh_line()[0] == Stroke(CR, None, pytest.approx(0.3))
