import random

import pytest

from drivers.input.keyboard import BREAK_KEY, Keyboard
from drivers.text.charset import even_parity

PROSE = b"THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG. "


def marking(data: bytes) -> bytes:
    return bytes(byte | 0x80 for byte in data)


def even(data: bytes) -> bytes:
    return bytes(map(even_parity, data))


def typed(keyboard: Keyboard, data: bytes, at: float = 0.0) -> list[str]:
    """What comes of these bytes, ten a second."""
    return [keyboard.decode_byte(byte, at + index * 0.1) for index, byte in enumerate(data)]


@pytest.mark.parametrize("byte", [byte for byte in range(256) if byte & 0x7F])
def test_the_parity_bit_is_stripped(byte):
    assert Keyboard().decode_byte(byte, 0.0) == chr(byte & 0x7F)


@pytest.mark.parametrize(
    ("data", "parity"),
    [
        (even(b"HELLO CAB"), "even"),
        (marking(b"HELLO CAB"), "mark"),
        (b"HELLO CAB", "space"),
        (b"HELLO CAB \xc1", "space"),
        (b"", None),
        (b"AA", None),
    ],
)
def test_the_parity_of_the_keyboard_is_learned(data, parity):
    keyboard = Keyboard()
    typed(keyboard, data)
    assert keyboard.parity == parity


@pytest.mark.parametrize(("first", "second"), [(even, marking), (marking, bytes), (bytes, even), (even, bytes)])
def test_a_keyboard_that_is_changed_for_another_is_learned_again(first, second):
    keyboard = Keyboard()
    typed(keyboard, first(PROSE * 20))
    before = keyboard.parity
    typed(keyboard, second(PROSE * 4))
    after = Keyboard()
    typed(after, second(PROSE))
    assert keyboard.parity == after.parity != before
    assert keyboard.wrong_parity == 0  # counted against the mode that holds now


def test_noise_is_counted_and_changes_nothing():
    keyboard = Keyboard()
    typed(keyboard, even(PROSE * 4))
    rng = random.Random(33)
    for _ in range(100):
        typed(keyboard, bytes([even_parity(rng.choice(PROSE)) ^ 0x80]))
        typed(keyboard, even(PROSE))
        assert keyboard.parity == "even"
    assert keyboard.wrong_parity == 100


def test_a_nul_that_is_alone_is_a_break_where_nobody_marks_one():
    assert Keyboard("auto").decode_byte(0x00, 5.0) == BREAK_KEY
    assert Keyboard("nul").decode_byte(0x00, 5.0) == BREAK_KEY


def test_no_nul_is_a_break_where_breaks_are_marked():
    assert Keyboard("marked").decode_byte(0x00, 5.0) == ""


def test_one_marked_break_shows_that_a_nul_is_none():
    keyboard = Keyboard("auto")
    keyboard.note_marked_break()
    assert keyboard.decode_byte(0x00, 5.0) == ""


def test_the_setting_nul_holds_whatever_else_was_heard():
    keyboard = Keyboard("nul")
    keyboard.note_marked_break()
    assert keyboard.decode_byte(0x00, 5.0) == BREAK_KEY


def test_nuls_close_behind_each_other_are_one_break():
    keyboard = Keyboard("nul")
    assert typed(keyboard, bytes(30)) == [BREAK_KEY] + [""] * 29
    assert keyboard.decode_byte(0x00, 4.0) == BREAK_KEY


def test_leader_is_no_break_while_tape_is_read_nor_just_after():
    keyboard = Keyboard("nul")
    keyboard.is_reading_tape = True
    assert typed(keyboard, bytes(10)) == [""] * 10
    keyboard.is_reading_tape = False
    assert keyboard.decode_byte(0x00, 1.0) == ""
    assert keyboard.decode_byte(0x00, 2.0) == BREAK_KEY


def test_a_marking_keyboard_has_a_nul_of_its_own_and_so_a_bare_one_is_a_break():
    keyboard = Keyboard("auto")
    keyboard.note_marked_break()
    typed(keyboard, marking(PROSE))
    assert keyboard.decode_byte(0x80, 20.0) == ""
    assert keyboard.decode_byte(0x00, 30.0) == BREAK_KEY


def test_a_marking_keyboard_s_bare_nul_is_nothing_where_the_owner_says_so():
    keyboard = Keyboard("marked")
    typed(keyboard, marking(PROSE))
    assert keyboard.decode_byte(0x00, 30.0) == ""


def test_nuls_say_nothing_of_parity():
    keyboard = Keyboard("marked")
    typed(keyboard, bytes(100))
    assert (keyboard.received_count, keyboard.parity) == (0, None)
