"""Guesses the encoding of bytes that are not UTF-8: each candidate is judged by the letters that it gives. Pure.

A letter is judged by how often a language uses it, and by its place: `é` may end a word, `È` may not follow a small
letter, and a closing quote stands behind a word. charset-normalizer was not chosen: it weighs whole texts, while a
text may have one such letter, and it does not know a file that is UTF-8 but for some bytes.
"""

from __future__ import annotations

import codecs
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from tools.corpus.decoding.letter_frequencies import (
    ASIAN_ENCODINGS,
    DRAWING,
    LETTERS,
    MARKS,
    MIN_COMMON_COUNT,
    MIN_COMMON_SHARE,
    OTHER_LETTER,
    OTHER_MARK,
)

# Python's names, with the logarithm of how likely each is before any letter is seen. Equal readings: the first counts.
CANDIDATES: dict[str, float] = {
    "cp1252": 0.0, "iso8859_15": -1.0, "mac_roman": -1.5, "cp850": -2.0, "cp437": -2.1, "cp1250": -2.5,
    "iso8859_2": -2.8, "cp1251": -3.0, "cp1254": -3.2, "koi8_r": -3.2, "koi8_u": -3.4, "cp852": -3.2, "cp866": -3.4,
    "mac_latin2": -3.8, "iso8859_5": -4.0, "mac_cyrillic": -4.0, "cp1253": -4.0, "iso8859_7": -4.2, "cp1257": -4.0,
    "cp865": -4.2, "cp857": -4.2, "cp737": -4.4, "mac_turkish": -4.4,
}  # fmt: skip
OTHER_ALPHABETS = {"cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic", "cp1253", "iso8859_7", "cp737"}
MIN_ASCII_RATIO = 10  # bytes for each byte outside ASCII: fewer than any text in Cyrillic or Greek has
MAX_PLACES = 200_000  # places examined: the start of a huge file is enough
MIN_MEAN_SCORE = -5.0  # for each place; measured: right readings of a line are above -3.7, noise is below -5.8
FEW_PLACES_SCORE = 2.5  # so much lower for one place: a rare letter
MAX_DAMAGED_SHARE = 0.02  # of the bytes of a text in UTF-8 with damage
SAMPLE_LETTERS = 6  # named in a warning
SAMPLE_BYTES = 4096  # in which an encoding of two bytes is looked for

_VALID = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_PLACE = re.compile(rb"(" + _VALID + rb")|[\x80-\xff]")
_DECLARATION = re.compile(rb"(?i)(?:charset|encoding|coding)(?: encoding)?\s*[=:]\s*[\"']?\s*([A-Za-z][\w.:-]{2,30})")
_OPENING = frozenset("“‘„«‚‹¿¡")
_CLOSING = frozenset("”»›")
_UNSEEN = math.log(OTHER_LETTER / 1000)
_NOT_DEFINED, _CONTROL_SCORE = -9.0, -12.0
_CAPITAL = math.log(0.08)  # of the share of the small letter


@dataclass(slots=True)
class EncodingEvidence:
    """The places outside ASCII: counts of (byte before, byte or UTF-8 sequence, byte after)."""

    invalid: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    valid: Counter[tuple[int, bytes, int]] = field(default_factory=Counter)
    total_bytes: int = 0
    declared: str = ""  # the encoding that the text names at its start
    sample: bytes = b""  # the lines around the first places
    _places: int = 0

    def add(self, block: bytes) -> None:
        """Adds a block of bytes; blocks should end at line ends."""
        if not self.total_bytes and (match := _DECLARATION.search(block[:2048])):
            self.declared = match[1].decode("ascii")
        self.total_bytes += len(block)
        if self._places > MAX_PLACES:
            return
        if len(self.sample) < SAMPLE_BYTES and not block.isascii():
            first = next(_PLACE.finditer(block)).start()
            self.sample += block[max(0, block.rfind(b"\n", 0, first)) :][:SAMPLE_BYTES]
        for match in _PLACE.finditer(block):
            self._places += 1
            start, end = match.span()
            before = block[start - 1] if start else 10
            after = block[end] if end < len(block) else 10
            if match[1]:
                self.valid[before, match[1], after] += 1
            else:
                self.invalid[before, block[start], after] += 1


@dataclass(frozen=True, slots=True)
class EncodingGuess:
    """`encoding` is Python's name, "" if no candidate fits. `is_mixed`: UTF-8 but for the bytes that are not."""

    encoding: str
    is_mixed: bool
    letters: str = ""  # the most frequent ones that the encoding gives


def guess_encoding(evidence: EncodingEvidence) -> EncodingGuess:
    """Returns the candidate whose letters fit best; the encoding that the text declares needs less evidence."""
    if asian := _guess_asian(evidence.sample):
        return EncodingGuess(asian, is_mixed=False, letters=_asian_letters(evidence.sample, asian))
    places = sum(evidence.invalid.values())
    scores = {name: _score_bytes(evidence.invalid, name) + prior for name, prior in CANDIDATES.items()}
    if evidence.total_bytes > MIN_ASCII_RATIO * places:
        for name in scores.keys() & OTHER_ALPHABETS:
            scores[name] -= 5  # a text in Latin letters
    if (declared := find_codec(evidence.declared)) in scores:
        scores[declared] += 10 + places
    best = max(scores, key=lambda name: scores[name])
    is_plausible = scores[best] - CANDIDATES[best] > MIN_MEAN_SCORE * places - FEW_PLACES_SCORE
    if is_plausible and not _is_mixed(evidence, best):
        return EncodingGuess(best, is_mixed=False, letters=_sample_letters(evidence, best))
    if is_plausible:
        return EncodingGuess(best, is_mixed=True, letters=_sample_letters(evidence, best))
    is_damaged = places < MAX_DAMAGED_SHARE * evidence.total_bytes or places < sum(evidence.valid.values())
    return EncodingGuess("", is_mixed=is_damaged)


def _guess_asian(sample: bytes) -> str:
    """Returns the encoding of two bytes that gives many common characters, or ""."""
    shares = {name: _common_share(sample, name) for name in ASIAN_ENCODINGS}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > MIN_COMMON_SHARE else ""


def _common_share(sample: bytes, encoding: str) -> float:
    decoded = codecs.getincrementaldecoder(encoding)("replace").decode(sample)
    characters = [c for c in decoded if c > "\x7f"]
    common = sum(c in ASIAN_ENCODINGS[encoding] for c in characters)
    return (common - 4 * characters.count("\ufffd")) / len(characters) if common >= MIN_COMMON_COUNT else 0.0


def _asian_letters(sample: bytes, encoding: str) -> str:
    counts = Counter(c for c in sample.decode(encoding, "ignore") if c > "\x7f")
    return " ".join(character for character, _ in counts.most_common(SAMPLE_LETTERS))


def find_codec(name: str) -> str:
    """Returns the candidate that a declaration such as ISO-8859-1 means, or ""."""
    folded = re.sub(r"[^a-z0-9]", "", name.lower())
    aliases = {"iso88591": "cp1252", "latin1": "cp1252", "windows1252": "cp1252", "ansi": "cp1252"}
    aliases |= {"macintosh": "mac_roman", "macroman": "mac_roman", "codepage437": "cp437", "ibm437": "cp437"}
    aliases |= {re.sub("[^a-z0-9]", "", candidate): candidate for candidate in CANDIDATES}
    return aliases.get(folded) or aliases.get(folded.replace("windows", "cp").replace("ibm", "cp"), "")


def _is_mixed(evidence: EncodingEvidence, encoding: str) -> bool:
    """Whether the valid UTF-8 sequences are better letters as UTF-8 than as `encoding`."""
    if not evidence.valid:
        return False
    table = decoding_table(encoding)
    as_utf8: Counter[tuple[str, str, str]] = Counter()
    as_bytes: Counter[tuple[int, int, int]] = Counter()
    for (before, sequence, after), count in evidence.valid.items():
        as_utf8[table[before], sequence.decode(), table[after]] += count
        padded = bytes([before]) + sequence + bytes([after])
        for window in zip(padded, padded[1:], padded[2:], strict=False):
            as_bytes[window[0], window[1], window[2]] += count
    return _score_characters(as_utf8) >= _score_bytes(as_bytes, encoding)


@lru_cache(64)
def decoding_table(encoding: str) -> str:
    """Returns the 256 characters of an encoding with one byte each; U+FFFD for bytes that it does not define."""
    return "".join(bytes([byte]).decode(encoding, "replace") for byte in range(256))


def _score_bytes(windows: Counter[tuple[int, int, int]], encoding: str) -> float:
    table = decoding_table(encoding)
    decoded: Counter[tuple[str, str, str]] = Counter()
    for (before, byte, after), count in windows.items():
        decoded[table[before], table[byte], table[after]] += count
    return _score_characters(decoded)


def _score_characters(windows: Counter[tuple[str, str, str]]) -> float:
    """Returns the log-likelihood of characters in their places, in the language that they fit best."""
    fixed = 0.0
    letters: Counter[str] = Counter()
    for (before, character, after), count in windows.items():
        fixed += count * _score_place(before, character, after)
        if character.isalpha() and character not in MARKS:
            letters[character] += count
    return fixed + max(_score_letters(letters.items(), language) for language in LETTERS)


def _score_letters(letters: Iterable[tuple[str, int]], language: str) -> float:
    shares = LETTERS[language]
    total = 0.0
    for letter, count in letters:
        small = letter if letter in shares else letter.lower()
        share = shares.get(small)
        score = math.log(share / 1000) if share else _UNSEEN
        total += count * (score + (_CAPITAL if small != letter else 0.0))
    return total


@lru_cache(1 << 16)
def _score_place(before: str, character: str, after: str) -> float:
    """Returns the score of a mark, and what the neighbours of a letter or mark take from it."""
    if character == "\ufffd":
        return _NOT_DEFINED
    if unicodedata.category(character) == "Cc":
        return _CONTROL_SCORE
    if character.isalpha() and character not in MARKS:
        return _score_letter_place(before, character, after)
    is_inside_word = before.isalpha() and after.isalpha()
    share = MARKS.get(character, OTHER_MARK)
    if "\u2500" <= character <= "\u259f" and any("\u2500" <= c <= "\u259f" for c in (before, after)):
        share = DRAWING
    score = math.log(share / 1000)
    if character in _OPENING:
        return score - 5 * (before.isalnum() or (after.isspace() and character != "«"))
    if character in _CLOSING:
        return score - 5 * (after.isalnum() or (before.isspace() and character != "»"))
    if character == "\u00a0":
        return score - 3 * (before.isspace() or after.isspace())
    if character == "‘":
        return score - 5 * before.isalnum()
    return score - 5 * (is_inside_word and character not in "’–—·…\u00a0")


def _score_letter_place(before: str, letter: str, after: str) -> float:
    score = -8.0 if before == letter == after else 0.0  # a line that is drawn, in the encodings of DOS
    if letter.isupper() and before.isalpha() and before.islower():
        score -= 5
    elif letter.isupper() and (before.isupper() or after.isupper()):
        score -= _CAPITAL
    for neighbour in (before, after):
        if neighbour.isalpha() and neighbour not in MARKS and _script(neighbour) != _script(letter):
            score -= 6  # no word mixes alphabets
        elif neighbour.isdigit():
            score -= 2
    return score


@lru_cache(1024)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").split(" ")[0]


def _sample_letters(evidence: EncodingEvidence, encoding: str) -> str:
    """Returns the most frequent characters that `encoding` gives, separated by blanks."""
    table = decoding_table(encoding)
    counts: Counter[str] = Counter()
    for (_, byte, _), count in evidence.invalid.items():
        counts[table[byte]] += count
    shown = (character for character, _ in counts.most_common() if character.isprintable() and character != "\ufffd")
    return " ".join(list(shown)[:SAMPLE_LETTERS])
