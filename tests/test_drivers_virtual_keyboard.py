from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import NoSuchKey
from drivers.virtual.keyboard import AltMode, KeyboardEncoder


@pytest.mark.parametrize(
    ("keytop", "shifted"),
    list(zip("KLMNOP" + "123456789" + ":-;,./", "[\\]^_@" + "!\"#$%&'()" + "*=+<>?", strict=True)),
)
def test_shift_inverts_level_5(keytop, shifted):
    assert KeyboardEncoder("space").encode_chord(keytop, shift=True) == ord(shifted)


@pytest.mark.parametrize(("keytop", "control"), [("A", 0x01), ("G", 0x07), ("S", 0x13), ("Z", 0x1A)])
def test_ctrl_clears_level_7(keytop, control):
    assert KeyboardEncoder("space").encode_chord(keytop, ctrl=True) == control


def test_ctrl_and_shift_make_the_rest_of_the_controls():
    codes = [KeyboardEncoder("space").encode_chord(keytop, shift=True, ctrl=True) for keytop in "KLMNOP"]
    assert codes == [0x1B, 0x1C, 0x1D, 0x1E, 0x1F, 0x00]


@pytest.mark.parametrize(
    ("keytop", "shift", "ctrl"),
    [
        *[("A", True, False), ("0", True, False), ("1", False, True), (" ", False, True)],
        *[("!", False, False), ("", False, False), ("AB", False, False), ("é", False, False)],
    ],
)
def test_other_chords_lock_the_keyboard(keytop, shift, ctrl):
    with pytest.raises(NoSuchKey, match="locks the keyboard"):
        KeyboardEncoder().encode_chord(keytop, shift=shift, ctrl=ctrl)


@given(st.integers(0, 0x7F))
def test_a_character_has_a_key_or_none(code):
    char = chr(code)
    typable = code < 0x60 or code in (0x7D, 0x7F) or "a" <= char <= "z"
    if not typable:
        with pytest.raises(NoSuchKey):
            KeyboardEncoder().encode_key(char)
    else:
        assert KeyboardEncoder("space").encode_key(char) == (code - 0x20 if "a" <= char <= "z" else code)


@given(st.sampled_from([chr(code) for code in range(0x60)]))
def test_the_parity_bit_follows_the_keyboard(char):
    even, mark, space = (KeyboardEncoder(parity).encode_key(char) for parity in ("even", "mark", "space"))
    assert even.bit_count() % 2 == 0
    assert (mark, space) == (ord(char) | 0x80, ord(char))
    assert even & 0x7F == space


@pytest.mark.parametrize("alt_mode", [0x1B, 0x7D, 0x7E])
def test_alt_mode_sends_the_code_of_its_time(alt_mode):
    assert KeyboardEncoder("space", cast(AltMode, alt_mode)).encode_key("\x1b") == alt_mode
