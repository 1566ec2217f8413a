"""Control sequences of terminals do not reach the paper: whole, in pieces, unfinished, damaged."""

import re
import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.text.control_sequences import (
    MAX_DATA_CHARS,
    MAX_SEQUENCE_CHARS,
    MAX_STRING_CHARS,
    ControlSequenceRemover,
    remove_control_sequences,
)
from drivers.text.printer import Printer, Stroke

VISIBLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\r\a\b\t\f"), max_size=12)
PRINTING = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
STRING = st.text(PRINTING, max_size=30)
SEQUENCE = st.one_of(
    st.from_regex(r"\x1b\[[0-?]{0,20}[ -/]{0,3}[@-~]", fullmatch=True),
    st.from_regex(r"\x1b[ -/]{0,3}[0-OQ-WYZ`-~]", fullmatch=True),
    st.builds("\x1b]{}{}".format, STRING, st.sampled_from(["\a", "\x1b\\", "\x9c", "\x18", "\x1a"])),
    st.builds("\x1b{}{}{}".format, st.sampled_from("PX^_"), STRING, st.sampled_from(["\x1b\\", "\x9c"])),
)
EIGHT_BIT = st.one_of(
    st.from_regex(r"\x9b[0-?]{0,20}[ -/]{0,3}[@-~]", fullmatch=True),
    st.builds("{}{}{}".format, st.sampled_from("\x90\x98\x9d\x9e\x9f"), STRING, st.sampled_from(["\x1b\\", "\x9c"])),
)
ANY = st.text(
    st.sampled_from("\x1b\x1b\x1b\x90\x98\x9b\x9c\x9d\x9e\x9f\x85[]PX^_0;m \\\a\b\t\n\r\x18\x1aaZé“\u0080\x80\u202e")
    | st.characters()
)


def in_pieces(text: str, cuts: Iterable[int]) -> str:
    remover, edges = ControlSequenceRemover(), sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return "".join(remover.feed(text[start:end]) for start, end in pairwise(edges))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[01;34mBIN\x1b[0m", "BIN"),  # ls --color
        ("\x1b]0;a title\aHI", "HI"),
        ("\x1b]8;;https://example.org\x1b\\LINK\x1b]8;;\x1b\\", "LINK"),  # ls --hyperlink
        ("\x1b(BA\x1b)0B\x1b#8C\x1b%GD", "ABCD"),
        ("\x1b7A\x1b8\x1bcB\x1b=C\x1b>", "ABC"),
        ("\x9b1mA\x9b0m", "A"),
        ("\x9d0;title\x9cA\x90q#0~\x9cB", "AB"),
        ("\x1bPq\n#0~~\n-\x1b\\A", "A"),  # a Sixel picture has more lines
        ("\x1b_Gf=100;AAAA\x1b\\A\x1b^x\x1b\\B\x1bXy\x1b\\C", "ABC"),
        ("\x1bPtmux;\x1b\x1b]0;t\a\x1b\\A", "A"),
        ("A\x1b", "A"),
        ("A\x1b[3", "A"),
        ("A\x1b[3\nB\x1b]0;t\nC", "A\nB\nC"),  # no end: they last to the end of the line
        ("\x1b[3é", "é"),
        ("\x1b[1;\x1b[2mA", "A"),
        ("\x1b\x1b[2mA", "A"),
        ("\x1b[31\x18A\x1b]0;t\x1aB", "AB"),
        ("\x1b[<0;1;2MA\x1b[?25lB\x1b[>4;2mC\x1b[2 qD\x1b[38:2::1:2:3mE", "ABCDE"),
        ("A\bA_\bB\a\t\f\r\n", "A\bA_\bB\a\t\f\r\n"),
        ("â\x80\x9dHe said", "âHe said"),  # a quotation mark in UTF-8 that was read as Latin-1
        ("Å\x9bw", "Åw"),
        ("a\x85b", "a\x85b"),
        ("a\x84\x8d\x8eb", "ab"),
    ],
)
def test_sequences_go_and_the_text_stays(text: str, shown: str) -> None:
    assert remove_control_sequences(text) == shown
    assert in_pieces(text, range(len(text))) == shown


@given(st.lists(st.tuples(VISIBLE, SEQUENCE)), VISIBLE, st.lists(st.integers(0, 10_000)))
def test_the_text_around_whole_sequences_is_kept(parts: list[tuple[str, str]], end: str, cuts: list[int]) -> None:
    text = "".join(visible + sequence for visible, sequence in parts) + end
    assert in_pieces(text, cuts) == "".join(visible for visible, _ in parts) + end


@given(st.lists(st.tuples(STRING, EIGHT_BIT)), st.lists(st.integers(0, 10_000)))
def test_the_text_around_eight_bit_sequences_is_kept(parts: list[tuple[str, str]], cuts: list[int]) -> None:
    text = "".join(visible + sequence for visible, sequence in parts)
    assert in_pieces(text, cuts) == "".join(visible for visible, _ in parts)


@given(ANY, st.lists(st.integers(0, 10_000)))
@example("\x1b]0;a" + "b" * 50 + "\x1b[1m\x9b", [5, 6, 7, 55])
def test_any_pieces_give_the_same_text_without_controls_of_terminals(text: str, cuts: list[int]) -> None:
    whole = remove_control_sequences(text)
    assert in_pieces(text, cuts) == whole
    assert not re.search("[\x1b\x80-\x84\x86-\x9f]", whole)
    assert remove_control_sequences(whole) == whole


@pytest.mark.parametrize("start", ["\x1b]0;", "\x1bP", "\x1b_", "\x9d", "\x1b[", "\x1b[1;", "\x1b", "\x1bX", "\x9b"])
def test_an_unfinished_sequence_takes_a_bounded_part_of_the_text(start: str) -> None:
    words = "word " * 3000
    shown = remove_control_sequences(start + words)
    assert words.endswith(shown)
    assert len(words) - len(shown) <= MAX_STRING_CHARS + 10
    digits = "1" * 100_000
    assert len(digits) - len(remove_control_sequences(start + digits)) <= max(MAX_SEQUENCE_CHARS, MAX_DATA_CHARS) + 1


def test_a_picture_in_base64_goes_whole() -> None:
    assert remove_control_sequences("\x1b]1337;File=inline=1:" + "QUJD" * 10_000 + "\aA") == "A"


def struck(strokes: Iterable[Stroke]) -> str:
    return "".join(chr(stroke.byte) for stroke in strokes)


@given(ANY, st.lists(st.integers(0, 10_000)), st.booleans())
def test_no_piece_of_a_sequence_is_struck(text: str, cuts: list[int], is_raw: bool) -> None:
    printers = [Printer(column=0), Printer(column=0)]
    feeds = [printer.feed_raw if is_raw else printer.feed for printer in printers]
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(edges)]
    whole = struck(feeds[0](text)) + struck(printers[0].flush())
    assert "".join(struck(feeds[1](piece)) for piece in pieces) + struck(printers[1].flush()) == whole
    assert all(" " <= char <= "_" or char in "\r\n" for char in whole)


def test_bold_of_nroff_stays_and_colours_of_grotty_go() -> None:
    bold = struck(Printer(column=0).feed("A\bAB\n", overstrike=True))
    assert bold == "AB\rA\r\n"
    colour = struck(Printer(column=0).feed("\x1b[1mA\bAB\x1b[0m\n", overstrike=True))
    assert colour == bold


def test_a_message_after_an_unfinished_sequence_is_printed() -> None:
    printer = Printer(column=0)
    printer.feed("answer \x1b]0;")
    printer.fresh_line()
    assert struck(printer.feed("READY\n")) == "READY\r\n"


def test_a_megabyte_of_sequences_takes_no_long_time() -> None:
    start = time.perf_counter()
    remove_control_sequences("\x1b[31mA" * 150_000)
    assert time.perf_counter() - start < 5
