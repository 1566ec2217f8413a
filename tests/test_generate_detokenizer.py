from __future__ import annotations

import codecs
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.generate.detokenizer import Detokenizer
from model.interface import END_OF_TEXT, FinishReason


def detokenize(
    tokens: Iterable[bytes], stop: tuple[str, ...] = (), length: int | None = None
) -> tuple[str, FinishReason | None]:
    detokenizer, text = Detokenizer(stop, length), ""
    for token in tokens:
        text += detokenizer.push(token)
        if detokenizer.finish_reason:
            break
    return text + detokenizer.flush(), detokenizer.finish_reason


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def split_at(data: bytes, places: Iterable[int]) -> list[bytes]:
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
def test_any_division_into_tokens_gives_the_same_text(
    text: str, places: list[int], stop: tuple[str, ...], length: int | None
) -> None:
    data = text.encode()
    whole = detokenize([data], stop, length)
    assert detokenize(split_at(data, places), stop, length) == whole
    assert detokenize(byte_by_byte(data), stop, length) == whole


@settings(deadline=None)
@given(st.binary(max_size=40), st.lists(st.integers(0, 1000)))
@example("€".encode()[:2] + b"a", [])
@example("\ufffd".encode(), [])  # a whole character that the model wrote
def test_bytes_that_are_no_character_are_dropped_as_python_ignores_them(data: bytes, places: list[int]) -> None:
    assert detokenize(split_at(data, places)) == (codecs.utf_8_decode(data, "ignore", False)[0], None)


@settings(deadline=None)
@given(tricky, stops)
@example("xabcdx", ("abcd", "bc"))
@example("xabcdx", ("bc", "abc"))
def test_text_ends_before_the_stop_string_that_ends_first(text: str, stop: tuple[str, ...]) -> None:
    result = detokenize(byte_by_byte(text.encode()), stop)
    all_stops = [*stop, END_OF_TEXT]
    first = next((size for size in range(len(text) + 1) if text[:size].endswith(tuple(all_stops))), None)
    if first is None:
        assert result == (text, None)
    else:
        longest = max((ending for ending in all_stops if text[:first].endswith(ending)), key=len)
        assert result == (text[: first - len(longest)], "end" if longest == END_OF_TEXT else "stop")


def test_a_token_may_end_inside_a_character() -> None:
    detokenizer = Detokenizer()
    euro, wheel = "€".encode(), "🎡".encode()
    tokens = (euro[:1], euro[1:2], euro[2:] + wheel[:3], wheel[3:])
    assert [detokenizer.push(token) for token in tokens] == ["", "", "€", "🎡"]


def test_an_incomplete_character_at_the_end_is_dropped() -> None:
    assert detokenize([b"a", "€".encode()[:2]]) == ("a", None)
    assert detokenize([b"a<|end", "€".encode()[:1]]) == ("a<|end", None)


def test_an_incomplete_character_in_the_middle_is_dropped() -> None:
    assert detokenize(["€".encode()[:2], b"a"]) == ("a", None)
    assert detokenize(["🎡".encode()[:3], "é".encode(), b"\xff", b". ", b"b"], length=1) == ("é.", "sentence")


def test_only_the_possible_beginning_of_a_stop_string_waits() -> None:
    detokenizer = Detokenizer(stop=("\nQ:",))
    tokens = (b"A\n", b"Q", b"uite\n", b"Q", b": no")
    assert [detokenizer.push(token) for token in tokens] == ["A", "", "\nQuite", "", ""]
    assert detokenizer.finish_reason == "stop"
    assert detokenizer.push(b"more") == detokenizer.flush() == ""


def test_the_spelled_end_of_text_ends_the_text() -> None:
    assert detokenize([b"The end.<", b"|endof", b"text|> And then"]) == ("The end.", "end")
    assert detokenize([b"a <|endoftex"]) == ("a <|endoftex", None)


@pytest.mark.parametrize("stop", [(), ("",)])
def test_text_without_possible_stop_strings_does_not_wait(stop: tuple[str, ...]) -> None:
    detokenizer = Detokenizer(stop)
    assert [detokenizer.push(token) for token in (b"Any", b"thing. ", b"\n")] == ["Any", "thing. ", "\n"]


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("One. Two. Three. ", 0, "One."),
        ("One. Two. Three. ", 4, "One."),
        ("One. Two. Three. ", 5, "One. Two."),
        ("One.\nTwo.", 3, "One."),
        ("“One!” he expected. Two. ", 3, "“One!”"),
        ("One (or two.) Three", 3, "One (or two.)"),
        ("Well... no. Yes. ", 1, "Well..."),
        ("What?! No. ", 1, "What?!"),
        ("Mr. Smith met Dr. Jones. They left. ", 0, "Mr. Smith met Dr. Jones."),
        ("J. B. Smith left. He ran. ", 0, "J. B. Smith left."),
        ("So did I. He ran. ", 0, "So did I."),
        ("It is 3.14 or so. Yes. ", 0, "It is 3.14 or so."),
    ],
)
def test_after_the_target_length_the_text_ends_with_the_sentence(text: str, length: int, expected: str) -> None:
    assert detokenize([text.encode()], length=length) == (expected, "sentence")
    assert detokenize(byte_by_byte(text.encode()), length=length) == (expected, "sentence")


@pytest.mark.parametrize(("text", "length"), [("One. Two", 5), ("One.", 0), ("Mr. A. vs. ", 0), ("3.14.15 ", 0)])
def test_without_a_sentence_end_after_the_target_length_the_text_continues(text: str, length: int) -> None:
    assert detokenize([text.encode()], length=length) == (text, None)


def test_the_full_stop_itself_does_not_wait() -> None:
    detokenizer = Detokenizer(target_chars=3)
    assert detokenizer.push("One.”".encode()) == "One.”"
    assert detokenizer.finish_reason is None
    assert detokenizer.push(b" Two") == ""
    assert detokenizer.finish_reason == "sentence"
