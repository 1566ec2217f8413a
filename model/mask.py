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

BREAKS = "\n\t"  # the only controls that are text
REPLACEMENT = "\ufffd"  # a model that spells it has read garbage

NAMELESS = {"Cn", "Co", "Cs"}  # unassigned, private, half a pair: no one knows what they look like

# Runs of characters that are all alike to a printer of letters, and so many that to ask for each would take seconds:
# ideographs, hieroglyphs, private use, and all beyond the second plane. One answer holds for the run.
ALIKE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xE000, 0xF8FF),
    (0xF900, 0xFAFF),
    (0x12000, 0x123FF),
    (0x13000, 0x143FF),
    (0x17000, 0x18D7F),
    (0x20000, 0x10FFFF),
)


class Mask:
    """The tokens of one vocabulary that may be chosen, by the bytes of the character that is open."""

    def __init__(self, vocabulary: Sequence[bytes], end_of_text: int, printable: Callable[[str], bool]) -> None:
        """`vocabulary`: the bytes of each token, one for each logit. `printable` is asked of single characters."""
        self._vocabulary = vocabulary
        self._end_of_text = end_of_text
        self._printable = printable
        self._judged: dict[str, bool] = {}
        self._saved = {b"": True}  # whether there is a way from a state to a whole character
        self._rows: dict[bytes, Counts] = {}
        self._going_on = [
            (token, data)
            for token, data in enumerate(vocabulary)
            if data and 0x80 <= data[0] < 0xC0 and token != end_of_text
        ]
        self._fresh = self._of_no_state()
        self._never = np.flatnonzero(~self._fresh)

    def allowed(self, pending: bytes = b"") -> Flags:
        """For each token whether it may come after the bytes `pending` of an open character; at least one may.

        The end of text may come wherever no character is open. Bytes that no token can make a printable character
        of are given up: what may come is what may come after none.
        """
        if not pending:
            return self._fresh
        if pending not in self._rows:
            self._rows[pending] = np.array(
                [token for token, data in self._going_on if self._may(pending + data)], np.intp
            )
        row = self._rows[pending]
        if not row.size:
            return self._fresh
        flags = np.zeros(len(self._vocabulary), np.bool_)
        flags[row] = True
        return flags

    def barred(self, pending: bytes = b"") -> Counts:
        """The tokens that may not come there: few where no character is open, which is nearly always."""
        return np.flatnonzero(~self.allowed(pending)) if pending else self._never

    def after(self, pending: bytes, token: int) -> bytes:
        """The bytes of the character that is open after the token, as a decoder that forgives errors has them."""
        if token == self._end_of_text:
            return b""
        data = pending + self._vocabulary[token]
        return data[codecs.utf_8_decode(data, "replace", False)[1] :]

    def pending(self, ids: Iterable[int]) -> bytes:
        """The bytes of the character that is open after these tokens."""
        state = b""
        for token in ids:
            state = self.after(state, token)
        return state

    def _of_no_state(self) -> Flags:
        """ASCII by tables, all at once; the few tokens with other characters one by one."""
        sizes = np.fromiter(map(len, self._vocabulary), np.intp, len(self._vocabulary))
        joined = np.frombuffer(b"".join(self._vocabulary), np.uint8)
        good = np.array([code >= 0x80 or self._kept(chr(code)) for code in range(256)])
        flags: Flags = (sizes > 0) & (_count(~good[joined], sizes) == 0)
        for token in np.flatnonzero(flags & (_count(joined >= 0x80, sizes) > 0)).tolist():
            flags[token] = self._may(self._vocabulary[token])
        flags[self._end_of_text] = True
        flags.setflags(write=False)
        return flags

    def _may(self, data: bytes) -> bool:
        rest = self._rest(data)
        return rest is not None and self._is_saved(rest)

    def _rest(self, data: bytes) -> bytes | None:
        """The bytes that are open at the end; None if what comes before them is garbage or cannot be printed."""
        try:
            text, used = codecs.utf_8_decode(data, "strict", False)
        except UnicodeDecodeError:
            return None
        return data[used:] if all(map(self._kept, text)) else None

    def _kept(self, char: str) -> bool:
        known = self._judged.get(char)
        if known is None:
            if not _is_text(char):  # so many that they are not worth remembering
                return False
            alike = chr(_stands_for(ord(char), ord(char)))
            known = self._judged[char] = self._printable(char) if alike == char else self._kept(alike)
        return known

    def _is_saved(self, pending: bytes) -> bool:
        """Whether tokens lead from here to the end of a character, and all on the way can be printed."""
        known = self._saved.get(pending)
        if known is None:
            seen = {pending}
            known = self._search(pending, seen)
            self._saved.update({pending: True} if known else dict.fromkeys(seen, False))
        return known

    def _search(self, pending: bytes, seen: set[bytes]) -> bool:
        """Look through all states that can be reached; those looked at are in `seen`."""
        to_see = [pending]
        while to_see:
            for rest in self._next(to_see.pop()):
                if self._saved.get(rest):
                    return True
                if rest not in seen and rest not in self._saved:
                    seen.add(rest)
                    to_see.append(rest)
        return False

    def _next(self, pending: bytes) -> Iterator[bytes]:
        """The states that one token leads to."""
        first, last = _span(pending)
        alike = _stands_for(first, last)
        if alike >= 0 and not self._kept(chr(alike)):
            return
        for _, data in self._going_on:
            rest = self._rest(pending + data)
            if rest is not None:
                yield rest


def _is_text(char: str) -> bool:
    category = unicodedata.category(char)
    return char in BREAKS or not (category == "Cc" or category in NAMELESS or char == REPLACEMENT)


def _stands_for(first: int, last: int) -> int:
    """The code point that answers for all from `first` to `last`: their run's first, or the only one; or -1."""
    run = next((start for start, end in ALIKE if start <= first and last <= end), -1)
    return first if run < 0 and first == last else run


def _span(pending: bytes) -> tuple[int, int]:
    """The first and the last code point that begin with these bytes."""
    lead = pending[0]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    point = lead & (0xFF >> size + 1)
    for byte in pending[1:]:
        point = point << 6 | byte & 0x3F
    left = 6 * (size - len(pending))
    return point << left, min((point + 1 << left) - 1, 0x10FFFF)


def _count(marked: Flags, sizes: Counts) -> Counts:
    """How many bytes of each token are marked, of all tokens' bytes in one row."""
    before = np.concatenate(([0], np.cumsum(marked)))
    ends = np.cumsum(sizes)
    return np.asarray(before[ends] - before[ends - sizes], np.intp)
