"""The tokens that the model sees. When the context is full, the oldest whole lines are dropped. Pure.

It finds the starts of lines and words in the bytes of the tokens. It knows no session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from model.errors import PromptTooLong

MIN_ANSWER_TOKENS = 16  # a prompt must leave this many for its answer


class Vocabulary(Protocol):
    """The methods of a tokenizer that the context window calls."""

    end_of_text: int

    def bytes_of(self, token: int) -> bytes: ...


def require_prompt_fits(prompt: Sequence[int], context_length: int) -> None:
    """Raises PromptTooLong if a prompt leaves room for fewer than MIN_ANSWER_TOKENS."""
    limit = context_length - MIN_ANSWER_TOKENS
    if len(prompt) > limit:
        raise PromptTooLong(
            f"the prompt is {len(prompt)} tokens, the model takes {limit} "
            f"({context_length} less {MIN_ANSWER_TOKENS} for the answer): shorten it by {len(prompt) - limit}"
        )


def tokens_to_keep(context_length: int) -> int:
    """About how many tokens remain after a drop: half, because the session computes them all again each time."""
    return context_length // 2


class ContextWindow:
    """A prompt and its answer. `ids` has all tokens, also those that have left the context.

    The first token is the end of text. It stays in front of the tokens that are kept.
    """

    def __init__(self, prompt: Sequence[int], context_length: int, vocabulary: Vocabulary) -> None:
        self.ids = list(prompt)
        self._first_kept = 1
        self._context_length = context_length
        self._vocabulary = vocabulary

    @property
    def ids_in_context(self) -> list[int]:
        return [self.ids[0], *self.ids[self._first_kept :]]

    def drop_oldest(self) -> int:
        """Drops the oldest whole lines if the context is overfull; returns the number of characters dropped."""
        if 1 + len(self.ids) - self._first_kept <= self._context_length:
            return 0
        first = self._cut_index()
        dropped = b"".join(map(self._vocabulary.bytes_of, self.ids[self._first_kept : first]))
        self._first_kept = first
        return len(dropped.decode("utf-8", "ignore"))  # as the answer's text has them

    def _cut_index(self) -> int:
        """The start of a line near the middle of the context; without one, of a word, or else of a character."""
        middle, spread = len(self.ids) - tokens_to_keep(self._context_length), self._context_length // 4
        nearest_first = sorted(range(middle - spread, middle + spread + 1), key=lambda index: abs(index - middle))
        tests: tuple[Callable[[int], bool], ...] = (self._begins_line, self._begins_word, self._begins_character)
        return next((index for begins in tests for index in nearest_first if begins(index)), middle)

    def _begins_line(self, index: int) -> bool:
        return self._bytes_at(index - 1).endswith(b"\n")

    def _begins_word(self, index: int) -> bool:
        return self._bytes_at(index).startswith(b" ")

    def _begins_character(self, index: int) -> bool:
        return not 0x80 <= (self._bytes_at(index) or b" ")[0] < 0xC0

    def _bytes_at(self, index: int) -> bytes:
        return self._vocabulary.bytes_of(self.ids[index])
