import re
from itertools import pairwise
from pathlib import Path

import pytest
from fakes import overstruck
from hypothesis import given
from hypothesis import strategies as st

from drivers.charset import fold
from drivers.paper import Paper
from drivers.printer import Printer, Stroke

GOLDEN = Path(__file__).parent / "golden"
TEXTS = st.text(st.sampled_from("abcdefgh    \n—½🚀é") | st.characters(), max_size=400)


def wire(strokes: list[Stroke]) -> bytes:
    return bytes(stroke.byte for stroke in strokes)


def printed(text: str, columns: int = 72) -> bytes:
    printer = Printer(columns, column=0)
    return wire(printer.feed(text) + printer.flush())


def readable(data: bytes) -> str:
    """The wire as golden files have it: a line for each line feed, controls by name."""
    names = {0x0D: "<CR>", 0x0A: "<LF>\n", 0x07: "<BEL>", 0x3C: "<3C>"}
    return "".join(names.get(byte, chr(byte)) for byte in data)


def unreadable(text: str) -> bytes:
    names = {"<CR>": "\r", "<LF>": "\n", "<BEL>": "\a", "<3C>": "<"}
    return re.sub("<(?:CR|LF|BEL|3C)>", lambda name: names[name[0]], text.replace("\n", "")).encode()


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.wire")), ids=lambda path: path.stem)
def test_a_golden_wire_gives_its_paper(golden):
    paper = Paper()
    paper.feed(unreadable(golden.read_text()))
    assert paper.text() + "\n" == golden.with_suffix(".paper").read_text()


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.text")), ids=lambda path: path.stem)
def test_a_golden_text_gives_its_wire(golden):
    assert readable(printed(golden.read_text())) == golden.with_suffix(".wire").read_text()


@given(TEXTS, st.lists(st.integers(0, 400)))
def test_a_text_cut_anywhere_gives_the_same_strokes(text, cuts):
    edges = [0, *sorted(cuts), len(text)]
    whole, pieces = Printer(), Printer()
    strokes = [stroke for a, b in pairwise(edges) for stroke in pieces.feed(text[a:b])]
    assert strokes + pieces.flush() == whole.feed(text) + whole.flush()


@given(TEXTS, st.integers(5, 74))
def test_no_line_is_too_long_and_no_word_that_fits_is_split(text, columns):
    paper = Paper(200)
    paper.feed(printed(text, columns))
    assert max(map(len, paper.lines)) <= columns
    chunks = [w[i : i + columns] for w in fold(text).split() for i in range(0, len(w), columns)]
    assert paper.text().split() == chunks


@given(TEXTS)
def test_only_printing_characters_and_line_ends_come_out(text):
    assert set(printed(text)) <= {*range(0x20, 0x60), 0x0D, 0x0A}


@given(TEXTS)
def test_at_most_the_last_word_is_held_back(text):
    printer = Printer(column=0)
    printer.feed(text)
    last = re.search(r" *[^ \n]*$", fold(text))
    assert last is not None
    assert printer.held <= len(last[0])


def test_a_word_of_exactly_72_fits():
    assert printed("x" * 72) == b"X" * 72


def test_a_word_of_73_is_cut_on_a_line_of_its_own():
    assert printed("a " + "x" * 73 + " b") == b"A\r\n" + b"X" * 72 + b"\r\nX B"


def test_the_blanks_at_a_wrap_are_eaten():
    assert printed("a" * 70 + "     bcd") == b"A" * 70 + b"\r\nBCD"


def test_blanks_at_the_end_of_a_line_are_not_printed():
    assert printed("ab   \ncd") == b"AB\r\nCD"


def test_blanks_at_the_beginning_of_a_line_are_kept():
    assert printed("a\n    b") == b"A\r\n    B"


def test_a_blank_line_costs_only_a_line_feed():
    assert printed("a\n\n\nb") == b"A\r\n\n\nB"


def test_flush_puts_the_blank_after_a_prompt_out():
    assert printed("? ") == b"? "


def test_flush_in_mid_word_goes_on_where_it_was():
    printer = Printer(column=0)
    assert wire(printer.feed("hel") + printer.flush() + printer.feed("lo") + printer.flush()) == b"HELLO"


@pytest.mark.parametrize(("column", "settle_s"), [(None, 0.3), (72, 0.3), (36, 0.2), (18, 0.15)])
def test_the_carriage_gets_the_time_that_its_column_needs(column, settle_s):
    carriage_return, line_feed = Printer(column=column).fresh_line()
    assert carriage_return == Stroke(0x0D, column, pytest.approx(settle_s))
    assert line_feed == Stroke(0x0A, 0)


def test_an_unknown_column_means_a_clean_line_first():
    printer = Printer()
    assert wire(printer.feed("a ")) == b"\r\nA"


def test_fresh_line_does_nothing_at_the_left_margin():
    assert Printer(column=0).fresh_line() == []


def test_a_bell_does_not_move_the_carriage():
    printer = Printer(column=7)
    assert printer.bell() == [Stroke(0x07, 7)]
    assert printer.column == 7


def test_echo_holds_nothing_back_and_turns_at_the_margin():
    printer = Printer(column=70)
    assert wire(printer.echo("abc\a")) == b"AB\r\nC\x07"
    assert printer.column == 1


def test_echo_lets_no_control_but_the_bell_through():
    assert wire(Printer(column=0).echo("a\x05\x11\x12\x14\x1bb")) == b"AB"


def test_strokes_that_were_never_struck_do_not_move_the_carriage():
    printer = Printer(column=0)
    strokes = printer.feed("hello there wor")
    printer.forget(strokes[3:])
    assert (printer.column, printer.held, printer.flush()) == (3, 0, [])


def test_a_line_feed_that_was_never_struck_is_made_up_for():
    printer = Printer(column=5)
    printer.forget(printer.fresh_line()[1:])
    assert printer.column == 0
    assert wire(printer.fresh_line()) == b"\n"
    assert printer.fresh_line() == []


@given(TEXTS, st.integers(0, 400), st.integers(0, 3), st.sampled_from(["feed", "fresh_line", "echo", "bell"]))
def test_whatever_was_never_struck_nothing_lands_on_another_glyph(text, cut, second_cut, how):
    printer, paper = Printer(), Paper()
    strokes = printer.feed(text) + printer.flush()
    paper.feed(wire(strokes[:cut]))
    printer.forget(strokes[cut:])
    go_on = {
        "feed": lambda: [],
        "fresh_line": printer.fresh_line,
        "echo": lambda: printer.echo("x"),
        "bell": lambda: printer.echo("\a"),
    }
    strokes = go_on[how]() + printer.feed("  again") + printer.flush()
    paper.feed(wire(strokes[:second_cut]))
    printer.forget(strokes[second_cut:])
    paper.feed(wire(printer.echo("once more")))
    assert overstruck(paper) == []
    assert paper.column == printer.column
