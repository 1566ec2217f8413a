"""Telnet and RFC 2217: any bytes cut anywhere, the options that are asked for, and the numbers of the RFC."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.line.line_input import Break, Byte, FramingError
from drivers.line.telnet import TelnetCodec, is_negotiation

OPENING = b"\xff\xfb\x00\xff\xfb\x03\xff\xfd\x00\xff\xfd\x03"  # WILL and DO: binary, no go-ahead
TELNET_BYTES = st.lists(
    st.sampled_from([0xFF, 0xFB, 0xFC, 0xFD, 0xFE, 0xFA, 0xF0, 0xF3, 0, 3, 44, 106, 16, 13, 0x41]) | st.integers(0, 255)
).map(bytes)


def binary_codec() -> TelnetCodec:
    codec = TelnetCodec()
    codec.feed(b"\xff\xfd\x00\xff\xfb\x00")
    codec.take_replies()
    return codec


@given(TELNET_BYTES, st.lists(st.integers(1, 7)))
def test_any_bytes_may_be_cut_anywhere(data, cuts):
    whole, pieces = TelnetCodec(baud=110), TelnetCodec(baud=110)
    expected = whole.feed(data)
    got, rest = [], data
    for cut in cuts:
        got += pieces.feed(rest[:cut])
        rest = rest[cut:]
    assert got + pieces.feed(rest) == expected
    assert pieces.take_replies() == whole.take_replies()


@given(st.binary())
def test_any_characters_go_both_ways(data):
    encoder, decoder = binary_codec(), binary_codec()
    sent = b"".join(map(encoder.encode_byte, data))
    assert decoder.feed(sent) == [Byte(value) for value in data]
    assert decoder.take_replies() == b""


@given(st.lists(st.integers(0, 127)).map(bytes))
def test_seven_bits_go_both_ways_before_any_option_is_agreed(data):
    encoder, decoder = TelnetCodec(), TelnetCodec()
    received = decoder.feed(b"".join(map(encoder.encode_byte, data)))
    assert received == [Byte(value) for value in data]


@given(TELNET_BYTES)
def test_two_ends_that_answer_each_other_stop(data):
    first, second = TelnetCodec(baud=110), TelnetCodec(baud=110)
    second.feed(data)
    for _ in range(4):
        second.feed(first.take_replies())
        first.feed(second.take_replies())
    assert first.take_replies() == second.take_replies() == b""


def test_the_opening_asks_for_eight_bits():
    assert TelnetCodec().take_replies() == OPENING
    assert TelnetCodec(baud=110).take_replies() == OPENING + b"\xff\xfb\x2c"


def test_a_break_comes_as_a_command_or_as_a_line_state():
    assert TelnetCodec().feed(b"A\xff\xf3B") == [Byte(0x41), Break(), Byte(0x42)]
    assert TelnetCodec(baud=110).feed(b"\xff\xfa\x2c\x6a\x10\xff\xf0") == [Break()]
    assert TelnetCodec(baud=110).feed(b"\xff\xfa\x2c\x6a\x08\xff\xf0") == [FramingError(0)]
    assert TelnetCodec(baud=110).feed(b"\xff\xfa\x2c\x6a\x60\xff\xf0") == []


def test_other_options_are_refused_once_and_commands_are_no_keys():
    codec = TelnetCodec()
    codec.take_replies()
    assert codec.feed(b"\xff\xfb\x01\xff\xfd\x18\xff\xf1\xff\xf6\xff\xf9\xff\xfa\x18\x01\xff\xf0A") == [Byte(0x41)]
    assert codec.take_replies() == b"\xff\xfe\x01\xff\xfc\x18"  # DONT ECHO, WONT TERMINAL-TYPE


def test_the_port_is_set_to_110_baud_8n2_once_the_server_agrees():
    codec = TelnetCodec(baud=110)
    codec.take_replies()
    codec.feed(b"\xff\xfd\x2c")
    assert codec.com_port == "agreed"
    assert codec.take_replies() == b"".join(
        b"\xff\xfa\x2c" + command + b"\xff\xf0"
        for command in (
            b"\x01\x00\x00\x00\x6e",  # SET-BAUDRATE 110
            b"\x02\x08",  # SET-DATASIZE 8
            b"\x03\x01",  # SET-PARITY none
            b"\x04\x02",  # SET-STOPSIZE 2
            b"\x05\x01",  # SET-CONTROL: no flow control
            b"\x0a\x1c",  # SET-LINESTATE-MASK: break, framing, parity
            b"\x0b\x00",  # SET-MODEMSTATE-MASK: nothing
        )
    )
    codec.feed(b"\xff\xfa\x2c\x65\x00\x00\x00\x6e\xff\xf0")
    assert codec.baud == 110
    codec.set_rts(True)
    assert codec.take_replies() == b"\xff\xfa\x2c\x05\x0b\xff\xf0"


def test_a_doubled_ff_in_a_value_is_one():
    codec = TelnetCodec(baud=110)
    codec.feed(b"\xff\xfd\x2c\xff\xfa\x2c\x65\x00\x00\xff\xff\x00\xff\xf0")
    assert codec.baud == 0xFF00


def test_a_server_that_refuses_is_noticed():
    codec = TelnetCodec(baud=110)
    codec.feed(b"\xff\xfe\x2c")
    assert codec.com_port == "refused"
    codec.set_rts(True)
    codec.take_replies()


def test_a_carriage_return_of_seven_bits_has_a_nul_behind_it():
    codec = TelnetCodec()
    assert codec.encode_byte(0x0D) == b"\r\x00"
    assert codec.feed(b"\r\x00\n\r\x00\x00") == [Byte(0x0D), Byte(0x0A), Byte(0x0D), Byte(0x00)]
    assert binary_codec().encode_byte(0x0D) == b"\r"
    assert binary_codec().feed(b"\r\x00") == [Byte(0x0D), Byte(0x00)]


def test_negotiation_is_told_from_rubouts():
    assert is_negotiation(b"\xff\xfb\x01")
    assert is_negotiation(b"\xff\xfd\x03")
    assert not is_negotiation(b"\xff\xff")
    assert not is_negotiation(b"\xff")
    assert not is_negotiation(b"A\xff\xfb")
