"""Which tokens of a text stand in the context: all of them, until that is full; then the oldest whole lines go. Pure.

Knows where lines and words begin, by the bytes of tokens. Knows no session, and nothing of what comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from model.errors import PromptTooLong

MIN_ANSWER_TOKENS = 16  # tokens that a prompt must leave for its answer


class Vocabulary(Protocol):
    """What is asked of the tokenizer."""

    end_of_text: int

    def bytes_of(self, token: int) -> bytes: ...


def require_prompt_fits(prompt: Sequence[int], context_length: int) -> None:
    """Raise PromptTooLong where a prompt leaves less than ROOM."""
    if len(prompt) > context_length - MIN_ANSWER_TOKENS:
        raise PromptTooLong(
            f"the prompt is {len(prompt)} tokens, the model takes {context_length - MIN_ANSWER_TOKENS} "
            f"({context_length} less {MIN_ANSWER_TOKENS} for the answer): shorten it by {len(prompt) - context_length + MIN_ANSWER_TOKENS}"
        )


def tokens_to_keep(context_length: int) -> int:
    """How many tokens about stay when the oldest lines go: a text that rolls seldom is read anew seldom."""
    return context_length // 2


class ContextWindow:
    """A prompt and its answer; `ids` are all of them, also those that the context has no more room for.

    The first is the end of text, which stands before what is left as it stood before the whole.
    """

    def __init__(self, prompt: Sequence[int], context_length: int, vocabulary: Vocabulary) -> None:
        self.ids = list(prompt)
        self._first_kept = 1  # of those that are left
        self._context_length = context_length
        self._vocabulary = vocabulary

    @property
    def ids_in_context(self) -> list[int]:
        """What stands in the context."""
        return [self.ids[0], *self.ids[self._first_kept :]]

    def drop_oldest(self) -> int:
        """Let the oldest whole lines go if the context is overfull; how many characters these were."""
        if 1 + len(self.ids) - self._first_kept <= self._context_length:
            return 0
        first = self._cut_index()
        gone = b"".join(map(self._vocabulary.bytes_of, self.ids[self._first_kept : first]))
        self._first_kept = first
        return len(gone.decode("utf-8", "replace"))

    def _cut_index(self) -> int:
        """The beginning of a line near the middle of the context; of a word, where one line fills it."""
        middle, spread = len(self.ids) - tokens_to_keep(self._context_length), self._context_length // 4
        near = sorted(range(middle - spread, middle + spread + 1), key=lambda at: abs(at - middle))
        kinds: tuple[Callable[[int], bool], ...] = (self._begins_line, self._begins_word, self._begins_character)
        return next((at for begins in kinds for at in near if begins(at)), middle)

    def _begins_line(self, index: int) -> bool:
        return self._bytes_at(index - 1).endswith(b"\n")

    def _begins_word(self, index: int) -> bool:
        return self._bytes_at(index).startswith(b" ")

    def _begins_character(self, index: int) -> bool:
        return not 0x80 <= (self._bytes_at(index) or b" ")[0] < 0xC0

    def _bytes_at(self, index: int) -> bytes:
        return self._vocabulary.bytes_of(self.ids[index])
