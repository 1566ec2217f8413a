"""Certainty as ink: what the model was sure of is struck twice, the unsure once. Pure.

The certainty of a token is its probability before temperature, penalty and filters: it shows what the model knows, not
how it is set. After the temperature all tokens would be sure at temperature 0.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import groupby, islice

from model.interface import TextChunk

SURE_LOGPROB = math.log(0.5)  # then the token is likelier than all others together
_MAX_DROPPED_CHARS = 64  # that a filter removes at once, such as a speaker's tag


class InkMarker:
    """Follows one answer from its chunks to the text that is printed, from which filters have removed some."""

    def __init__(self) -> None:
        self._chars: deque[tuple[str, bool]] = deque()  # with ink, not printed yet; and whether the model was sure

    def note_chunk(self, chunk: TextChunk) -> None:
        """Records how sure the model was. Several tokens of one chunk have the certainty of the least sure one."""
        is_sure = bool(chunk.logprobs) and min(chunk.logprobs) >= SURE_LOGPROB
        self._chars.extend((char, is_sure) for char in chunk.text if not char.isspace())

    def mark_text(self, text: str) -> list[tuple[str, bool]]:
        """Returns runs of the text, and whether a run is to be struck twice: then `X\\bX` stands for each X."""
        marked = [(char, self._take_certainty(char)) for char in text if char != "\b"]
        return [
            ("".join(f"{char}\b{char}" if is_sure and not char.isspace() else char for char, _ in run), is_sure)
            for is_sure, run in groupby(marked, key=lambda item: item[1])
        ]

    def _take_certainty(self, char: str) -> bool:
        if char.isspace():
            return False
        for index, (noted, is_sure) in enumerate(islice(self._chars, _MAX_DROPPED_CHARS)):
            if noted == char:
                for _ in range(index + 1):
                    self._chars.popleft()
                return is_sure and _is_inked_alone(char)
        return False  # a filter has put it in


def _is_inked_alone(char: str) -> bool:
    """Whether each fold of the character prints a glyph: a backspace after it goes back to no other character."""
    return char != "_" and ((char.isascii() and char.isprintable()) or char.isalnum() or char in "“”‘’—–…")
