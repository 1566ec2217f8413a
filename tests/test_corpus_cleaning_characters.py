import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tools.corpus.cleaning.mojibake import repair_mojibake
from tools.corpus.cleaning.steps import (
    normalise_characters,
    normalise_whitespace,
    strip_whitespace,
    unescape_entities,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("R&amp;B &lt;3 &quot;x&quot; &#39;y&#x27;", "R&B <3 \"x\" 'y'"),
        ("&amp;amp; and &amp;lt;", "&amp; and &lt;"),
        ("&nbsp;&eacute;&hellip;", "\u00a0é…"),
        ("?a=1&copy=2&lt", "?a=1&copy=2&lt"),
        ("&nosuchthing; &; &#; &#x;", "&nosuchthing; &; &#; &#x;"),
        ("&#128512;", "😀"),
    ],
)
def test_entities_are_unescaped_once_and_only_with_a_semicolon(text: str, expected: str) -> None:
    assert unescape_entities(text) == expected


@given(st.text())
def test_text_without_an_ampersand_is_unchanged(text: str) -> None:
    text = text.replace("&", "")
    assert unescape_entities(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_decoded_as_latin1_is_repaired(text: str) -> None:
    assume(repair_mojibake(text) == text)  # not decoded wrongly twice
    assert repair_mojibake(text.encode().decode("latin-1")) == text


@pytest.mark.parametrize(
    "right", ["don’t", "“Quite so” — she said…", "café", "5 °C", "👍", "naïve façade", "Ä Ü ß É Ñ £5"]
)
def test_text_decoded_as_windows_1252_is_repaired_inside_correct_text(right: str) -> None:
    try:
        wrong = right.encode().decode("cp1252")
    except UnicodeDecodeError:
        wrong = right.encode().decode("latin-1")
    assert repair_mojibake(wrong) == right
    assert repair_mojibake(f"{wrong} – 日本") == f"{right} – 日本"


@pytest.mark.parametrize(
    "right",
    ["CAFÉ… “CAFÉ” «VOILÀ» À»", "IRMû, IRMÃ… NÃO", "â la carte, pâté", "ÂME, Â.", "£5 Â", "ð þ ø", "Ãéé", "Ã» Ã« Ã"],
)
def test_ambiguous_characters_stay(right: str) -> None:
    assert repair_mojibake(right) == right


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("He said:Â The pump isÂ fine.\nÂ We rowed.", "He said: The pump is fine.\n We rowed."),
        ("Rowed.Â Â Tea.Â\nBed.", "Rowed.  Tea.\nBed."),
        ("Rowed. Â Tea.", "Rowed.  Tea."),
        ("voilÃ  la pompe, déjÃ vu, lÃ\nÃ la mer, Ã  midi", "voilà la pompe, déjà vu, là\nà la mer, à midi"),
        ("â€œFineâ€ he said. â€œNo.â€", "“Fine” he said. “No.”"),
    ],
)
def test_letters_that_lost_their_partner_are_completed(wrong: str, right: str) -> None:
    assert repair_mojibake(wrong) == right


@pytest.mark.parametrize("right", ["HÂLÂ VAR", "IRMÃ E IRMÃO", "NÃO", "château", "AVÓ À MANHÃ"])
def test_capitals_that_look_like_lost_letters_stay(right: str) -> None:
    assert repair_mojibake(right) == right


def test_letters_and_line_ends_are_normalised_and_control_characters_removed() -> None:
    assert normalise_characters("e\u0301") == "é"
    assert normalise_characters("a\r\nb\rc\u2028d\x0be") == "a\nb\nc\nd\ne"
    assert normalise_characters("\ufeffa\x00b\x07\x7f") == "ab"
    assert normalise_characters("a\tb\fc") == "a\tb\fc"
    assert normalise_characters("ﬁ ² Ⅷ") == "ﬁ ² Ⅷ"  # NFC, not NFKC
    assert normalise_characters("👩‍👩‍👧 \u200fשלום") == "👩‍👩‍👧 \u200fשלום"


def test_surrogate_pairs_are_joined_and_lone_surrogates_replaced() -> None:
    assert normalise_characters("\ud83d\ude00") == "😀"
    assert normalise_characters("a\ud83d") == "a\ufffd"


@given(st.text())
def test_normalised_text_can_be_encoded(text: str) -> None:
    normalise_characters(text).encode()


def test_trailing_blanks_and_repeated_empty_lines_are_removed_and_indentation_kept() -> None:
    assert normalise_whitespace("\n \n    if x:  \n\ty\u00a0z\n\n\n\nend\n\n") == "    if x:\n\ty z\n\nend"
    assert strip_whitespace("   a  b\n") == "a  b"
    assert normalise_whitespace("one\ftwo") == "one\ntwo"
    assert normalise_whitespace("　全角") == "　全角"


@given(st.text(alphabet=" \t\n\f\u00a0a"))
def test_a_million_blanks_are_removed_quickly(text: str) -> None:
    assert normalise_whitespace(text + " " * 10_000 + "x").endswith("x")
