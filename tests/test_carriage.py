"""What was given out and never struck, what the machine printed by itself, and a line that was lost and found."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_printer import ART, PROFILES, TEXTS, WAYS, sheet, travel_s, wire

from drivers.paper.paper import BEL, CR, LF, Paper
from drivers.text import carriage
from drivers.text.printer import Printer, Stroke

GO_ON = {
    "feed": lambda printer: [],
    "fresh line": lambda printer: printer.fresh_line(),
    "echo": lambda printer: printer.echo("x"),
    "bell": lambda printer: printer.echo("\a"),
}
KEYS = st.lists(
    st.sampled_from(
        [b"ABCDEFGHIJKLMNOPQRSTU", b"A", b" ", b"_", b"\r", b"\n", b"\x07", b"\x7f", b"\0", b"\xc1", b"\x8d"]
    ),
    max_size=30,
).map(b"".join)


def last_line(paper: Paper) -> list[str]:
    return next((line for line in reversed(paper.inked_cells()) if line), [])


def cut(printer: Printer, strokes: list[Stroke], at: int) -> list[Stroke]:
    printer.forget_unstruck(strokes[at:])
    return strokes[:at]


# Never struck.


@pytest.mark.parametrize("how", GO_ON)
@pytest.mark.parametrize("way", ["prose", "typewriter", "echo"])
@settings(max_examples=40)
@given(text=TEXTS, first=st.integers(0, 200), second=st.integers(0, 4), profile=PROFILES)
def test_whatever_was_never_struck_nothing_lands_on_another_glyph(way, how, text, first, second, profile):
    printer = Printer(profile)
    struck = cut(printer, WAYS[way](printer, text) + printer.flush(), first)
    begun = len(struck)
    struck += cut(printer, GO_ON[how](printer) + printer.feed("  again") + printer.flush(), second)
    struck += printer.echo_keys("once more")
    lines = sheet(struck, profile).inked_cells()
    meant = sheet(struck[:begun], profile).overstruck_cells()  # a typewriter's own
    assert [over for over in sheet(struck, profile).overstruck_cells() if over not in meant] == []
    assert max(map(len, lines)) <= profile.usable
    assert sheet(struck, profile).column == printer.column


@given(text=ART, at=st.integers(0, 200), more=ART)
def test_art_that_was_broken_off_is_not_struck_over(text, at, more):
    printer = Printer()
    struck = cut(printer, printer.feed_raw(text), at)
    before = sheet(struck).overstruck_cells()
    rest = printer.feed_raw(re.sub("[\r\b]", "", more))
    assert [over for over in sheet(struck + rest).overstruck_cells() if over not in before] == []


def test_strokes_that_were_never_struck_do_not_move_the_carriage():
    printer = Printer(column=0)
    strokes = printer.feed("hello there wor")
    printer.forget_unstruck(strokes[3:])
    assert (printer.column, printer.held_characters, printer.flush()) == (3, 0, [])


def test_a_line_feed_that_was_never_struck_is_made_up_for():
    printer = Printer(column=5)
    printer.forget_unstruck(printer.fresh_line()[1:])
    assert printer.column == 0
    assert wire(printer.fresh_line()) == b"\n"
    assert printer.fresh_line() == []


def test_a_line_break_that_was_never_struck_leaves_the_line_before():
    printer = Printer(column=0)
    strokes = printer.feed("ab\ncd\n\nef\n")
    printer.forget_unstruck(strokes[2:])
    assert printer.column == 2
    assert wire(printer.feed("x ")) == b"X"


def test_a_second_pass_that_was_never_struck_is_not_made_up_for():
    printer = Printer(column=0)
    strokes = printer.feed("b\bbo\bo", overstrike=True) + printer.flush()
    printer.forget_unstruck(strokes[2:])
    assert wire(printer.fresh_line()) == b"\r\n"


def test_a_break_in_a_bold_word_leaves_no_ghost_of_it_on_the_line_after():
    printer = Printer(column=0)
    strokes = printer.feed("b\bbo\bol\bld\bd ", overstrike=True)
    printer.forget_unstruck(strokes[2:])
    assert wire(printer.feed("d over\n")) == b"D OVER\r\n"


def test_strokes_of_a_verb_among_the_unstruck_are_passed_over():
    printer = Printer(column=0)
    strokes = printer.feed("abc def ")
    printer.forget_unstruck([*strokes[3:5], Stroke(0x14, 5), *strokes[5:], Stroke(BEL, 7), Stroke(0x12, 7)])
    assert printer.column == 3


def test_what_is_too_long_ago_is_not_guessed_at(monkeypatch):
    monkeypatch.setattr(carriage, "_MAX_LINES", 5)
    printer = Printer(column=0)
    strokes = printer.feed("ab\n" * 20)
    printer.forget_unstruck(strokes[-8:])
    assert printer.column == 0
    printer.forget_unstruck(strokes[:-8])
    assert printer.column is None
    assert wire(printer.fresh_line()) == b"\r\n"


def test_on_a_line_overprinted_for_ever_the_carriage_is_still_known(monkeypatch):
    monkeypatch.setattr(carriage, "_MAX_LINE_STROKES", 102)
    printer = Printer(column=0)
    for _ in range(200):
        strokes = printer.feed_raw("abcd\r")
    printer.forget_unstruck(strokes[-2:])
    assert printer.column == 2


# Half duplex: what the machine printed by itself.


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
    paper.feed(wire(printer.feed("x") + printer.flush()))
    assert last_line(paper)[-1] == "X"


@given(KEYS)
def test_nothing_is_struck_over_what_was_typed(keys):
    printer, paper = Printer(column=0), Paper(200)
    for byte in keys:
        paper.feed(bytes([byte]))
        printer.observe_byte(byte)
    own = paper.overstruck_cells()
    paper.feed(wire(printer.feed("hello there") + printer.flush()))
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
    assert wire(printer.fresh_line()) == b"\n"


def test_the_margin_asks_for_a_new_line():
    printer = Printer(column=70)
    printer.observe_byte(ord("A"))
    assert printer.return_at_margin() == []
    printer.observe_byte(ord("B"))
    assert wire(printer.return_at_margin()) == b"\r\n"
    assert printer.column == 0


def test_a_key_between_strokes_that_are_forgotten_stays_typed():
    printer = Printer(column=0)
    strokes = printer.feed("ab cd ")
    printer.observe_byte(ord("X"))
    printer.forget_unstruck(strokes[2:])
    assert printer.column == 3
    assert wire(printer.feed("ef ")) == b"EF"


def test_lost_track_means_a_clean_line_from_as_far_out_as_there_is():
    printer = Printer(column=0)
    printer.feed("b\bb ", overstrike=True)
    printer.lose_track()
    assert printer.column is None
    assert printer.fresh_line()[0] == Stroke(CR, None, pytest.approx(0.3))
