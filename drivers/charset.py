"""What a Model 33 prints: any Unicode text to the 64 glyphs SP to 0x5F, and the eighth level in software.

Two styles: prose, to be read, and code, from which every character can be had back. Knows no column and no line
length: the line break "\\n" is passed on.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from drivers.charset_table import APART, ARROWS_1963, BY_CATEGORY, GLYPHS
from drivers.profile import Level8, Wheel

Style = Literal["prose", "code"]

_LETTER = re.compile(r".*LETTER(?: SMALL)? ([A-Z]{1,3})|HANGUL SYLLABLE ([A-Z]+)")
_NAME_ROOM = 18  # of "[ROCKET]": enough to read, too short to bore
_LEADS_ON = {"A", "AND", "BUT", "FOR", "IN", "NOT", "OF", "ON", "OR", "OVER", "THE", "TO", "UNDER", "WITH"}
_NOBODY_S = {"Cn", "Co", "Cs"}  # unassigned, private, half a pair: no name, no case

# As V7 Unix wrote what a terminal of capitals lacks (tty.c, `maptab`); the rest of the code style is our own.
_ESCAPES = {"{": "\\(", "}": "\\)", "|": "\\!", "~": "\\^", "`": "\\'", "\\": "\\\\", "\n": "\n"}
_UNESCAPED = {escape[1]: char for char, escape in _ESCAPES.items() if len(escape) == 2}
_CODE = re.compile(r"\\\[([0-9A-F]{1,6})\]|\\([A-Z()!^'\\])|([A-Z])")


def fold(text: str, *, style: Style = "prose", wheel: Wheel = "1968") -> str:
    """The text in SP to 0x5F, and "\\n" for each line break; never an error. A text in pieces wants a Folding."""
    return Folding(wheel).feed(text, style)


def unfold(text: str) -> str:
    """The text that `fold` made code of; what it cannot have made stays as it is."""
    return _CODE.sub(_unfolded, text)


class Folding:
    """The fold of a text that comes in pieces: cut anywhere, they give what the whole gives.

    It remembers the last glyph, and whether that must not touch a digit; all else is looked at alone.
    """

    def __init__(self, wheel: Wheel = "1968") -> None:
        self._wheel = wheel
        self._last = ""
        self._apart = False

    def feed(self, text: str, style: Style = "prose") -> str:
        """One piece."""
        if style == "code":
            self._last = ""
            return "".join(map(_code, text))
        return "".join(map(self._prose, text))

    def _prose(self, char: str) -> str:
        glyphs, apart = _prose(char, self._wheel)
        if not glyphs:
            return ""
        number = (self._last.isdigit() and apart) or (self._apart and self._last.isalnum())
        between = " " if number and (glyphs[0].isdigit() or (apart and glyphs[0].isalpha())) else ""
        self._last, self._apart = glyphs[-1], apart
        return between + glyphs


def level8(byte: int, parity: Level8) -> int:
    """The byte as it goes to the machine: seven bits, and the eighth as the function levers want it.

    They may be coded for level 8 - Teletype Bulletin 310B 574-122-100TC; the type wheel ignores it.
    """
    if parity == "even":
        return even_parity(byte)
    return byte & 0x7F | (0x80 if parity == "mark" else 0)


def even_parity(byte: int) -> int:
    """Seven bits, and the eighth so that the count of marks is even."""
    byte &= 0x7F
    return byte | (byte.bit_count() & 1) << 7


def strip_parity(byte: int) -> int:
    """The seven bits that mean something."""
    return byte & 0x7F


# Code.


def _code(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if "a" <= char <= "z":
        return char.upper()
    if "A" <= char <= "Z":
        return "\\" + char
    return char if " " <= char < "`" else f"\\[{ord(char):X}]"


def _unfolded(found: re.Match[str]) -> str:
    point, escaped, capital = found.groups()
    if point:
        value = int(point, 16)
        return chr(value) if value < 0x110000 else found[0]
    return _UNESCAPED.get(escaped, escaped) if escaped else capital.lower()


# Prose.


@lru_cache(maxsize=8192)
def _prose(char: str, wheel: Wheel) -> tuple[str, bool]:
    """The glyphs, and whether they must not touch a digit."""
    glyphs = _glyphs(char)
    if wheel == "1963":
        glyphs = ARROWS_1963.get(char) or glyphs.replace("_", "-")
    return glyphs, char in APART or (unicodedata.category(char) == "Sc" and glyphs.isalpha())


@lru_cache(maxsize=2048)
def _glyphs(char: str) -> str:
    if char in GLYPHS:
        return GLYPHS[char]
    if " " <= char < "`":
        return char
    if unicodedata.category(char) in _NOBODY_S:
        return "?"
    upper = char.upper()  # of one character up to three: ß is SS
    if upper != char:
        return "".join(map(_glyphs, upper))
    plain = unicodedata.normalize("NFKD", char)
    syllable = "가" <= char <= "힣" or "\u3040" <= char <= "\u30ff"  # Korean, Japanese: its name reads better
    if plain != char and not syllable:
        raised = unicodedata.decomposition(char).startswith("<super>") and not plain.isalpha()
        return "^" * raised + "".join(map(_glyphs, plain))  # 10³ is not 103
    return _by_nature(char)


def _by_nature(char: str) -> str:
    category = unicodedata.category(char)
    if category in BY_CATEGORY:
        return BY_CATEGORY[category]
    name = unicodedata.name(char, "")
    if category[0] == "N":
        value = unicodedata.numeric(char)
        return str(int(value)) if value == int(value) else "?"
    if category[0] == "L":
        letter = _LETTER.fullmatch(name)
        return (letter[1] or letter[2]) if letter else "?"
    if category == "Sc":
        return name.removesuffix(" SIGN")
    if category in ("So", "Sm", "Sk"):
        return _symbol(char, name)
    return "?"


def _symbol(char: str, name: str) -> str:
    if "\u2500" <= char <= "\u257f":  # box drawing
        if " AND " in name or "DIAGONAL" in name:
            return "+"
        return "!" if "VERTICAL" in name else "-"
    if name.startswith("REGIONAL INDICATOR"):
        return name[-1]
    if "MODIFIER" in name:  # the colour of a skin
        return ""
    if " ARROW" in name and ("LEFTWARDS" in name) != ("RIGHTWARDS" in name):
        return "<-" if "LEFTWARDS" in name else "->"
    words = name.split()
    if len(name) > _NAME_ROOM:
        while len(" ".join(words)) > _NAME_ROOM or (words[-1:] and words[-1] in _LEADS_ON):
            words.pop()
    return f"[{' '.join(words)}]" if words else "*"
