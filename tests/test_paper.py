from hypothesis import given
from hypothesis import strategies as st

from drivers.charset import even_parity
from drivers.paper import Paper


def fed(data: bytes) -> Paper:
    paper = Paper()
    paper.feed(data)
    return paper


def test_text_stands_where_it_was_struck():
    assert fed(b"ONE\r\nTWO").text() == "ONE\nTWO"


def test_the_parity_bit_does_not_reach_the_wheel():
    assert fed(bytes(map(even_parity, b"HELLO\r\nC"))).text() == "HELLO\nC"


def test_bit_six_does_not_reach_the_wheel_either():
    assert fed(b"abc{|}~`").text() == "ABC[\\]^@"


def test_a_cell_holds_all_that_was_struck_there_in_order():
    paper = fed(b"AB\r/_")
    assert paper.lines == [["A/", "B_"]]
    assert paper.text() == "/_"


def test_a_blank_over_a_glyph_leaves_the_glyph():
    assert fed(b"AB\r  ").text() == "AB"


def test_past_the_right_margin_all_piles_up_in_the_last_column():
    paper = fed(b"-" * 71 + b"ABC")
    assert paper.lines[0][71] == "ABC"
    assert len(paper.lines[0]) == 72


def test_a_line_feed_keeps_the_column():
    assert fed(b"AB\nC").text() == "AB\n  C"


def test_bells_are_counted_and_other_controls_leave_no_trace():
    paper = fed(b"A\x07\x00\x7f\x11\x05\x07B")
    assert (paper.text(), paper.bells, paper.column) == ("AB", 2, 2)


@given(st.lists(st.binary()))
def test_the_wire_may_be_cut_anywhere(pieces):
    paper = Paper()
    for piece in pieces:
        paper.feed(piece)
    assert paper.lines == fed(b"".join(pieces)).lines
