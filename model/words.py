"""Words as the comparison with a training text takes them: in lower case, without punctuation; their hashes. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

APOSTROPHES = "'’"
MASK = 2**64 - 1
RUN_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so the multiplication loses no word of a run
MIX_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of splitmix64
_WORD = re.compile(rf"\w+(?:[{APOSTROPHES}]\w+)*")


def split_words(text: str) -> list[str]:
    """The words in lower case, without punctuation, with one form of the apostrophe."""
    return [_normalise(word) for word in _WORD.findall(text.casefold())]


def _normalise(folded: str) -> str:
    return folded.replace("’", "'")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of a text: a word with its normal form, or what stands between two words (`word` is "")."""

    text: str
    word: str = ""


class WordSplitter:
    """Splits a text that comes in pieces. The texts of all parts are the text, their words those of `split_words`."""

    def __init__(self) -> None:
        self._pending = ""  # a word that may go on

    def feed(self, text: str) -> list[TextPart]:
        """Returns the parts up to the last word, which may go on in the next piece."""
        return self._split(self._pending + text, is_end=False)

    def flush(self) -> list[TextPart]:
        """Returns the last word, at the end of the text."""
        return self._split(self._pending, is_end=True)

    def _split(self, text: str, *, is_end: bool) -> list[TextPart]:
        # One character may have several in lower case, and some have a word's end among them.
        folded = [char.casefold() for char in text]
        origins = [index for index, chars in enumerate(folded) for _ in chars]
        joined = "".join(folded)
        parts: list[TextPart] = []
        done = 0
        for match in _WORD.finditer(joined):
            may_go_on = len(joined) - match.end() < 2 and not joined[match.end() :].strip(APOSTROPHES)
            if may_go_on and not is_end:
                break
            start, end = max(done, origins[match.start()]), origins[match.end() - 1] + 1
            parts += [TextPart(text[done:start])] if start > done else []
            parts.append(TextPart(text[start:end], _normalise(match[0])))
            done = end
        else:
            parts += [TextPart(text[done:])] if text[done:] else []
            done = len(text)
        self._pending = text[done:]
        return parts


def hash_word(word: str, key: bytes = b"") -> int:
    """64 bits of a word. With a key the hashes differ from those under any other key."""
    return int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8, key=key).digest(), "little")


def hash_run(words: Sequence[int]) -> int:
    """64 bits of a run, from the hashes of its words."""
    total = 0
    for word in words:
        total = (total * RUN_MULTIPLIER + word) & MASK
    return total


def mix(number: int) -> int:
    """Spreads 64 bits: the end of splitmix64."""
    number = ((number ^ number >> 30) * MIX_MULTIPLIERS[0]) & MASK
    number = ((number ^ number >> 27) * MIX_MULTIPLIERS[1]) & MASK
    return number ^ number >> 31
