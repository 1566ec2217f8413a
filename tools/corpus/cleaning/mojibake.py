"""Repairs text that was decoded with a wrong encoding: UTF-8 read as Windows-1252, Mac Roman, cp1251 and others. Pure.

Each sequence of characters that is UTF-8 in such an encoding is judged by the character that it gives, and by the
letters around it. Some sequences occur in right texts too, `Ã»` after capitals; they need a sure one in the same text.
ftfy was not chosen: it repairs a line as a whole or not at all in most encodings, and knows no lost characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tools.corpus.decoding.encoding_guess import OTHER_ALPHABETS, EncodingEvidence, guess_encoding
from tools.corpus.fields import repair_latin1

MAX_PASSES = 4  # a text may have been decoded wrongly more than once, and in several ways
MIN_ALPHABET_LETTERS, MIN_ALPHABET_WORD = 5, 4  # of a text without one letter of ASCII
MIN_ALPHABET_SHARE = 0.8  # of its letters in words without a letter of ASCII

ENCODINGS = ("cp1252", "mac_roman", "cp1251", "cp437", "cp850", "cp1250")
_LOST_BYTES = {"cp1251": 0x98}  # the only byte without a character: U+FFFD stands for it
# What may follow a capital letter in a right text.
_USUAL_MARKS = frozenset("«»“”’‘‚„…–—‹›·¡¿°§ªº©®™\u00a0£€†•")
_SAFE_AFTER_C3 = frozenset("‚„†‘•£§ª°º©®™€·¿")  # Ã and these are `Ã‚`, `Ã©`, ...: no word ends with Ã in small letters
_SYMBOLS = re.compile(
    "[\u2000-\u206f\u20a0-\u2bff\ufb00-\ufb06\ufeff\ufe0f\ufffd\U0001f000-\U0001faff\U000e0020-\U000e007f]"
)
_LATIN_BLOCK = "latin"

_Verdict = Literal["sure", "weak", "wrong"]


@dataclass(frozen=True, slots=True)
class _Table:
    """An encoding: the byte of each character, and the pattern of UTF-8 sequences in its characters."""

    encoding: str
    byte_by_character: dict[str, int]
    clusters: re.Pattern[str]
    sequences: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Sequence:
    """The position of a sequence, the character that it gives, and whether it may replace it."""

    start: int
    end: int
    character: str
    block: str
    verdict: _Verdict


def repair_mojibake(text: str) -> str:
    """Repairs UTF-8 and alphabets that were decoded with a wrong encoding."""
    if text.isascii():
        return text
    text = repair_latin1(text)
    for _ in range(MAX_PASSES):
        found = [_find_sequences(text, _table(encoding)) for encoding in ENCODINGS]
        best = max(found, key=lambda sequences: sum(sequence.end - sequence.start for sequence in sequences))
        if not best:
            break
        text = _replace_sequences(text, best)
    return _repair_alphabet(_complete_letters(text))


@lru_cache
def _table(encoding: str) -> _Table:
    characters: dict[str, int] = {}
    for byte in range(0x80, 0x100):
        character = bytes([byte]).decode(encoding, "replace")
        if byte < 0xA0:
            characters[chr(byte)] = byte  # a program that knew no character for this byte
        if character != "\ufffd":
            characters[character] = byte
    if encoding in _LOST_BYTES:
        characters["\ufffd"] = _LOST_BYTES[encoding]
    rest, two, three, four = (
        "".join(re.escape(c) for c, byte in characters.items() if first <= byte < last) or "\0"
        for first, last in ((0x80, 0xC0), (0xC2, 0xE0), (0xE0, 0xF0), (0xF0, 0xF5))
    )
    sequence = f"[{two}][{rest}]|[{three}][{rest}]{{2}}|[{four}][{rest}]{{3}}"
    return _Table(encoding, characters, re.compile(f"(?:{sequence})+"), re.compile(sequence))


def _find_sequences(text: str, table: _Table) -> list[_Sequence]:
    """Returns the sequences to replace: the sure ones, and those of the same alphabet."""
    found = [sequence for cluster in table.clusters.finditer(text) for sequence in _judge_cluster(text, cluster, table)]
    sure_blocks = {sequence.block for sequence in found if sequence.verdict == "sure"}
    return [sequence for sequence in found if sequence.verdict != "wrong" and sequence.block in sure_blocks]


def _replace_sequences(text: str, sequences: list[_Sequence]) -> str:
    parts: list[str] = []
    end = 0
    for sequence in sequences:
        parts += [text[end : sequence.start], sequence.character]
        end = sequence.end
    return "".join([*parts, text[end:]])


def _judge_cluster(text: str, cluster: re.Match[str], table: _Table) -> Iterator[_Sequence]:
    """Yields the sequences of a cluster. Of another alphabet than the Latin one, two letters in a row are sure."""
    decoded: list[tuple[int, int, str]] = []
    for match in table.sequences.finditer(text, *cluster.span()):
        try:
            character = bytes(table.byte_by_character[c] for c in match[0]).decode("utf-8")
        except UnicodeDecodeError:
            continue
        decoded.append((match.start(), match.end(), character))
    blocks = [_block(character) for _, _, character in decoded]
    for at, ((start, end, character), block) in enumerate(zip(decoded, blocks, strict=True)):
        if block not in ("", _LATIN_BLOCK):
            verdict: _Verdict = "sure" if block in (*blocks[max(0, at - 1) : at], *blocks[at + 1 : at + 2]) else "weak"
        else:
            before, after = text[start - 1 : start], text[end : end + 1]
            verdict = _judge_latin(text[start:end], character, before, after, table.encoding) if block else "wrong"
        yield _Sequence(start, end, character, block, verdict)


def _block(character: str) -> str:
    """Returns the alphabet of a character, "latin" for letters and marks of texts in Latin; "" for what no text has."""
    code = ord(character)
    if code < 0x180 or 0x1E00 <= code < 0x1F00 or character in "ƒˆ˜ȘșȚțƠơƯư" or _SYMBOLS.match(character):
        return _LATIN_BLOCK
    for first, last, block in (
        (0x370, 0x3FF, "greek"), (0x400, 0x45F, "cyrillic"), (0x490, 0x491, "cyrillic"), (0x5B0, 0x5F4, "hebrew"),
        (0x60C, 0x6D5, "arabic"), (0x900, 0xDFF, "indic"), (0xE00, 0xE7F, "thai"), (0x10A0, 0x10FF, "georgian"),
        (0x3000, 0x9FFF, "asian"), (0xAC00, 0xD7A3, "asian"), (0xFF00, 0xFFEF, "asian"),
    ):  # fmt: skip
        if first <= code <= last:
            return block
    return ""


def _judge_latin(wrong: str, character: str, before: str, after: str, encoding: str) -> _Verdict:
    if len(wrong) > 2:
        return "weak" if "\u1e00" <= character < "\u1f00" and wrong[1] == "»" else "sure"
    if not character.isalpha():
        # `Â°` and `Â ` are sure; a program that knows Mac Roman or cp1251 may write `¬∞` and `В°` in right texts.
        is_mark = encoding == "cp1252" and character >= "\u00a0" and character not in "¡«»"
        return "sure" if is_mark else "weak"
    is_small = character.islower()
    if before.isdigit() or after.isdigit() or (before.isalpha() and not before.isascii() and not "ß" <= before <= "ÿ"):
        is_in_word = False
    elif before.islower():
        is_in_word = is_small
    else:
        starts_word = not before.isalpha() and "a" <= after <= "z"
        is_in_word = starts_word and wrong[1] not in "”’»…–—"
    if is_in_word:
        return "sure"
    is_unusual = wrong[1] not in _USUAL_MARKS or wrong[1] in _SAFE_AFTER_C3
    return "sure" if encoding == "cp1252" and wrong[0] == "Ã" and is_unusual else "weak"


# UTF-8 in Windows-1252 after a program has replaced or dropped what looked like a no-break space or a control.
_CONTINUATION = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"  # the characters of bytes 80 to BF
_LOST_PARTNERS = (
    (re.compile("(?<![^\\W\\d_])Ã  ?(?=[^\\W\\d_])"), "à "),
    (re.compile("(?<=[a-zß-ÿ])Ã(?: (?= )|(?= |$))", re.MULTILINE), "à"),
    (re.compile(f"â€(?!{_CONTINUATION})\ufffd?"), "”"),
    (re.compile("(?<![A-ZÀ-Þ\\s])Â(?=[ \t]|$)|(?:^|(?<=\\s))Â(?=[ \t])", re.MULTILINE), ""),
)


def _complete_letters(text: str) -> str:
    """Completes the sequences whose last character was lost."""
    if "Ã" in text or "â€" in text or "Â" in text:
        for pattern, letter in _LOST_PARTNERS:
            text = pattern.sub(letter, text)
    return text


_WORD = re.compile(r"[^\W\d_]+")
_HIGH_WORD = re.compile("[À-ÖØ-öø-ÿŠšŒœŽžŸƒ]+")


def _repair_alphabet(text: str) -> str:
    """Decodes Cyrillic or Greek that was read as Latin letters: a text whose words have no letter of ASCII."""
    if not any("À" <= c <= "ÿ" for c in text[:400]):
        return text
    words = _WORD.findall(text)
    high = [word for word in words if _HIGH_WORD.fullmatch(word)]
    letters = sum(map(len, high))
    is_other = letters >= max(MIN_ALPHABET_LETTERS, MIN_ALPHABET_SHARE * sum(map(len, words)))
    if not is_other or max(map(len, high)) < MIN_ALPHABET_WORD or len(set("".join(high))) < MIN_ALPHABET_WORD:
        return text
    try:
        data = text.encode("cp1252")
    except UnicodeEncodeError:
        return text
    evidence = EncodingEvidence()
    evidence.add(data)
    guess = guess_encoding(evidence)
    if guess.encoding not in OTHER_ALPHABETS or guess.is_mixed:
        return text
    return data.decode(guess.encoding, "replace")


# The characters of Windows-1252 for the C1 controls, which no text has.
_WINDOWS_BY_C1 = {byte: bytes([byte]).decode("cp1252", "replace").replace("\ufffd", "") for byte in range(0x80, 0xA0)}
_C1 = re.compile("[\x80-\x84\x86-\x9f]")


def replace_c1_controls(text: str) -> str:
    """Replaces C1 controls by the characters that Windows-1252 has in their place; NEXT LINE may be a line end."""
    if text.isascii() or not ("\x85" in text or _C1.search(text)):
        return text
    has_line_ends = "\n" in text or _C1.search(text) is not None or text.count("\x85") < 2
    table = _WINDOWS_BY_C1 if has_line_ends else {c: mark for c, mark in _WINDOWS_BY_C1.items() if c != 0x85}
    return text.translate(table)


# Quoted-printable of mails. UTF-8 is sure, `=C3=A9`; other codes are decoded where lines end as they do in mails.
_QUOTED_UTF8 = re.compile(
    "=(?:C[2-9A-F]|D[0-9A-F])=[89AB][0-9A-F]|=E[0-9A-F](?:=[89AB][0-9A-F]){2}|=F[0-4](?:=[89AB][0-9A-F]){3}"
)
_QUOTED = re.compile("(?:=[0-9A-F]{2})+|(?<!=)=[ \t]*\n")
_SOFT_LINE_END = re.compile("^[^\n]{50,75}(?<!=)=[ \t]*\n", re.MULTILINE)


def decode_quoted_printable(text: str) -> str:
    """Decodes the quoted-printable of a mail that was saved as it was sent; any other text is returned as it is."""
    if "=" not in text:
        return text
    is_mail = _SOFT_LINE_END.search(text) and ("=20\n" in text or "=3D" in text or _QUOTED_UTF8.search(text))
    return (_QUOTED if is_mail or len(_SOFT_LINE_END.findall(text)) > 2 else _QUOTED_UTF8).sub(_unquote, text)


def _unquote(match: re.Match[str]) -> str:
    if match[0].endswith("\n"):
        return ""
    data = bytes.fromhex(match[0].replace("=", ""))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
