from hypothesis import given
from hypothesis import strategies as st

from drivers.paper.paper import CR, LF, Paper
from drivers.profile import Profile
from drivers.text.charset import even_parity
from drivers.virtual import TypingUnit

# Bytes that hypothesis would rarely find: much overstriking, long lines, and functions among the glyphs.
WIRE = st.lists(
    st.one_of(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"\x07", b"\x7f", b" ", b"    ", b"A", b"_", b"THE TELETYPE "]),
        st.binary(max_size=4),
        st.integers(min_value=1, max_value=90).map(lambda count: b"-" * count),
    ),
    max_size=40,
).map(b"".join)
PROFILES = st.builds(
    Profile,
    columns=st.integers(min_value=20, max_value=80),
    auto_return=st.booleans(),
    return_feeds=st.booleans(),
    feed_returns=st.booleans(),
)


def paper_after(data: bytes, paper: Paper | None = None) -> Paper:
    paper = paper or Paper()
    paper.feed(data)
    return paper


def replay(paper: Paper) -> Paper:
    """Returns the sheet that its overprint lines give on a machine without options."""
    return paper_after("\r\n".join(paper.overprint_lines()).encode("ascii"), Paper(paper.columns))


def test_text_stands_where_it_was_struck():
    assert paper_after(b"ONE\r\nTWO").text() == "ONE\nTWO"


def test_the_parity_bit_does_not_reach_the_wheel():
    assert paper_after(bytes(map(even_parity, b"HELLO\r\nC"))).text() == "HELLO\nC"


def test_bit_six_does_not_reach_the_wheel_either():
    assert paper_after(b"abc{|}~`").text() == "ABC[\\]^@"


def test_a_cell_holds_all_that_was_struck_there_in_order():
    paper = paper_after(b"AB\r/_")
    assert paper.lines == [["A/", "B_"]]
    assert paper.text() == "/_"


def test_a_blank_over_a_glyph_leaves_the_glyph():
    assert paper_after(b"AB\r  ").text() == "AB"


def test_past_the_right_margin_all_piles_up_in_the_last_column():
    paper = paper_after(b"-" * 71 + b"ABC")
    assert paper.lines[0][71] == "ABC"
    assert len(paper.lines[0]) == 72


def test_a_line_feed_keeps_the_column():
    assert paper_after(b"AB\nC").text() == "AB\n  C"


def test_bells_are_counted_and_other_controls_leave_no_trace():
    paper = paper_after(b"A\x07\x00\x7f\x11\x05\x07B")
    assert (paper.text(), paper.bells, paper.column) == ("AB", 2, 2)


@given(st.lists(st.binary()))
def test_the_bytes_may_be_cut_anywhere(pieces):
    paper = Paper()
    for piece in pieces:
        paper.feed(piece)
    assert paper.lines == paper_after(b"".join(pieces)).lines


def test_auto_return_continues_on_the_next_line():
    paper = paper_after(b"-" * 20 + b"AB", Paper(20, auto_return=True))
    assert paper.text() == "-" * 20 + "\nAB"
    assert paper_after(b"-" * 20 + b"\r\nAB", Paper(20, auto_return=True)).text() == "-" * 20 + "\n\nAB"


def test_with_the_kits_a_return_feeds_and_a_feed_returns():
    assert paper_after(b"A\rB", Paper(return_feeds=True)).text() == "A\nB"
    assert paper_after(b"A\nB", Paper(feed_returns=True)).text() == "A\nB"
    assert paper_after(b"A\r\nB", Paper(return_feeds=True, feed_returns=True)).text() == "A\n\nB"


def test_a_sheet_of_a_profile_has_its_columns_and_its_options():
    paper = paper_after(
        b"-" * 20 + b"A\rB\nC", Paper.for_profile(Profile(columns=20, auto_return=True, return_feeds=True))
    )
    assert paper.text() == "-" * 20 + "\nA\nB\n C"


@given(PROFILES, WIRE)
def test_the_typing_unit_prints_the_same_sheet(profile, data):
    machine = TypingUnit(profile=profile)
    for second, byte in enumerate(data):
        machine.receive(byte, float(second))
    paper = paper_after(data, Paper.for_profile(profile))
    assert paper.lines == machine.paper.lines
    assert (paper.column, paper.bells) == (machine.column, machine.paper.bells)
    assert not machine.smeared


def test_the_wheel_of_1963_has_arrows_where_that_of_1968_has_a_caret_and_an_underline():
    paper = paper_after(b"A^B_")
    assert (paper.text("1963"), paper.text("1968"), paper.text()) == ("A↑B←", "A^B_", "A^B_")
    assert paper.last_lines(1, "1963") == ["A↑B←"]


def test_last_lines_returns_at_most_that_many():
    paper = paper_after(b"A\r\nB\r\nC")
    assert [paper.last_lines(count) for count in (0, 1, 2, 9)] == [[], ["C"], ["B", "C"], ["A", "B", "C"]]


def test_cells_are_the_ink_without_the_blanks():
    assert paper_after(b"A C   \r  X\n\r \n").inked_cells() == [["A", "", "CX"], [], []]


def test_overstruck_cells_have_their_place():
    assert paper_after(b"ABC\r\nDEF\r -  \rD").overstruck_cells() == [(1, 0, "DD"), (1, 1, "E-")]
    assert paper_after(b"A \r B").overstruck_cells() == []


def test_overprint_lines_show_all_ink():
    paper = paper_after(b"EMPHASIS, BOLD\r________\r          BOLD\r\nPLAIN")
    assert paper.overprint_lines() == ["EMPHASIS, BOLD\r________  BOLD", "PLAIN"]
    assert paper.text() == "________, BOLD\nPLAIN"


def test_a_pile_in_the_last_column_has_a_pass_for_each_glyph():
    assert paper_after(b"-" * 19 + b"ABC", Paper(20)).overprint_lines() == [
        "-" * 19 + "A\r" + " " * 19 + "B\r" + " " * 19 + "C"
    ]


@given(PROFILES, WIRE)
def test_overprint_lines_give_the_same_cells(profile, data):
    paper = paper_after(data, Paper.for_profile(profile))
    assert replay(paper).inked_cells() == paper.inked_cells()
    assert replay(paper).overprint_lines() == paper.overprint_lines()
    assert all(turn == turn.rstrip() for line in paper.overprint_lines() for turn in line.split("\r"))


@given(PROFILES, WIRE)
def test_text_has_a_line_for_each_feed_none_too_wide_and_no_blanks_at_its_end(profile, data):
    paper = paper_after(data, Paper.for_profile(profile))
    lines = paper.text().split("\n")
    assert len(lines) == len(paper.lines) == len(paper.inked_cells()) == len(paper.overprint_lines())
    assert all(len(line) <= profile.columns and line == line.rstrip() for line in lines)
    if not (profile.auto_return or profile.return_feeds):
        assert len(lines) == 1 + sum(byte & 0x7F == LF for byte in data)


@given(WIRE)
def test_each_strike_is_on_the_sheet_once(data):
    struck = sorted(
        chr(byte & 0x7F if byte & 0x7F < 0x60 else byte & 0x5F) for byte in data if 0x20 < byte & 0x7F < 127
    )
    paper = paper_after(data)
    assert sorted("".join("".join(line) for line in paper.inked_cells())) == struck
    assert 0 <= paper.column <= paper.columns
    assert paper_after(bytes([CR]), paper).column == 0
