"""The tokens with which an answer may begin, so that its first line begins with a new word. Pure.

The state is the answer's first bytes, as long as they are blanks or the part of a character.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.interface import Opening
from model.opening import judge_opening

Integers = NDArray[np.intp]


class OpeningMask:
    """The forbidden tokens of one vocabulary at the start of an answer, by the bytes before them."""

    def __init__(self, vocabulary: Sequence[bytes], end_of_text: int) -> None:
        self._vocabulary = vocabulary
        self._end_of_text = end_of_text
        # A token of a word has the blank before it. So after a single blank these letters are the rest of a word.
        self._joined_to_blank = {data[1:] for data in vocabulary if len(data) == 2 and data[:1] == b" "}
        self._cache: dict[tuple[bytes, Opening], Integers] = {}

    def forbidden(self, lead: bytes, opening: Opening) -> Integers:
        """The ids of the tokens that must not follow the bytes `lead` at the start of an answer."""
        key = (lead[-4:], opening)  # a character has four bytes at most; blanks before it do not matter
        if key not in self._cache:
            tokens = [
                token
                for token, data in enumerate(self._vocabulary)
                if token != self._end_of_text and not self._may_follow(data, lead, opening)
            ]
            self._cache[key] = np.array(tokens, np.intp)
        return self._cache[key]

    def _may_follow(self, data: bytes, lead: bytes, opening: Opening) -> bool:
        if lead.endswith(b" ") and data[:1] in self._joined_to_blank and not data[:1].isspace():
            return False
        # An incomplete character is not a blank, since blanks are whole; it counts as a letter.
        return judge_opening(_decode(lead + data) or "x", opening) is not False


def is_undecided(lead: bytes, opening: Opening) -> bool:
    """Whether the answer's first bytes have no word yet."""
    return judge_opening(_decode(lead), opening) is None


def _decode(data: bytes) -> str:
    """The whole characters at the start of the bytes."""
    return codecs.utf_8_decode(data, "replace", False)[0]
