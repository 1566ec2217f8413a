"""The tokens that may come next, so that a text has only whole and printable characters. Pure.

A token may end inside a character. The state is the bytes of this open character; a token is allowed only if it leads
to a printable character. The caller says which characters are printable.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.generate.opening_mask import OpeningMask

Flags = NDArray[np.bool_]
Integers = NDArray[np.intp]

TEXT_CONTROLS = "\n\t"  # the only control characters that are text
REPLACEMENT_CHARACTER = "\ufffd"  # a model that writes it was trained on broken text

NO_TEXT_CATEGORIES = {"Cc", "Cn", "Co", "Cs"}  # control, unassigned, private, surrogate

# Ranges whose characters are all printable or all not: ideographs, hieroglyphs, private use, and all from plane 2 on.
# The first character of a range is tested for all of them; testing each would take seconds.
UNIFORM_RANGES = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xE000, 0xF8FF),
    (0xF900, 0xFAFF),
    (0x12000, 0x123FF),
    (0x13000, 0x143FF),
    (0x17000, 0x18D7F),
    (0x20000, 0x10FFFF),
)


class TokenMask:
    """The allowed tokens of one vocabulary, by the bytes of the open character."""

    def __init__(self, vocabulary: Sequence[bytes], end_of_text: int, is_printable: Callable[[str], bool]) -> None:
        """`vocabulary` has the bytes of each token, one for each logit. `is_printable` receives single characters."""
        self._vocabulary = vocabulary
        self._end_of_text = end_of_text
        self._ask_printable = is_printable
        self._printable_by_char: dict[str, bool] = {}
        self._completable = {b"": True}  # by state: whether tokens lead to a whole character
        self._allowed_after: dict[bytes, Integers] = {}
        self._continuation_tokens = [
            (token, data)
            for token, data in enumerate(vocabulary)
            if data and 0x80 <= data[0] < 0xC0 and token != end_of_text
        ]
        self._allowed_at_start = self._compute_allowed_at_start()
        self._forbidden_at_start = np.flatnonzero(~self._allowed_at_start)

    def allowed(self, open_bytes: bytes = b"") -> Flags:
        """Whether each token may follow the open bytes; at least one may.

        The end of text may follow if no character is open. If no token can complete the open bytes, they are ignored.
        """
        if not open_bytes:
            return self._allowed_at_start
        if open_bytes not in self._allowed_after:
            self._allowed_after[open_bytes] = np.array(
                [token for token, data in self._continuation_tokens if self._is_allowed(open_bytes + data)], np.intp
            )
        row = self._allowed_after[open_bytes]
        if not row.size:
            return self._allowed_at_start
        flags = np.zeros(len(self._vocabulary), np.bool_)
        flags[row] = True
        return flags

    def forbidden(self, open_bytes: bytes = b"") -> Integers:
        """The ids of the tokens that are not allowed. They are few if no character is open, as nearly always."""
        return np.flatnonzero(~self.allowed(open_bytes)) if open_bytes else self._forbidden_at_start

    @cached_property
    def opening(self) -> OpeningMask:
        return OpeningMask(self._vocabulary, self._end_of_text)

    def leaves_text(self, forbidden: Integers) -> bool:
        """Whether any token but the end of text is left."""
        is_left = np.ones(len(self._vocabulary), np.bool_)
        is_left[forbidden] = False
        is_left[self._end_of_text] = False
        return bool(is_left.any())

    def open_bytes_after(self, open_bytes: bytes, token: int) -> bytes:
        """The open bytes after one more token, as a decoder that replaces errors has them."""
        if token == self._end_of_text:
            return b""
        data = open_bytes + self._vocabulary[token]
        return data[codecs.utf_8_decode(data, "replace", False)[1] :]

    def open_bytes(self, ids: Iterable[int]) -> bytes:
        """The open bytes after these tokens."""
        state = b""
        for token in ids:
            state = self.open_bytes_after(state, token)
        return state

    def _compute_allowed_at_start(self) -> Flags:
        """Tests all ASCII tokens at once, by a table, and the few other tokens one after the other."""
        sizes = np.fromiter(map(len, self._vocabulary), np.intp, len(self._vocabulary))
        joined = np.frombuffer(b"".join(self._vocabulary), np.uint8)
        is_good = np.array([code >= 0x80 or self._is_printable(chr(code)) for code in range(256)])
        flags: Flags = (sizes > 0) & (_count_marked_bytes(~is_good[joined], sizes) == 0)
        for token in np.flatnonzero(flags & (_count_marked_bytes(joined >= 0x80, sizes) > 0)).tolist():
            flags[token] = self._is_allowed(self._vocabulary[token])
        flags[self._end_of_text] = True
        flags.setflags(write=False)
        return flags

    def _is_allowed(self, data: bytes) -> bool:
        open_bytes = self._open_bytes_of(data)
        return open_bytes is not None and self._can_complete(open_bytes)

    def _open_bytes_of(self, data: bytes) -> bytes | None:
        """The open bytes at the end; None if the bytes before them are no UTF-8 or not printable."""
        try:
            text, used = codecs.utf_8_decode(data, "strict", False)
        except UnicodeDecodeError:
            return None
        return data[used:] if all(map(self._is_printable, text)) else None

    def _is_printable(self, char: str) -> bool:
        known = self._printable_by_char.get(char)
        if known is None:
            if not _is_text(char):  # too many to cache
                return False
            tested = chr(_representative_of(ord(char), ord(char)))
            known = self._ask_printable(char) if tested == char else self._is_printable(tested)
            self._printable_by_char[char] = known
        return known

    def _can_complete(self, open_bytes: bytes) -> bool:
        """Whether tokens lead from here to the end of a character, through printable characters only."""
        known = self._completable.get(open_bytes)
        if known is None:
            seen = {open_bytes}
            known = self._search_completion(open_bytes, seen)
            self._completable.update({open_bytes: True} if known else dict.fromkeys(seen, False))
        return known

    def _search_completion(self, open_bytes: bytes, seen: set[bytes]) -> bool:
        """Searches the states that tokens lead to; adds each to `seen`."""
        queue = [open_bytes]
        while queue:
            for state in self._next_states(queue.pop()):
                if self._completable.get(state):
                    return True
                if state not in seen and state not in self._completable:
                    seen.add(state)
                    queue.append(state)
        return False

    def _next_states(self, open_bytes: bytes) -> Iterator[bytes]:
        """The states that one more token leads to."""
        first, last = _code_point_range(open_bytes)
        representative = _representative_of(first, last)
        if representative >= 0 and not self._is_printable(chr(representative)):
            return
        for _, data in self._continuation_tokens:
            if (state := self._open_bytes_of(open_bytes + data)) is not None:
                yield state


def _is_text(char: str) -> bool:
    is_text = char != REPLACEMENT_CHARACTER and unicodedata.category(char) not in NO_TEXT_CATEGORIES
    return is_text or char in TEXT_CONTROLS


def _representative_of(first: int, last: int) -> int:
    """The code point that stands for all from `first` to `last`: the first of their range, or the only one; else -1."""
    representative = next((start for start, end in UNIFORM_RANGES if start <= first and last <= end), -1)
    return first if representative < 0 and first == last else representative


def _code_point_range(open_bytes: bytes) -> tuple[int, int]:
    """The first and the last code point whose UTF-8 begins with these bytes."""
    lead = open_bytes[0]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    point = lead & (0xFF >> size + 1)
    for byte in open_bytes[1:]:
        point = point << 6 | byte & 0x3F
    missing_bits = 6 * (size - len(open_bytes))
    return point << missing_bits, min((point + 1 << missing_bits) - 1, 0x10FFFF)


def _count_marked_bytes(marked: Flags, sizes: Integers) -> Integers:
    """The number of marked bytes in each token; `marked` has the bytes of all tokens in one row."""
    before = np.concatenate(([0], np.cumsum(marked)))
    ends = np.cumsum(sizes)
    return np.asarray(before[ends] - before[ends - sizes], np.intp)
