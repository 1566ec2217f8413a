import random

import pytest

from drivers.input.keyboard import BREAK_KEY, Keyboard
from drivers.text.charset import even_parity

PROSE = b"THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG. "


def to_mark(data: bytes) -> bytes:
    return bytes(byte | 0x80 for byte in data)


def to_even(data: bytes) -> bytes:
    return bytes(map(even_parity, data))


def keys_of(keyboard: Keyboard, data: bytes, at: float = 0.0) -> list[str]:
    """Returns the keys of these bytes, which come ten a second."""
    return [keyboard.decode_byte(byte, at + index * 0.1) for index, byte in enumerate(data)]


@pytest.mark.parametrize("byte", [byte for byte in range(256) if byte & 0x7F])
def test_the_parity_bit_is_stripped(byte):
    assert Keyboard().decode_byte(byte, 0.0) == chr(byte & 0x7F)


@pytest.mark.parametrize(
    ("data", "parity"),
    [
        (to_even(b"HELLO CAB"), "even"),
        (to_mark(b"HELLO CAB"), "mark"),
        (b"HELLO CAB", "space"),
        (b"HELLO CAB \xc1", "space"),
        (b"", None),
        (b"AA", None),
    ],
)
def test_the_parity_of_the_keyboard_is_learned(data, parity):
    keyboard = Keyboard()
    keys_of(keyboard, data)
    assert keyboard.parity == parity


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (to_even, to_mark),
        (to_mark, bytes),
        (bytes, to_even),
        (to_even, bytes),
    ],
)
def test_the_parity_of_a_replaced_keyboard_is_learned(first, second):
    keyboard = Keyboard()
    keys_of(keyboard, first(PROSE * 20))
    before = keyboard.parity
    keys_of(keyboard, second(PROSE * 4))
    after = Keyboard()
    keys_of(after, second(PROSE))
    assert keyboard.parity == after.parity != before
    assert keyboard.wrong_parity == 0  # counted against the parity learned since


def test_noise_is_counted_and_changes_nothing():
    keyboard = Keyboard()
    keys_of(keyboard, to_even(PROSE * 4))
    rng = random.Random(33)
    for _ in range(100):
        keys_of(keyboard, bytes([even_parity(rng.choice(PROSE)) ^ 0x80]))
        keys_of(keyboard, to_even(PROSE))
        assert keyboard.parity == "even"
    assert keyboard.wrong_parity == 100


def test_a_single_nul_is_a_break_at_an_adapter_that_marks_none():
    assert Keyboard("auto").decode_byte(0x00, 5.0) == BREAK_KEY
    assert Keyboard("nul").decode_byte(0x00, 5.0) == BREAK_KEY


def test_no_nul_is_a_break_where_breaks_are_marked():
    assert Keyboard("marked").decode_byte(0x00, 5.0) == ""


def test_after_a_marked_break_a_nul_is_no_break():
    keyboard = Keyboard("auto")
    keyboard.note_marked_break()
    assert keyboard.decode_byte(0x00, 5.0) == ""


def test_the_setting_nul_overrides_marked_breaks():
    keyboard = Keyboard("nul")
    keyboard.note_marked_break()
    assert keyboard.decode_byte(0x00, 5.0) == BREAK_KEY


def test_nuls_in_quick_succession_are_one_break():
    keyboard = Keyboard("nul")
    assert keys_of(keyboard, bytes(30)) == [BREAK_KEY] + [""] * 29
    assert keyboard.decode_byte(0x00, 4.0) == BREAK_KEY


def test_leader_is_no_break_while_tape_is_read_nor_just_after():
    keyboard = Keyboard("nul")
    keyboard.is_reading_tape = True
    assert keys_of(keyboard, bytes(10)) == [""] * 10
    keyboard.is_reading_tape = False
    assert keyboard.decode_byte(0x00, 1.0) == ""
    assert keyboard.decode_byte(0x00, 2.0) == BREAK_KEY


def test_a_bare_nul_from_a_marking_keyboard_is_a_break():
    keyboard = Keyboard("auto")
    keyboard.note_marked_break()
    keys_of(keyboard, to_mark(PROSE))
    assert keyboard.decode_byte(0x80, 20.0) == ""
    assert keyboard.decode_byte(0x00, 30.0) == BREAK_KEY


def test_the_setting_marked_ignores_a_bare_nul():
    keyboard = Keyboard("marked")
    keys_of(keyboard, to_mark(PROSE))
    assert keyboard.decode_byte(0x00, 30.0) == ""


def test_nuls_do_not_teach_the_parity():
    keyboard = Keyboard("marked")
    keys_of(keyboard, bytes(100))
    assert (keyboard.received_count, keyboard.parity) == (0, None)
