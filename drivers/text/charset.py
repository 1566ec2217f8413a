"""What a Model 33 prints: any Unicode text to the 64 glyphs SP to 0x5F, and the eighth level in software.

Two styles: prose, to be read, and code, from which every character can be had back. Knows no column and no line
length: the line break "\\n" is passed on.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from drivers.profile import ParityOut, TypeWheel
from drivers.text.charset_table import (
    ARROWS_1963,
    CATEGORY_REPLACEMENTS,
    RELATION_SIGNS,
    REPLACEMENTS,
    SPACED_FROM_WORDS,
    SYMBOL_READINGS,
    Spacing,
)

Style = Literal["prose", "code"]

_LETTER = re.compile(r".*LETTER(?: SMALL)? ([A-Z]{1,3})(?: WITH .*)?|HANGUL SYLLABLE ([A-Z]+)")
_MAX_NAME_LENGTH = 24  # of "[ROCKET]": whole or not at all, for names cut short are alike; longer ones bore
_NEGATED = "\u0338"  # the stroke through a relation
_UNASSIGNED = {"Cn", "Co", "Cs"}  # unassigned, private, half a pair: no name, no case

# As V7 Unix wrote what a terminal of capitals lacks (tty.c, `maptab`); the rest of the code style is our own.
_ESCAPES = {"{": "\\(", "}": "\\)", "|": "\\!", "~": "\\^", "`": "\\'", "\\": "\\\\", "\n": "\n"}
_UNESCAPED = {escape[1]: char for char, escape in _ESCAPES.items() if len(escape) == 2}
_CODE_ESCAPE = re.compile(r"\\\[([0-9A-F]{1,6})\]|\\([A-Z()!^'\\])|([A-Z])")

_UNIT_PREFIXES = " kKMGmnp"  # between a figure and its unit
_QUESTION_MARKS = "؟❓❔"  # question marks that are none to Unicode


def fold_text(text: str, *, style: Style = "prose", wheel: TypeWheel = "1968") -> str:
    """The text in SP to 0x5F, and "\\n" for each line break; never an error. A text in pieces wants a Folding."""
    return IncrementalFolder(wheel).feed(text, style)


def is_printable(char: str, wheel: TypeWheel = "1968") -> bool:
    """Whether one character comes out as itself, or as something that says so: neither nothing nor a stand-in `?`."""
    glyphs = fold_text(char, wheel=wheel)
    return bool(glyphs) and ("?" not in glyphs or "?" in unicodedata.normalize("NFKD", char) or char in _QUESTION_MARKS)


def unfold_text(text: str) -> str:
    """The text that `fold` made code of; what it cannot have made stays as it is."""
    return _CODE_ESCAPE.sub(_unescape_match, text)


class IncrementalFolder:
    """The fold of a text that comes in pieces: cut anywhere, they give what the whole gives.

    It remembers the last glyph and what that may touch, a CR, a figure whose unit may follow, and whether the text is
    Greek; all else is looked at alone.
    """

    def __init__(self, wheel: TypeWheel = "1968") -> None:
        self._wheel = wheel
        self._spacing: Spacing
        self._previous: tuple[str, Spacing]  # last and touch, without the last character
        self._reset()

    def feed(self, text: str, style: Style = "prose") -> str:
        """One piece."""
        if style == "code":
            self._reset()
            return "".join(map(_escape_char, text))
        return "".join(map(self._fold_prose_char, text))

    def step_back(self) -> None:
        """The last character is to be struck over: what comes next stands where it stands."""
        self._last, self._spacing = self._previous

    def _reset(self) -> None:
        self._last = ""
        self._spacing = "all"
        self._previous = ("", "all")
        self._after_cr = self._in_greek = self._after_figure = False

    def _fold_prose_char(self, char: str) -> str:
        returned, self._after_cr = self._after_cr, char == "\r"
        if returned and char == "\n":
            return ""
        glyphs, touch = _fold_char(char, self._wheel)
        if char in SYMBOL_READINGS:
            # A unit has a figure before it; π stands for itself in any text but a Greek one.
            glyphs, touch = (
                SYMBOL_READINGS[char] if not self._in_greek and (self._after_figure or char == "π") else (glyphs, touch)
            )
        elif char.isalnum():
            self._in_greek = "\u0370" <= char <= "\u03ff" or "\u1f00" <= char <= "\u1fff"
        self._after_figure = char.isdigit() or (self._after_figure and char in _UNIT_PREFIXES)
        if not glyphs:
            return ""
        between = self._separator(glyphs[0], touch)
        self._previous = self._last, self._spacing
        self._last, self._spacing = glyphs[-1], touch
        return between + glyphs

    def _separator(self, first: str, touch: Spacing) -> str:
        """What keeps a glyph from running into the last one."""
        touches, last = {touch, self._spacing}, self._last
        if touch == "raised" and self._spacing != "raised":
            return "^"  # once: 10²³ is 10^23
        if "blanks" in touches:
            return " " if last and last not in " \n([" and first not in " \n)],.;:" else ""
        if "marks" in touches:
            return " " if last.isalnum() and first.isalnum() else ""
        # log₂8 is not log28
        return " " if touch != self._spacing and last.isdigit() and first.isdigit() else ""


def apply_parity(byte: int, parity: ParityOut) -> int:
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


def _escape_char(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if "a" <= char <= "z":
        return char.upper()
    if "A" <= char <= "Z":
        return "\\" + char
    return char if " " <= char < "`" else f"\\[{ord(char):X}]"


def _unescape_match(found: re.Match[str]) -> str:
    point, escaped, capital = found.groups()
    if point:
        value = int(point, 16)
        return chr(value) if value < 0x110000 else found[0]
    return _UNESCAPED.get(escaped, escaped) if escaped else capital.lower()


# Prose.


@lru_cache(maxsize=8192)
def _fold_char(char: str, wheel: TypeWheel) -> tuple[str, Spacing]:
    """The glyphs, and what they may touch."""
    glyphs = _glyphs_for(char)
    if wheel == "1963":
        glyphs = ARROWS_1963.get(char) or glyphs.replace("_", "-")
    return glyphs, _spacing_of(char, glyphs)


def _spacing_of(char: str, glyphs: str) -> Spacing:
    if char in RELATION_SIGNS or glyphs.startswith("NOT "):
        return "blanks"
    if char in SPACED_FROM_WORDS or (unicodedata.category(char) == "Sc" and glyphs.isalpha()):
        return "marks"
    if char in REPLACEMENTS or (glyphs.isalpha() and char not in "ⁿⁱ"):  # 1ˢᵗ is 1ST
        return "all"
    tag = unicodedata.decomposition(char).partition(" ")[0]
    return "raised" if tag == "<super>" else "lowered" if tag == "<sub>" else "all"


@lru_cache(maxsize=2048)
def _glyphs_for(char: str) -> str:
    if char in REPLACEMENTS:
        return REPLACEMENTS[char]
    if " " <= char < "`":
        return char
    if unicodedata.category(char) in _UNASSIGNED:
        return "?"
    upper = char.upper()  # of one character up to three: ß is SS
    if upper != char:
        return "".join(map(_glyphs_for, upper))
    plain = unicodedata.normalize("NFKD", char)
    if _NEGATED in plain:
        return "NOT " + "".join(map(_glyphs_for, plain.replace(_NEGATED, "")))
    syllable = "가" <= char <= "힣" or "\u3040" <= char <= "\u30ff"  # Korean, Japanese: its name reads better
    if plain != char and not syllable:
        return _fold_decomposed(plain, unicodedata.decomposition(char).partition(" ")[0])
    return _fold_by_category(char)


def _fold_decomposed(plain: str, tag: str) -> str:
    if tag == "<square>":  # ㎛
        return "".join(SYMBOL_READINGS[char][0] if char in SYMBOL_READINGS else _glyphs_for(char) for char in plain)
    glyphs = "".join(map(_glyphs_for, plain))
    return f"({glyphs})" if tag == "<circle>" else glyphs


def _fold_by_category(char: str) -> str:
    category = unicodedata.category(char)
    if category in CATEGORY_REPLACEMENTS:
        return CATEGORY_REPLACEMENTS[category]
    name = unicodedata.name(char, "")
    if category[0] == "N":
        value = unicodedata.numeric(char)
        number = str(int(value)) if value == int(value) else "?"
        return f"({number})" if "CIRCLED" in name else number
    if category[0] == "L":
        letter = _LETTER.fullmatch(name)
        return (letter[1] or letter[2]) if letter else "?"
    if category == "Sc":
        return name.removesuffix(" SIGN")
    if category in ("So", "Sm", "Sk"):
        return _fold_symbol(char, name)
    return "?"


def _fold_symbol(char: str, name: str) -> str:
    if "\u2500" <= char <= "\u257f":  # box drawing
        return _box_drawing_glyph(name)
    if name.startswith("REGIONAL INDICATOR"):
        return name[-1]
    if "MODIFIER" in name:  # the colour of a skin
        return ""
    plain = "?" if unicodedata.category(char) == "Sm" else "*"  # an unknown relation is no ornament
    return _arrow_glyphs(name) or (f"[{name}]" if 0 < len(name) <= _MAX_NAME_LENGTH else plain)


def _box_drawing_glyph(name: str) -> str:
    if " AND " in name:
        return "+"
    if "DOUBLE HORIZONTAL" in name:
        return "="
    return "!" if set(name.split()) & {"VERTICAL", "UP", "DOWN"} else "-"


def _arrow_glyphs(name: str) -> str:
    """Where it points, of all that is drawn as an arrow; not of a thing that has one on it."""
    head = name.partition(" WITH ")[0]
    if " ARROW" not in head:
        return ""
    left, right, up, down = (f" {way}" in f" {head}" for way in ("LEFT", "RIGHT", "UP", "DOWN"))
    if left or right:
        return "" if up or down else "<" * left + "-" + ">" * right
    return "" if up == down else "^" if up else "V"
