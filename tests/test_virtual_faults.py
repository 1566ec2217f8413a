from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.events import Break, Byte, FramingError, ParmrkDecoder
from drivers.virtual import BadFaults, Faults, LineNoise
from drivers.virtual.break_encoding import encode_line_input
from drivers.virtual.faults import garble_byte, parse_faults

ANY = st.one_of(st.builds(Byte, st.integers(0, 255)), st.builds(FramingError, st.integers(1, 255)), st.builds(Break))


def test_a_list_of_faults_is_read():
    assert parse_faults("") == Faults()
    assert parse_faults(" lost=0.001, split,slow,unplug=500 ") == Faults(
        lost=0.001, split=True, skew=0.01, unplug_after=500
    )
    assert parse_faults("doubled=1,flipped=0.5,fast,cold,open=3") == Faults(
        doubled=1.0, flipped=0.5, skew=-0.01, cold=True, open_after=3
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lots=0.1", "no fault 'lots=0.1': there are lost=N"),
        ("split=1", "no fault 'split=1'"),
        ("lost", "no fault 'lost'"),
        ("lost=2", "share from 0 to 1"),
        ("lost=nan", "share from 0 to 1"),
        ("lost=", "share from 0 to 1"),
        ("unplug=0", "number of bytes"),
        ("unplug=x", "number of bytes"),
    ],
)
def test_a_fault_that_cannot_be_read_is_named(text, says):
    with pytest.raises(BadFaults, match=says) as raised:
        parse_faults(text)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


@given(st.text(max_size=30))
def test_no_list_of_faults_is_any_other_error(text):
    with suppress(BadFaults):
        parse_faults(text)


def test_a_good_line_changes_nothing():
    noise = LineNoise(Faults(), Random(1))
    assert all(noise.distort(byte) == bytes((byte,)) for byte in range(256))
    assert noise.split_reads(b"\xff\x00\x00") == [b"\xff\x00\x00"]


def test_the_shares_are_those_that_were_asked_for():
    noise = LineNoise(Faults(lost=0.1, doubled=0.2, flipped=0.05), Random(1))
    came = [noise.distort(0x55) for _ in range(20_000)]
    assert came.count(b"") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert sum(len(one) == 2 for one in came) / 20_000 == pytest.approx(0.2 * 0.9, abs=0.01)
    flipped = [one for one in came if one and one[0] != 0x55]
    assert len(flipped) / 20_000 == pytest.approx(0.05 * 0.9, abs=0.01)
    assert all((one[0] ^ 0x55).bit_count() == 1 for one in flipped)


def test_the_same_seed_has_the_same_bad_day():
    days = [LineNoise(Faults(lost=0.3, doubled=0.3, flipped=0.3, split=True), Random(seed)) for seed in (7, 7, 8)]
    came = [[(day.distort(byte), day.split_reads(b"HELLO")) for byte in range(256)] for day in days]
    assert came[0] == came[1] != came[2]


@given(st.binary(min_size=1, max_size=20), st.integers())
def test_pieces_are_the_whole(data, seed):
    pieces = LineNoise(Faults(split=True), Random(seed)).split_reads(data)
    assert b"".join(pieces) == data
    assert all(pieces)


@given(st.integers(0, 255), st.integers())
def test_garbage_is_never_the_byte_itself(byte, seed):
    assert garble_byte(byte, Random(seed)) in ({None} | set(range(256)) - {byte})


# What an adapter makes of it.


@given(st.lists(ANY, max_size=20), st.integers())
def test_what_is_marked_is_read_as_it_was_however_it_is_split(heard, seed):
    noise, marking = LineNoise(Faults(split=True), Random(seed)), ParmrkDecoder()
    data = b"".join(encode_line_input(one, "marked") for one in heard)
    assert [one for piece in noise.split_reads(data) for one in marking.feed(piece)] == heard


def test_an_adapter_that_marks_doubles_a_rubout():
    assert encode_line_input(Byte(0xFF), "marked") == b"\xff\xff"
    assert encode_line_input(FramingError(0xFF), "marked") == b"\xff\x00\xff"


def test_an_adapter_that_marks_nothing_hands_a_break_on_as_a_nul_or_not_at_all():
    assert encode_line_input(Break(), "nul") == b"\x00"
    assert encode_line_input(Break(), "none") == b""
    assert encode_line_input(Byte(0xFF), "nul") == encode_line_input(FramingError(0xFF), "none") == b"\xff"
    assert encode_line_input(FramingError(0x00), "none") == b"\x00"
