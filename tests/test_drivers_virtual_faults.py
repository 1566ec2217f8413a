from contextlib import suppress
from random import Random

import pytest
from fakes_teletype import raises_driver_error
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.line.line_input import Break, Byte, FramingError, ParmrkDecoder, encode_line_input
from drivers.virtual import Faults, LineNoise
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
    ("text", "message"),
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
def test_a_fault_that_cannot_be_read_is_named(text, message):
    with raises_driver_error("usage", match=message) as raised:
        parse_faults(text)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


@given(st.text(max_size=30))
def test_any_list_of_faults_is_parsed_or_a_driver_error(text):
    with suppress(DriverError):
        parse_faults(text)


def test_a_good_line_changes_nothing():
    noise = LineNoise(Faults(), Random(1))
    assert all(noise.distort(byte) == bytes((byte,)) for byte in range(256))
    assert noise.split_reads(b"\xff\x00\x00") == [b"\xff\x00\x00"]


def test_the_shares_of_faults_are_met():
    noise = LineNoise(Faults(lost=0.1, doubled=0.2, flipped=0.05), Random(1))
    arrived = [noise.distort(0x55) for _ in range(20_000)]
    assert arrived.count(b"") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert sum(len(byte_or_signal) == 2 for byte_or_signal in arrived) / 20_000 == pytest.approx(0.2 * 0.9, abs=0.01)
    flipped = [byte_or_signal for byte_or_signal in arrived if byte_or_signal and byte_or_signal[0] != 0x55]
    assert len(flipped) / 20_000 == pytest.approx(0.05 * 0.9, abs=0.01)
    assert all((byte_or_signal[0] ^ 0x55).bit_count() == 1 for byte_or_signal in flipped)


def test_the_same_seed_gives_the_same_faults():
    lines = [LineNoise(Faults(lost=0.3, doubled=0.3, flipped=0.3, split=True), Random(seed)) for seed in (7, 7, 8)]
    arrived = [[(day.distort(byte), day.split_reads(b"HELLO")) for byte in range(256)] for day in lines]
    assert arrived[0] == arrived[1] != arrived[2]


@given(st.binary(min_size=1, max_size=20), st.integers())
def test_pieces_are_the_whole(data, seed):
    pieces = LineNoise(Faults(split=True), Random(seed)).split_reads(data)
    assert b"".join(pieces) == data
    assert all(pieces)


@given(st.integers(0, 255), st.integers())
def test_garbage_is_never_the_byte_itself(byte, seed):
    assert garble_byte(byte, Random(seed)) in ({None} | set(range(256)) - {byte})


# The adapter's encoding.


@given(st.lists(ANY, max_size=20), st.integers())
def test_encoded_input_is_decoded_at_any_split(inputs, seed):
    noise, decoder = LineNoise(Faults(split=True), Random(seed)), ParmrkDecoder()
    data = b"".join(encode_line_input(byte_or_signal, "marked") for byte_or_signal in inputs)
    assert [byte_or_signal for piece in noise.split_reads(data) for byte_or_signal in decoder.feed(piece)] == inputs


def test_an_adapter_that_marks_doubles_a_rubout():
    assert encode_line_input(Byte(0xFF), "marked") == b"\xff\xff"
    assert encode_line_input(FramingError(0xFF), "marked") == b"\xff\x00\xff"


def test_an_adapter_that_marks_nothing_gives_a_nul_or_nothing():
    assert encode_line_input(Break(), "nul") == b"\x00"
    assert encode_line_input(Break(), "none") == b""
    assert encode_line_input(Byte(0xFF), "nul") == encode_line_input(FramingError(0xFF), "none") == b"\xff"
    assert encode_line_input(FramingError(0x00), "none") == b"\x00"
