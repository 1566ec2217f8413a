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


def fill_window(content: bytes, context_length: int) -> tuple[ContextWindow, list[int]]:
    """Appends the text byte by byte; also returns the number of characters dropped at each overflow."""
    window, dropped = ContextWindow([END], context_length, Bytes()), []
    for byte in content:
        if characters := window.drop_oldest():
            dropped.append(characters)
        window.ids.append(byte)
    return window, dropped


def content_of(window: ContextWindow) -> bytes:
    assert window.ids_in_context[0] == END
    return bytes(window.ids_in_context[1:])


def test_while_there_is_room_all_tokens_are_in_the_context() -> None:
    window, dropped = fill_window(b"x" * 99, 100)
    assert (content_of(window), dropped) == (b"x" * 99, [])
    assert window.drop_oldest() == 0


def test_a_full_context_drops_the_oldest_whole_lines() -> None:
    window, dropped = fill_window(b"One line.\nAnother.\nA third line.\n" + b"x" * 30, 60)
    assert dropped == [len("One line.\nAnother.\nA third line.\n")]
    assert content_of(window) == b"x" * 30


def test_the_cut_is_at_the_line_nearest_to_the_middle() -> None:
    content = b"".join(b"%03d\n" % number for number in range(30))
    window, dropped = fill_window(content, 100)
    assert dropped == [50 // 4 * 4]
    assert content_of(window).startswith(b"012\n")


@pytest.mark.parametrize(
    ("content", "beginning"),
    [("word " * 30, " word "), ("ä" * 60, "ä"), ("x" * 120, "x")],
    ids=["words", "characters", "bytes"],
)
def test_a_line_that_fills_the_context_is_cut_before_a_word_or_else_before_a_character(
    content: str, beginning: str
) -> None:
    window, dropped = fill_window(content.encode()[:101], 100)
    window.drop_oldest()
    assert content_of(window).decode("utf-8", "ignore").startswith(beginning)
    assert abs(len(window.ids_in_context) - tokens_to_keep(100)) <= 4
    assert dropped or window.ids_in_context != window.ids


@given(st.text("ab ä€\n", max_size=400), st.integers(MIN_ANSWER_TOKENS + 1, 80))
def test_dropped_and_kept_tokens_together_are_the_text_and_it_fits(content: str, context_length: int) -> None:
    window, dropped = fill_window(content.encode(), context_length)
    last_dropped = window.drop_oldest()
    remaining = content_of(window).decode("utf-8", "replace")
    assert content[sum(dropped) + last_dropped :] == remaining
    assert len(window.ids_in_context) <= context_length
    assert list(content.encode()) == window.ids[1:]


@given(st.text("ab ä€\n", min_size=200, max_size=400), st.integers(MIN_ANSWER_TOKENS + 1, 80))
def test_about_half_of_the_context_is_kept(content: str, context_length: int) -> None:
    window = ContextWindow([END], context_length, Bytes())
    for byte in content.encode():
        if window.drop_oldest():
            assert context_length // 4 - 1 <= len(window.ids_in_context) <= context_length * 3 // 4 + 2
        window.ids.append(byte)


def test_a_prompt_that_cannot_fit_is_refused() -> None:
    require_prompt_fits([END] * (100 - MIN_ANSWER_TOKENS), 100)
    with pytest.raises(PromptTooLong, match=r"85 tokens, the model takes 84 \(100 less 16 .*shorten it by 1$"):
        require_prompt_fits([END] * 85, 100)
