import re
import unicodedata
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.text.charset import IncrementalFolder, apply_parity, even_parity, fold_text, strip_parity, unfold_text
from drivers.text.charset_table import REPLACEMENTS

PRINTS = {chr(code) for code in range(0x20, 0x60)} | {"\n"}
BLOCKS = [range(first, first + 256) for first in range(0, 0x110000, 256) if not 0xD800 <= first < 0xE000]
# Difficult text: figures beside fractions and money, the escapes of code, letters of both cases.
TEXTS = st.text(st.sampled_from("0123 ½¼€£°²³⁴⁻₁₂_←↑abAB\\[](){}|~`'!^\r\n—é🚀∉≮πμΩλ\u0338") | st.characters())


def test_every_unicode_scalar_becomes_printable_or_nothing_on_both_wheels():
    for block in BLOCKS:
        text = "".join(map(chr, block))
        assert PRINTS.issuperset(fold_text(text)), hex(block[0])
        assert PRINTS.issuperset(fold_text(text, wheel="1963")), hex(block[0])


def test_every_unicode_scalar_comes_back_from_code():
    for block in BLOCKS:
        text = "".join(map(chr, block))
        code = fold_text(text, style="code")
        assert PRINTS.issuperset(code), hex(block[0])
        assert unfold_text(code) == text, hex(block[0])


@pytest.mark.parametrize("wheel", ["1963", "1968"])
@given(TEXTS)
def test_any_text_comes_back_from_code(wheel, text):
    assert unfold_text(fold_text(text, style="code", wheel=wheel)) == text


@given(st.text(st.sampled_from("\\[]0123456789ABCDEFG!'a\n")))
def test_any_text_is_unfolded_without_an_error(text):
    normal = unfold_text(text)
    assert unfold_text(fold_text(normal, style="code")) == normal


def test_an_unknown_escape_is_kept():
    assert unfold_text("\\[110000] \\[G] \\[ \\5 \\") == "\\[110000] \\[g] \\[ \\5 \\"


def test_a_negated_relation_is_printed_with_not():
    points = map(chr, range(0x110000))
    negated = [char for char in points if "\u0338" in unicodedata.normalize("NFKD", char) and char not in "≠\u0338"]
    assert len(negated) > 40
    assert [char for char in negated if not fold_text(char).startswith("NOT ")] == []


def test_a_name_in_brackets_is_the_whole_name():
    for char in map(chr, [*range(0x2000, 0x3400), *range(0x1D000, 0x1FC00)]):
        named = re.fullmatch(r"\[([A-Z].+)\]", fold_text(char))
        if named and char not in REPLACEMENTS and unicodedata.normalize("NFKD", char) == char:
            assert unicodedata.name(char) == named[1]


def test_list_marks_stay_distinct():
    for row in ("★☆", "█▓▒░", "☑☐☒", "✓✗", "▶◀▲▼", "▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉█", "╱╲╳", "①②", "∈∉"):
        assert len({fold_text(mark) for mark in row}) == len(row)


@given(st.text(st.sampled_from("1²³⁻ⁿ₂x ½")), st.lists(st.integers(0, 20)))
def test_raised_figures_may_be_cut_anywhere(text, cuts):
    folding = IncrementalFolder()
    edges = [0, *sorted(cuts), len(text)]
    assert "".join(folding.feed(text[a:b]) for a, b in pairwise(edges)) == fold_text(text)


@given(st.text(st.sampled_from("12²³₁₂"), max_size=9))
def test_figures_of_different_heights_are_separated(text):
    runs = [(height, "".join(run)) for height, run in groupby(text, key=lambda char: "12²³₁₂".index(char) // 2)]
    plain = "".join(f"^{run}" if height == 1 else f" {run}" for height, run in runs)
    assert fold_text(text) == plain.translate(str.maketrans("²³₁₂", "2312")).lstrip(" ")


def test_a_lone_surrogate_is_no_error():
    assert fold_text("\ud800") == "?"
    assert unfold_text(fold_text("\ud800", style="code")) == "\ud800"


@pytest.mark.parametrize("style", ["prose", "code"])
@given(TEXTS, TEXTS)
def test_a_text_may_be_cut_anywhere(style, before, after):
    folding = IncrementalFolder()
    assert folding.feed(before, style) + folding.feed(after, style) == fold_text(before + after, style=style)


@pytest.mark.parametrize("code", range(0x20, 0x60))
def test_glyphs_of_the_wheel_are_unchanged(code):
    assert fold_text(chr(code)) == chr(code)


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
        ("½ 3½ 3 ½ ¼", "1/2 3 1/2 3 1/2 1/4"),
        ("½½ ½3 ⅟3 ٣½ x½", "1/2 1/2 1/2 3 1/3 3 1/2 X 1/2"),
        ("10³ x²", "10^3 X^2"),
        ("10²³ x²y³ 10⁻⁶ 2ⁿ⁺¹ 1ˢᵗ", "10^23 X^2Y^3 10^-6 2^N+1 1ST"),
        ("H₂O C₁₂ log₂8 1011₂ x²3", "H2O C12 LOG2 8 1011 2 X^2 3"),
        ("£5 5€ 50¢ US$6 10₩", "GBP 5 5 EUR 50 CENTS US$6 10 WON"),
        ("20°C 20 ℃ 40°30", "20 DEG C 20 DEG C 40 DEG 30"),
        ("5‰ №7 ①② ❸ √2 n√2 ∬x", "5 0/00 NO.7 (1)(2) (3) SQRT 2 N SQRT 2 INT INT X"),
        ("a → b ≤ c ≠ d × e ≈ f", "A -> B <= C <> D X E APPROX F"),
        ("x∉A, x ≮ y, a≢b, (∄)", "X NOT IN A, X NOT < Y, A NOT == B, (NOT [THERE EXISTS])"),
        ("x∈A p∧¬q\n∨(¬r)", "X IN A P AND NOT Q\nOR (NOT R)"),
        ("=\u0338 ≦ ⊊", "=/ <= ?"),
        ("5 μm 10 µF 10 kΩ 3\u2126 ㎛", "5 UM 10 UF 10 KOHM 3OHM UM"),
        ("2πr² π", "2 PI R^2 PI"),
        ("Ο νόμος π", "O NOMOS P"),
        ("Ωμέγα, μῆνις; 2π, 47 kΩ, 3 μs", "OMEGA, MENIS; 2 PI, 47 KOHM, 3 US"),
        ("★★★☆☆ ███▒░ ▁▂▃▅", "***-- ###:. _.-+"),
        ("☐ ☑ ✓ ✗ ▶ ◀ ▲ ▼", "[ ] [X] [OK] [NO] > < ^ V"),
        ("⇄ ⬆ ↻ ⇌ 📲 💍", "<-> ^ * <=> * [RING]"),
        ("Home › Help ‹x› ╱╲╳ ═║╵", "HOME > HELP <X> /\\X =!!"),
        ("Његош Џеп Љубав", "NJEGOSH DZEP LJUBAV"),
        ("საქართველო Հայաստան", "SAKARTVELO HAYASTAN"),
        ("ƌ ɓ ƙ", "D B K"),
        ("a\rb\r\nc\r\r\nd", "A\nB\nC\n\nD"),
        ("a_b ← c ↑", "A_B <- C ^"),
        ("🚀 👍🏽 🇫🇷 ☃️", "[ROCKET] [THUMBS UP SIGN] FR [SNOWMAN]"),
        ("👩\u200d🚀 😍 ⇠ ✓", "[WOMAN][ROCKET] <3 <- [OK]"),
        ("привет", "PRIVET"),
        ("λόγος", "LOGOS"),
        ("שלום سلام", "SHLVM SLAM"),
        ("한글 ひらがな 漢字", "HANGEUL HIRAGANA ??"),
        ("ＡＢＣ　１２", "ABC 12"),
        ("a\u00a0b\u200bc\u00add", "A BCD"),
        ("a\tb\r\nc\u2028d", "A B\nC\nD"),
        ("\x00\x05\x07\b\x11\x12\x13\x14\x1b\x7f\x9b", ""),
        ("\ufffd", "?"),
        ("┌──┐│", "+--+!"),
    ],
)
def test_a_text_becomes_readable(text, paper):
    assert fold_text(text) == paper


@pytest.mark.parametrize(
    ("text", "paper"), [("a_b ‿ ＿", "A-B - -"), ("a ← b", "A _ B"), ("2↑3 2^3 10³", "2^3 2^3 10^3"), ("→", "->")]
)
def test_the_wheel_of_1963_has_arrows_and_no_underline(text, paper):
    assert fold_text(text, wheel="1963") == paper


@pytest.mark.parametrize(
    ("text", "paper"),
    [
        ("if (a[0] == 'x') {", "IF (A[0] == 'X') \\("),
        ("} | ~ ` \\", "\\) \\! \\^ \\' \\\\"),
        ("Print EOF", "\\PRINT \\E\\O\\F"),
        ("€\t🚀\r\n", "\\[20AC]\\[9]\\[1F680]\\[D]\n"),
        ("\\A \\[20AC]", "\\\\\\A \\\\[20\\A\\C]"),
    ],
)
def test_code_is_written_as_v7_wrote_it(text, paper):
    assert fold_text(text, style="code") == paper


@pytest.mark.parametrize("byte", range(256))
def test_even_parity_has_an_even_count_of_marks_and_the_same_seven_bits(byte):
    sent = even_parity(byte)
    assert sent.bit_count() % 2 == 0
    assert strip_parity(sent) == byte & 0x7F


def test_carriage_return_is_sent_as_8d():
    assert even_parity(0x0D) == 0x8D


@pytest.mark.parametrize("byte", range(256))
def test_the_parity_bit_follows_the_profile(byte):
    assert apply_parity(byte, "even") == even_parity(byte)
    assert apply_parity(byte, "mark") == byte & 0x7F | 0x80
    assert apply_parity(byte, "space") == byte & 0x7F
