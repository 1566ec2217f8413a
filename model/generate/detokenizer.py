"""Turns the bytes of tokens into whole characters, and finds the end of the text. Pure; knows no model.

Three stages: bytes to characters, stop strings, the end of the sentence. The result does not depend on the borders
between tokens. An incomplete character waits, and so does the possible beginning of a stop string. Bytes that never
become a character are dropped: a reader would see only a replacement character.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from model.interface import END_OF_TEXT, FinishReason

_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]{0,4}(?=\s)""")

# A full stop after one of these seldom ends a sentence, nor does one after an initial (but "So did I." ends).
_ABBREVIATION = re.compile("capt|col|dr|gen|hon|lt|messrs|mme|mr|mrs|ms|mt|prof|rev|sgt|st|vs", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"(?:^|[^A-Za-z])([A-Za-z]+)$")
TAIL_CHARS = 16  # output characters to remember: more than an abbreviation has, or a mark with its quotes


class Detokenizer:
    """The text of one answer. Call `push` until `finish_reason` is set; call `flush` if the answer ends otherwise."""

    def __init__(self, stop: Sequence[str] = (), target_chars: int | None = None) -> None:
        """`stop` has strings that end the text and are not part of it.

        After `target_chars` characters the text ends with the current sentence.
        """
        self.finish_reason: FinishReason | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        # The characters of the end of text are a stop string too: a model may spell them.
        self._stop_strings = [*(text for text in stop if text), END_OF_TEXT]
        self._first_chars = frozenset(text[0] for text in self._stop_strings)
        self._undecided = ""
        self._sentence_finder = None if target_chars is None else _SentenceEndFinder(target_chars)

    def push(self, data: bytes) -> str:
        """Appends the bytes of a token; returns the characters that are certain now."""
        return self._accept(self._decoder.decode(data))

    def flush(self) -> str:
        """Returns the undecided characters: no more bytes follow. An incomplete character is dropped."""
        if self.finish_reason:
            return ""
        text, self._undecided = self._undecided, ""
        return self._cut_at_sentence_end(text)

    def _accept(self, text: str) -> str:
        if self.finish_reason or not text:
            return ""
        self._undecided += text
        if self._first_chars.isdisjoint(self._undecided):  # the usual case, also with a hundred stop strings
            certain, self._undecided = self._undecided, ""
            return self._cut_at_sentence_end(certain)
        starts = {stop: self._undecided.find(stop) for stop in self._stop_strings}
        stops = [(start + len(stop), start, stop) for stop, start in starts.items() if start >= 0]
        if stops:
            # The stop string that ends first counts: the one that begins first would need a look ahead.
            _, start, stop = min(stops)
            certain, self._undecided = self._undecided[:start], ""
            reason: FinishReason | None = "end" if stop == END_OF_TEXT else "stop"
        else:
            undecided = max(_stop_prefix_length(self._undecided, stop) for stop in self._stop_strings)
            border = len(self._undecided) - undecided
            certain, self._undecided, reason = self._undecided[:border], self._undecided[border:], None
        certain = self._cut_at_sentence_end(certain)
        self.finish_reason = self.finish_reason or reason
        return certain

    def _cut_at_sentence_end(self, text: str) -> str:
        """The text up to the end of the last sentence, if that is in it."""
        end = self._sentence_finder.find_end(text) if self._sentence_finder else None
        if end is None:
            return text
        self.finish_reason = "sentence"
        return text[:end]


class _SentenceEndFinder:
    """Looks for the first end of a sentence at or after `target_chars` characters.

    A mark ends a sentence only if a blank or a line feed follows it and its closing quotes. The mark is part of the
    text in either case, so it need not wait.
    """

    def __init__(self, target_chars: int) -> None:
        self._target_chars = target_chars
        self._seen_chars = 0
        self._tail = ""

    def find_end(self, text: str) -> int | None:
        """The index in `text` at which the sentence ends, 0 included; None if it goes on."""
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
    return bool(_ABBREVIATION.fullmatch(word)) or (len(word) == 1 and word.isupper() and word != "I")


def _stop_prefix_length(text: str, stop: str) -> int:
    """Number of characters at the end of `text` that may be the beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
