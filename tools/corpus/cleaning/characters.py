"""Characters put right: entities, mojibake, Unicode's normal form, blanks. Pure; case and scripts are kept."""

from __future__ import annotations

import html
import re
import unicodedata

from tools.corpus import mojibake

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SURROGATE = re.compile("[\ud800-\udfff]")
# ZERO WIDTH JOINER and the direction marks are part of right text; these are not.
_CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")
_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029\x0b]")
# UTF-8 taken for Windows' code page 1252, found amid right text: what begins so is never meant. The doubtful, as the
# end of a word in capitals before a closing quote, stays.
_CONTINUATION = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"  # whatever stands for a byte from 80 to BF
_LOW_CONTINUATION = "[\u0080-\u009f€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"  # from 80 to 9F
_MOJIBAKE = re.compile(
    f"â{_LOW_CONTINUATION}{_CONTINUATION}|ð[\u009fŸ]{_CONTINUATION}{{2}}|Ã[¢-ª¬-º¼-¾€‚ƒ„†‡ˆ‰ŠŒŽ‘•˜™šœžŸ]|Â[\u00a0¢-ª¬-º¼-¾]"
)
_UNUSUAL_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_LEADING_EMPTY_LINES = re.compile(r"\A(?:[ \t]*\n)+")


def unescape_entities(text: str) -> str:
    """`&amp;` is `&`, once: whoever wrote of `&amp;lt;` meant `&lt;`. Without its semicolon it is no entity."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text


def repair_mojibake(text: str) -> str:
    """UTF-8 that was read as Latin-1 or as Windows-1252 is itself again; what was right stays."""
    if text.isascii():
        return text
    return _MOJIBAKE.sub(_repair_match, mojibake.repair_latin1(text))


def _repair_match(match: re.Match[str]) -> str:
    try:
        return b"".join(map(_to_byte, match[0])).decode("utf-8")
    except UnicodeError:
        return match[0]


def _to_byte(character: str) -> bytes:
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")


def normalise_characters(text: str) -> str:
    """Unicode's NFC, one kind of line end, neither control characters nor halves of a pair; form feeds stay."""
    if text.isascii() and text.isprintable():
        return text
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unicodedata.normalize("NFC", _CONTROL_CHARACTER.sub("", _LINE_END.sub("\n", text)))


def normalise_whitespace(text: str) -> str:
    """Only the plain blank; none at the end of a line, no empty lines around the text, never two in a row."""
    lines = _UNUSUAL_SPACE.sub(" ", text.replace("\f", "\n")).split("\n")
    text = "\n".join(line.rstrip(" \t") for line in lines)
    return _LEADING_EMPTY_LINES.sub("", _EMPTY_LINES.sub("\n\n", text)).rstrip("\n")


def strip_whitespace(text: str) -> str:
    """A message or a tweet has no indentation to keep."""
    return normalise_whitespace(text).strip(" \t\n")
