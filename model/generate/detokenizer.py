"""The bytes of tokens -> whole characters, and where a text ends. Pure; knows no model and no vocabulary.

Three stages, each of which gives the same whatever the cuts between tokens: bytes to characters, stop strings, the
end of the sentence. What cannot be decided yet is held back: half a character, and what may become a stop string.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from model.interface import END_OF_TEXT, FinishReason

_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]{0,4}(?=\s)""")

# A full stop after one of these is seldom the end of a sentence; nor is one after an initial (but "So did I.").
ABBREVIATIONS = frozenset(
    {
        "capt",
        "col",
        "dr",
        "gen",
        "hon",
        "lt",
        "messrs",
        "mme",
        "mr",
        "mrs",
        "ms",
        "mt",
        "prof",
        "rev",
        "sgt",
        "st",
        "vs",
    }
)
_WORD_BEFORE = re.compile(r"(?:^|[^A-Za-z])([A-Za-z]+)$")
TAIL_CHARS = 16  # characters kept of what was given out; no abbreviation is longer, nor a mark with its quotes


class Detokenizer:
    """One answer. `push` until `finish` says how it ended; `flush` if it ended for another reason."""

    def __init__(self, stop: Sequence[str] = (), target_chars: int | None = None) -> None:
        """`stop`: strings that end the text and are not part of it. `length`: characters after which the text ends
        with the sentence it is in."""
        self.finish_reason: FinishReason | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # The characters of the end of text are one more stop string: a model may spell them out.
        self._stop_strings = [*(text for text in stop if text), END_OF_TEXT]
        self._undecided = ""
        self._sentence_finder = None if target_chars is None else _SentenceEndFinder(target_chars)

    def push(self, data: bytes) -> str:
        """Take the bytes of a token; the characters that are now certain, maybe none."""
        return self._accept(self._decoder.decode(data))

    def flush(self) -> str:
        """What was held back: nothing more will come. Half a character is left out."""
        if self.finish_reason:
            return ""
        held, self._undecided = self._undecided, ""
        return self._cut_at_sentence_end(held)

    def _accept(self, text: str) -> str:
        if self.finish_reason or not text:
            return ""
        self._undecided += text
        found = [(at + len(stop), at, stop) for stop in self._stop_strings if (at := self._undecided.find(stop)) >= 0]
        if found:
            # The one that is complete first: this, unlike the one that begins first, needs no look ahead.
            _, at, stop = min(found)
            certain, self._undecided = self._undecided[:at], ""
            finish: FinishReason | None = "end" if stop == END_OF_TEXT else "stop"
        else:
            keep = max(_stop_prefix_length(self._undecided, stop) for stop in self._stop_strings)
            certain, self._undecided = (
                self._undecided[: len(self._undecided) - keep],
                self._undecided[len(self._undecided) - keep :],
            )
            finish = None
        certain = self._cut_at_sentence_end(certain)
        self.finish_reason = self.finish_reason or finish
        return certain

    def _cut_at_sentence_end(self, text: str) -> str:
        """The text up to the end of the sentence, if that is in it."""
        end = self._sentence_finder.find_end(text) if self._sentence_finder else None
        if end is None:
            return text
        self.finish_reason = "sentence"
        return text[:end]


class _SentenceEndFinder:
    """Looks for the first end of a sentence at or after `length` characters.

    A mark ends a sentence only if a blank or a line feed comes after it (and after closing quotes). The mark itself
    can be given out at once, for it is part of the text in either case.
    """

    def __init__(self, target_chars: int) -> None:
        self._target_chars = target_chars
        self._seen_chars = 0
        self._tail = ""

    def find_end(self, text: str) -> int | None:
        """The index in `text` at which the sentence ends, which may be 0; None if it goes on."""
        whole = self._tail + text
        start = self._seen_chars - len(self._tail)
        for match in _SENTENCE_END.finditer(whole):
            if (
                start + match.end() >= self._target_chars
                and match.end() >= len(self._tail)
                and not _is_abbreviation(whole, match)
            ):
                return match.end() - len(self._tail)
        self._seen_chars += len(text)
        self._tail = whole[-TAIL_CHARS:]
        return None


def _is_abbreviation(text: str, mark: re.Match[str]) -> bool:
    before = _WORD_BEFORE.search(text, 0, mark.start())
    if mark.group() != "." or before is None:
        return False
    word = before.group(1)
    return word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")


def _stop_prefix_length(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
