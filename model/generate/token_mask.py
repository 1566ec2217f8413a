"""Which tokens may come next, so that a text is whole characters and each of them can be printed. Pure.

A token may be a piece of a character: what is open is the state, its bytes so far, and only what ends in a printable
character goes on from it. Knows no paper: which characters can be printed is asked of whoever makes the mask.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Counts = NDArray[np.intp]

TEXT_CONTROLS = "\n\t"  # the only controls that are text
REPLACEMENT_CHARACTER = "\ufffd"  # a model that spells it has read garbage

UNNAMED_CATEGORIES = {"Cn", "Co", "Cs"}  # unassigned, private, half a pair: no one knows what they look like

# Runs of characters that are all alike to a printer of letters, and so many that to ask for each would take seconds:
# ideographs, hieroglyphs, private use, and all beyond the second plane. One answer holds for the run.
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
    """The tokens of one vocabulary that may be chosen, by the bytes of the character that is open."""

    def __init__(self, vocabulary: Sequence[bytes], end_of_text: int, is_printable: Callable[[str], bool]) -> None:
        """`vocabulary`: the bytes of each token, one for each logit. `printable` is asked of single characters."""
        self._vocabulary = vocabulary
        self._end_of_text = end_of_text
        self._ask_printable = is_printable
        self._printable_by_char: dict[str, bool] = {}
        self._completable = {b"": True}  # whether there is a way from a state to a whole character
        self._allowed_after: dict[bytes, Counts] = {}
        self._continuation_tokens = [
            (token, data)
            for token, data in enumerate(vocabulary)
            if data and 0x80 <= data[0] < 0xC0 and token != end_of_text
        ]
        self._allowed_at_start = self._compute_allowed_at_start()
        self._forbidden_at_start = np.flatnonzero(~self._allowed_at_start)

    def allowed(self, open_bytes: bytes = b"") -> Flags:
        """For each token whether it may come after the bytes `pending` of an open character; at least one may.

        The end of text may come wherever no character is open. Bytes that no token can make a printable character
        of are given up: what may come is what may come after none.
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

    def forbidden(self, open_bytes: bytes = b"") -> Counts:
        """The tokens that may not come there: few where no character is open, which is nearly always."""
        return np.flatnonzero(~self.allowed(open_bytes)) if open_bytes else self._forbidden_at_start

    def open_bytes_after(self, open_bytes: bytes, token: int) -> bytes:
        """The bytes of the character that is open after the token, as a decoder that forgives errors has them."""
        if token == self._end_of_text:
            return b""
        data = open_bytes + self._vocabulary[token]
        return data[codecs.utf_8_decode(data, "replace", False)[1] :]

    def open_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of the character that is open after these tokens."""
        state = b""
        for token in ids:
            state = self.open_bytes_after(state, token)
        return state

    def _compute_allowed_at_start(self) -> Flags:
        """ASCII by tables, all at once; the few tokens with other characters one by one."""
        sizes = np.fromiter(map(len, self._vocabulary), np.intp, len(self._vocabulary))
        joined = np.frombuffer(b"".join(self._vocabulary), np.uint8)
        good = np.array([code >= 0x80 or self._is_printable(chr(code)) for code in range(256)])
        flags: Flags = (sizes > 0) & (_count_marked_bytes(~good[joined], sizes) == 0)
        for token in np.flatnonzero(flags & (_count_marked_bytes(joined >= 0x80, sizes) > 0)).tolist():
            flags[token] = self._is_allowed(self._vocabulary[token])
        flags[self._end_of_text] = True
        flags.setflags(write=False)
        return flags

    def _is_allowed(self, data: bytes) -> bool:
        rest = self._open_bytes_of(data)
        return rest is not None and self._can_complete(rest)

    def _open_bytes_of(self, data: bytes) -> bytes | None:
        """The bytes that are open at the end; None if what comes before them is garbage or cannot be printed."""
        try:
            text, used = codecs.utf_8_decode(data, "strict", False)
        except UnicodeDecodeError:
            return None
        return data[used:] if all(map(self._is_printable, text)) else None

    def _is_printable(self, char: str) -> bool:
        known = self._printable_by_char.get(char)
        if known is None:
            if not _is_text(char):  # so many that they are not worth remembering
                return False
            alike = chr(_representative_of(ord(char), ord(char)))
            known = self._printable_by_char[char] = (
                self._ask_printable(char) if alike == char else self._is_printable(alike)
            )
        return known

    def _can_complete(self, open_bytes: bytes) -> bool:
        """Whether tokens lead from here to the end of a character, and all on the way can be printed."""
        known = self._completable.get(open_bytes)
        if known is None:
            seen = {open_bytes}
            known = self._search_completion(open_bytes, seen)
            self._completable.update({open_bytes: True} if known else dict.fromkeys(seen, False))
        return known

    def _search_completion(self, open_bytes: bytes, seen: set[bytes]) -> bool:
        """Look through all states that can be reached; those looked at are in `seen`."""
        to_see = [open_bytes]
        while to_see:
            for rest in self._next_states(to_see.pop()):
                if self._completable.get(rest):
                    return True
                if rest not in seen and rest not in self._completable:
                    seen.add(rest)
                    to_see.append(rest)
        return False

    def _next_states(self, open_bytes: bytes) -> Iterator[bytes]:
        """The states that one token leads to."""
        first, last = _code_point_range(open_bytes)
        alike = _representative_of(first, last)
        if alike >= 0 and not self._is_printable(chr(alike)):
            return
        for _, data in self._continuation_tokens:
            rest = self._open_bytes_of(open_bytes + data)
            if rest is not None:
                yield rest


def _is_text(char: str) -> bool:
    category = unicodedata.category(char)
    return char in TEXT_CONTROLS or not (
        category == "Cc" or category in UNNAMED_CATEGORIES or char == REPLACEMENT_CHARACTER
    )


def _representative_of(first: int, last: int) -> int:
    """The code point that answers for all from `first` to `last`: their run's first, or the only one; or -1."""
    run = next((start for start, end in UNIFORM_RANGES if start <= first and last <= end), -1)
    return first if run < 0 and first == last else run


def _code_point_range(open_bytes: bytes) -> tuple[int, int]:
    """The first and the last code point that begin with these bytes."""
    lead = open_bytes[0]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    point = lead & (0xFF >> size + 1)
    for byte in open_bytes[1:]:
        point = point << 6 | byte & 0x3F
    left = 6 * (size - len(open_bytes))
    return point << left, min((point + 1 << left) - 1, 0x10FFFF)


def _count_marked_bytes(marked: Flags, sizes: Counts) -> Counts:
    """How many bytes of each token are marked, of all tokens' bytes in one row."""
    before = np.concatenate(([0], np.cumsum(marked)))
    ends = np.cumsum(sizes)
    return np.asarray(before[ends] - before[ends - sizes], np.intp)
