import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import TapeDamaged
from drivers.tape import decode_text, detect_parity, draw_rows, encode_text, leader, punch_sequence, verify_copy

FOLDED = st.text(st.sampled_from("ABC 09@\\_\n") | st.characters(min_codepoint=0x20, max_codepoint=0x5F))
PARITY = st.sampled_from(["even", "mark", "space"])
BLANK = st.binary(max_size=3).map(lambda data: bytes(len(data)))


def punch_bytes(sent: list[tuple[int, bool]]) -> bytes:
    """Returns the rows that a punch makes of these bytes: a DC4 is punched, the DC2 that starts it is not."""
    tape, on = bytearray(), True
    for byte, _ in sent:
        if on:
            tape.append(byte)
        on = byte & 0x7F == 0x12 or (on and byte & 0x7F != 0x14)
    return bytes(tape)


def test_a_line_on_tape_ends_with_cr_lf_and_two_rubouts():
    assert encode_text("AB\nC") == b"AB\x8d\x0a\xff\xff\xc3"
    assert encode_text("A\n", "mark") == b"\xc1\x8d\x8a\xff\xff"
    assert encode_text("A\n", "space") == b"A\x0d\x0a\x7f\x7f"


def test_any_other_function_is_followed_by_two_rubouts_too():
    assert encode_text("A\aB", "space") == b"A\x07\x7f\x7fB"


@given(FOLDED, PARITY, BLANK, BLANK)
def test_text_that_was_punched_is_read_back(text, parity, before, after):
    assert decode_text(before + encode_text(text, parity) + after, parity) == text


@given(st.binary(), PARITY | st.none())
def test_any_rows_are_read_or_reported_as_damaged(rows, parity):
    try:
        message, allowed = decode_text(rows, parity), {chr(code) for code in range(0x20, 0x60)} | {"\n"}
    except TapeDamaged as damaged:
        message, allowed = str(damaged), {chr(code) for code in range(0x20, 0x7F)}
    assert set(message) <= allowed


@given(FOLDED.filter(str.strip), st.data())
def test_a_wrong_hole_is_reported_with_its_row(text, data):
    rows = bytearray(encode_text(text))
    bad = data.draw(st.sampled_from([at for at, row in enumerate(rows) if row != 0xFF]))
    rows[bad] ^= 0x80
    with pytest.raises(TapeDamaged, match=rf"^row {bad + 1} of the tape"):
        decode_text(leader(9) + bytes(rows), "even")


@pytest.mark.parametrize("parity", ["even", "mark", "space"])
def test_a_tape_is_judged_by_its_own_parity(parity):
    rows = leader(9) + encode_text("THE QUICK BROWN FOX\n", parity) + leader(9)
    assert detect_parity(rows) == parity
    torn = rows.replace(b"Q", b"\xd1").replace(b"\xd1", b"Q")  # at most one row of another parity
    assert detect_parity(torn) == parity


def test_odd_parity_is_none_of_the_known_parities():
    odd = bytes(row ^ 0x80 for row in encode_text("THE QUICK BROWN FOX\n") if row != 0xFF)
    assert detect_parity(odd) is None


def test_leader_and_rubouts_are_skipped_and_a_line_may_end_in_many_ways():
    assert decode_text(b"\x00\x80\x00A\xff\x7fB\r\r\nC\rD\nE\r\n\nF\x00\x80") == "AB\nC\nD\nE\n\nF"


def test_functions_and_alt_mode_on_a_tape_are_skipped():
    assert decode_text(b"A\x13\x11\x05\x07\x7d\x7eb\x00C") == "ABC"


@given(st.binary())
def test_the_punch_sequence_gives_these_rows(rows):
    sent = punch_sequence(rows, text=False)
    assert punch_bytes(sent) == rows
    assert bytes(byte for byte, is_row in sent if is_row) == rows


def test_a_dc4_row_is_followed_by_dc2():
    assert punch_sequence(b"A\x94B", text=False) == [(0x41, True), (0x94, True), (0x12, False), (0x42, True)]


@pytest.mark.parametrize("row", [0x05, 0x11, 0x12, 0x13, 0x14, 0x94, 0x04, 0x1B])
def test_text_that_would_operate_the_machine_is_not_punched(row):
    with pytest.raises(TapeDamaged, match=r"^row 2 is the function"):
        punch_sequence(bytes((0x41, row)), text=True)


@given(FOLDED, PARITY)
def test_all_text_may_be_punched(text, parity):
    rows = leader(3) + encode_text(text, parity)
    assert punch_sequence(rows, text=True) == [(row, True) for row in rows]


@given(st.binary(), BLANK, BLANK)
def test_a_correct_copy_passes_whatever_its_leader(rows, before, after):
    verify_copy(rows, before + rows + after)


@given(st.binary(min_size=1), st.data())
def test_a_differing_row_is_reported(rows, data):
    rows = b"A" + rows + b"Z"
    bad = data.draw(st.integers(1, len(rows) - 2))
    read = bytearray(rows)
    read[bad] ^= data.draw(st.integers(1, 255))
    with pytest.raises(TapeDamaged, match=rf"^row {bad + 1} of the tape"):
        verify_copy(leader(5) + rows, bytes(read))


@pytest.mark.parametrize("read", [b"ABC", b"ABCDE", b""])
def test_rows_lost_or_added_at_the_end_are_counted(read):
    with pytest.raises(TapeDamaged, match=f"has {len(read)} rows .* 4 were sent"):
        verify_copy(b"ABCD", leader(4) + read)


def test_the_picture_shows_holes_with_the_feed_hole_between_three_and_four():
    assert draw_rows(b"\xc1\x00\xff\x0a") == "|oo   .  o|\n|     .   |\n|ooooo.ooo|\n|    o. o |"
