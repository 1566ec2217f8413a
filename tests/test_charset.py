import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.charset import even_parity, fold, strip_parity

PRINTS = {chr(code) for code in range(0x20, 0x60)} | {"\n"}


def test_every_unicode_scalar_becomes_printable_or_nothing():
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        assert PRINTS.issuperset(fold(chr(code))), hex(code)


def test_even_a_lone_surrogate_is_no_error():
    assert fold("\ud800") == "?"


@given(st.text(), st.text())
def test_a_text_may_be_cut_anywhere(before, after):
    assert fold(before) + fold(after) == fold(before + after)


@pytest.mark.parametrize("code", range(0x20, 0x60))
def test_what_the_wheel_has_stays_as_it_is(code):
    assert fold(chr(code)) == chr(code)


@pytest.mark.parametrize(
    ("text", "paper"),
    [
        ("hello", "HELLO"),
        ("{a|b}~`", "[A!B]^'"),
        ("“quoted” ‘so’ «hier»", '"QUOTED" \'SO\' "HIER"'),
        ("a–b—c−d…", "A-B--C-D..."),
        ("ﬁne œuvre Æsir ﬀ", "FINE OEUVRE AESIR FF"),
        ("Müller naïve Ångström ß Øre", "MULLER NAIVE ANGSTROM SS ORE"),
        ("e\u0301te\u0301", "ETE"),
        ("3½ ¼", "3 1/2  1/4"),
        ("10³ x²", "10^3 X^2"),
        ("£5 €6 ¢", "GBP5 EUR6 C"),
        ("a → b ≤ c ≠ d × e", "A -> B <= C <> D X E"),
        ("🚀 👍🏽 🇫🇷 ☃️", "[ROCKET] [THUMBS UP SIGN] FR [SNOWMAN]"),
        ("👩\u200d🚀", "[WOMAN][ROCKET]"),
        ("привет", "PRIVET"),
        ("λόγος", "LOGOS"),
        ("한글 ひらがな 漢字", "HANGEUL HIRAGANA ??"),
        ("ＡＢＣ　１２", "ABC 12"),
        ("a\u00a0b\u200bc\u00add", "A BCD"),
        ("a\tb\r\nc\u2028d", "A B\nC\nD"),
        ("\x00\x05\x07\x11\x12\x13\x14\x1b\x7f\x9b", ""),
        ("\ufffd", "?"),
        ("┌──┐│", "+--+!"),
    ],
)
def test_a_text_becomes_readable(text, paper):
    assert fold(text) == paper


@pytest.mark.parametrize("byte", range(256))
def test_even_parity_has_an_even_count_of_marks_and_the_same_seven_bits(byte):
    sent = even_parity(byte)
    assert sent.bit_count() % 2 == 0
    assert strip_parity(sent) == byte & 0x7F


def test_carriage_return_goes_out_as_8d():
    assert even_parity(0x0D) == 0x8D
