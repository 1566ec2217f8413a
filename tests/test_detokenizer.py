from __future__ import annotations

import codecs
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.generate.detokenizer import Detokenizer
from model.interface import END_OF_TEXT, FinishReason


def fed(
    pieces: Iterable[bytes], stop: tuple[str, ...] = (), length: int | None = None
) -> tuple[str, FinishReason | None]:
    detokenizer, text = Detokenizer(stop, length), ""
    for piece in pieces:
        text += detokenizer.push(piece)
        if detokenizer.finish_reason:
            break
    return text + detokenizer.flush(), detokenizer.finish_reason


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


tricky = st.text(alphabet="abAIM r.!?”’)\n <|endoftext>é…", max_size=60)
stops = st.lists(st.text(alphabet="abA .\n<|", min_size=1, max_size=4), max_size=3).map(tuple)


@settings(deadline=None)
@given(tricky, st.lists(st.integers(0, 1000)), stops, st.none() | st.integers(0, 40))
@example("Mr. A. b. ", [], (), 0)
@example("a.”””” b", [], (), 0)
@example("a." + 20 * "”" + " b", [], (), 0)
@example("xabcdx", [], ("abcd", "bc"), None)
def test_splitting_anywhere_gives_the_same(
    text: str, places: list[int], stop: tuple[str, ...], length: int | None
) -> None:
    data = text.encode()
    whole = fed([data], stop, length)
    assert fed(cut(data, places), stop, length) == whole
    assert fed(byte_by_byte(data), stop, length) == whole


@settings(deadline=None)
@given(st.binary(max_size=40), st.lists(st.integers(0, 1000)))
def test_bad_bytes_become_what_python_makes_of_them(data: bytes, places: list[int]) -> None:
    assert fed(cut(data, places)) == (codecs.utf_8_decode(data, "replace", False)[0], None)


@settings(deadline=None)
@given(tricky, stops)
@example("xabcdx", ("abcd", "bc"))
@example("xabcdx", ("bc", "abc"))
def test_text_ends_before_the_stop_string_that_is_first_complete(text: str, stop: tuple[str, ...]) -> None:
    said, finish = fed(byte_by_byte(text.encode()), stop)
    everything = [*stop, END_OF_TEXT]
    first = next((size for size in range(len(text) + 1) if text[:size].endswith(tuple(everything))), None)
    if first is None:
        assert (said, finish) == (text, None)
    else:
        longest = max((each for each in everything if text[:first].endswith(each)), key=len)
        assert said == text[: first - len(longest)]
        assert finish == ("end" if longest == END_OF_TEXT else "stop")


def test_a_token_may_end_inside_a_character() -> None:
    detokenizer = Detokenizer()
    euro, wheel = "€".encode(), "🎡".encode()
    assert [detokenizer.push(piece) for piece in (euro[:1], euro[1:2], euro[2:] + wheel[:3], wheel[3:])] == [
        "",
        "",
        "€",
        "🎡",
    ]


def test_half_a_character_at_the_end_is_nothing() -> None:
    assert fed([b"a", "€".encode()[:2]]) == ("a", None)
    assert fed([b"a<|end", "€".encode()[:1]]) == ("a<|end", None)


def test_half_a_character_in_the_middle_is_one_replacement() -> None:
    assert fed(["€".encode()[:2], b"a"]) == ("�a", None)


def test_what_may_become_a_stop_string_is_held_back_and_no_more() -> None:
    detokenizer = Detokenizer(stop=("\nQ:",))
    assert [detokenizer.push(piece) for piece in (b"A\n", b"Q", b"uite\n", b"Q", b": no")] == [
        "A",
        "",
        "\nQuite",
        "",
        "",
    ]
    assert detokenizer.finish_reason == "stop"
    assert detokenizer.push(b"more") == detokenizer.flush() == ""


def test_the_characters_of_the_end_of_text_end_it() -> None:
    assert fed([b"The end.<", b"|endof", b"text|> And then"]) == ("The end.", "end")
    assert fed([b"a <|endoftex"]) == ("a <|endoftex", None)


@pytest.mark.parametrize("stop", [(), ("",)])
def test_text_comes_at_once_where_nothing_can_stop_it(stop: tuple[str, ...]) -> None:
    detokenizer = Detokenizer(stop)
    assert [detokenizer.push(piece) for piece in (b"Any", b"thing. ", b"\n")] == ["Any", "thing. ", "\n"]


@pytest.mark.parametrize(
    ("text", "length", "said"),
    [
        ("One. Two. Three. ", 0, "One."),
        ("One. Two. Three. ", 4, "One."),
        ("One. Two. Three. ", 5, "One. Two."),
        ("One.\nTwo.", 3, "One."),
        ("“One!” he said. Two. ", 3, "“One!”"),
        ("One (or two.) Three", 3, "One (or two.)"),
        ("Well... no. Yes. ", 1, "Well..."),
        ("What?! No. ", 1, "What?!"),
        ("Mr. Smith met Dr. Jones. They left. ", 0, "Mr. Smith met Dr. Jones."),
        ("J. B. Smith left. He ran. ", 0, "J. B. Smith left."),
        ("So did I. He ran. ", 0, "So did I."),
        ("It is 3.14 or so. Yes. ", 0, "It is 3.14 or so."),
    ],
)
def test_after_length_characters_it_ends_with_the_sentence(text: str, length: int, said: str) -> None:
    assert fed([text.encode()], length=length) == (said, "sentence")
    assert fed(byte_by_byte(text.encode()), length=length) == (said, "sentence")


@pytest.mark.parametrize(("text", "length"), [("One. Two", 5), ("One.", 0), ("Mr. A. vs. ", 0), ("3.14.15 ", 0)])
def test_without_an_end_of_sentence_after_length_it_goes_on(text: str, length: int) -> None:
    assert fed([text.encode()], length=length) == (text, None)


def test_the_full_stop_itself_is_not_held_back() -> None:
    detokenizer = Detokenizer(target_chars=3)
    assert detokenizer.push("One.”".encode()) == "One.”"
    assert detokenizer.finish_reason is None
    assert detokenizer.push(b" Two") == ""
    assert detokenizer.finish_reason == "sentence"
