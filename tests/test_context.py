from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import PromptTooLong
from model.generate.context_window import MIN_ANSWER_TOKENS, ContextWindow, require_prompt_fits, tokens_to_keep

END = 256


class Bytes:
    """A vocabulary of the 256 bytes."""

    end_of_text = END

    def bytes_of(self, token: int) -> bytes:
        return bytes([token]) if token < END else b""


def filled(said: bytes, context: int) -> tuple[ContextWindow, list[int]]:
    """A text that is said byte by byte, and how many characters went each time that it was full."""
    text, gone = ContextWindow([END], context, Bytes()), []
    for byte in said:
        if characters := text.drop_oldest():
            gone.append(characters)
        text.ids.append(byte)
    return text, gone


def window_of(text: ContextWindow) -> bytes:
    assert text.ids_in_context[0] == END
    return bytes(text.ids_in_context[1:])


def test_while_there_is_room_all_of_it_stands_in_the_context() -> None:
    text, gone = filled(b"x" * 99, 100)
    assert (window_of(text), gone) == (b"x" * 99, [])
    assert text.drop_oldest() == 0


def test_when_it_is_full_the_oldest_whole_lines_go() -> None:
    text, gone = filled(b"One line.\nAnother.\nA third line.\n" + b"x" * 30, 60)
    assert gone == [len("One line.\nAnother.\nA third line.\n")]
    assert window_of(text) == b"x" * 30


def test_the_border_is_the_line_nearest_to_the_middle() -> None:
    said = b"".join(b"%03d\n" % number for number in range(30))
    text, gone = filled(said, 100)
    assert gone == [50 // 4 * 4]
    assert window_of(text).startswith(b"012\n")


@pytest.mark.parametrize(
    ("said", "begins"),
    [("word " * 30, " word "), ("ä" * 60, "ä"), ("x" * 120, "x")],
    ids=["words", "characters", "bytes"],
)
def test_a_line_that_fills_the_context_is_cut_before_a_word_or_else_before_a_character(said: str, begins: str) -> None:
    text, gone = filled(said.encode()[:101], 100)
    text.drop_oldest()
    assert window_of(text).decode("utf-8", "ignore").startswith(begins)
    assert abs(len(text.ids_in_context) - tokens_to_keep(100)) <= 4
    assert gone or text.ids_in_context != text.ids


@given(st.text("ab ä€\n", max_size=400), st.integers(MIN_ANSWER_TOKENS + 1, 80))
def test_what_went_and_what_is_left_are_the_whole_and_it_fits(said: str, context: int) -> None:
    text, gone = filled(said.encode(), context)
    last = text.drop_oldest()
    left = window_of(text).decode("utf-8", "replace")
    assert said[sum(gone) + last :] == left
    assert len(text.ids_in_context) <= context
    assert list(said.encode()) == text.ids[1:]


@given(st.text("ab ä€\n", min_size=200, max_size=400), st.integers(MIN_ANSWER_TOKENS + 1, 80))
def test_about_half_is_kept(said: str, context: int) -> None:
    text = ContextWindow([END], context, Bytes())
    for byte in said.encode():
        if text.drop_oldest():
            assert context // 4 - 1 <= len(text.ids_in_context) <= context * 3 // 4 + 2
        text.ids.append(byte)


def test_a_prompt_that_cannot_fit_is_refused() -> None:
    require_prompt_fits([END] * (100 - MIN_ANSWER_TOKENS), 100)
    with pytest.raises(PromptTooLong, match=r"85 tokens, the model takes 84 \(100 less 16 .*shorten it by 1$"):
        require_prompt_fits([END] * 85, 100)
