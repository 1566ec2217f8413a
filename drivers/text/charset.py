"""The character set of a Model 33: any Unicode text to the 64 glyphs SP to 0x5F, and the parity bit in software.

Two styles: prose, to be read, and code, from which every character can be recovered. Knows no column and no line
length: the line break "\\n" is passed on.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from drivers.profile import Parity, TypeWheel
from drivers.text import charset_table as table
from drivers.text.charset_table import Spacing
from drivers.text.control_sequences import ControlSequenceRemover

Style = Literal["prose", "code"]

_LETTER = re.compile(r".*LETTER(?: SMALL)? ([A-Z]{1,3})(?: WITH .*)?|HANGUL SYLLABLE ([A-Z]+)")
_MAX_NAME_LENGTH = 24  # of "[ROCKET]": printed whole or not at all, as names cut short look alike
_NEGATED = "\u0338"  # the stroke through a relation
_UNASSIGNED = {"Cn", "Co", "Cs"}  # unassigned, private, surrogate: no name, no case

# As V7 Unix wrote the characters that an upper-case terminal lacks (tty.c, `maptab`); the rest is our own.
_ESCAPES = {"{": "\\(", "}": "\\)", "|": "\\!", "~": "\\^", "`": "\\'", "\\": "\\\\", "\n": "\n"}
_UNESCAPED = {escape[1]: char for char, escape in _ESCAPES.items() if len(escape) == 2}
_CODE_ESCAPE = re.compile(r"\\\[([0-9A-F]{1,6})\]|\\([A-Z()!^'\\])|([A-Z])")

_UNIT_PREFIXES = " kKMGmnp"  # between a figure and its unit
_QUESTION_MARKS = "؟❓❔"  # question marks that Unicode does not decompose to `?`


def fold_text(text: str, *, style: Style = "prose", wheel: TypeWheel = "1968") -> str:
    """Returns the text in SP to 0x5F, and "\\n" for each line break. For a text in pieces use IncrementalFolder."""
    return IncrementalFolder(wheel).feed(text, style)


def is_printable(char: str, wheel: TypeWheel = "1968") -> bool:
    """Whether one character prints as itself or as a readable replacement, not as nothing or as a stand-in `?`."""
    glyphs = fold_text(char, wheel=wheel)
    return bool(glyphs) and ("?" not in glyphs or "?" in unicodedata.normalize("NFKD", char) or char in _QUESTION_MARKS)


def unfold_text(text: str) -> str:
    """Returns the text that `fold_text` made in code style, as it was before; an unknown escape is kept."""
    return _CODE_ESCAPE.sub(_unescape_match, text)


class IncrementalFolder:
    """Folds a text that comes in pieces. The pieces may be cut anywhere: the result is that of the whole text.

    Prose loses the control sequences of terminals. Remembers the last glyph, its spacing class, a CR, a figure that a
    unit may follow, and whether the text is Greek.
    """

    def __init__(self, wheel: TypeWheel = "1968") -> None:
        self._wheel = wheel
        self._spacing: Spacing
        self._previous: tuple[str, Spacing]  # the last glyph and its spacing class, without the last character
        self._reset()

    def feed(self, text: str, style: Style = "prose") -> str:
        if style == "code":
            self._reset()
            return "".join(map(_escape_char, text))
        return "".join(map(self._fold_prose_char, self._sequences.feed(text)))

    def step_back(self) -> None:
        """Makes the next character take the place of the last one, over which it is struck."""
        self._last, self._spacing = self._previous

    def _reset(self) -> None:
        self._sequences = ControlSequenceRemover()
        self._last = ""
        self._spacing = "all"
        self._previous = ("", "all")
        self._after_cr = self._in_greek = self._after_figure = False

    def _fold_prose_char(self, char: str) -> str:
        after_cr, self._after_cr = self._after_cr, char == "\r"
        if after_cr and char == "\n":
            return ""
        glyphs, spacing = _fold_char(char, self._wheel)
        if char in table.SYMBOL_READINGS:
            # A unit follows a figure; π is PI in any text but a Greek one.
            if not self._in_greek and (self._after_figure or char == "π"):
                glyphs, spacing = table.SYMBOL_READINGS[char]
        elif char.isalnum():
            self._in_greek = "\u0370" <= char <= "\u03ff" or "\u1f00" <= char <= "\u1fff"
        self._after_figure = char.isdigit() or (self._after_figure and char in _UNIT_PREFIXES)
        if not glyphs:
            return ""
        separator = self._separator(glyphs[0], spacing)
        self._previous = self._last, self._spacing
        self._last, self._spacing = glyphs[-1], spacing
        return separator + glyphs

    def _separator(self, first: str, spacing: Spacing) -> str:
        """Returns the blank or `^` that separates a glyph from the last one; empty if none is needed."""
        classes, last = {spacing, self._spacing}, self._last
        if spacing == "raised" and self._spacing != "raised":
            return "^"  # once: 10²³ is 10^23
        if "blanks" in classes:
            return " " if last and last not in " \n([" and first not in " \n)],.;:" else ""
        if "marks" in classes:
            return " " if last.isalnum() and first.isalnum() else ""
        # log₂8 is not log28
        return " " if spacing != self._spacing and last.isdigit() and first.isdigit() else ""


def apply_parity(byte: int, parity: Parity) -> int:
    """Returns the byte to send: seven bits, and the eighth by the parity.

    Function levers may be coded for level 8 - Teletype Bulletin 310B 574-122-100TC; the type wheel ignores it.
    """
    if parity == "even":
        return even_parity(byte)
    return byte & 0x7F | (0x80 if parity == "mark" else 0)


def even_parity(byte: int) -> int:
    """Returns seven bits, and an eighth that makes the count of marks even."""
    byte &= 0x7F
    return byte | (byte.bit_count() & 1) << 7


def strip_parity(byte: int) -> int:
    """Returns the byte without its parity bit."""
    return byte & 0x7F


# Code style.


def _escape_char(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if "a" <= char <= "z":
        return char.upper()
    if "A" <= char <= "Z":
        return "\\" + char
    return char if " " <= char < "`" else f"\\[{ord(char):X}]"


def _unescape_match(match: re.Match[str]) -> str:
    point, escaped, capital = match.groups()
    if point:
        value = int(point, 16)
        return chr(value) if value < 0x110000 else match[0]
    return _UNESCAPED.get(escaped, escaped) if escaped else capital.lower()


# Prose style.


@lru_cache(maxsize=8192)
def _fold_char(char: str, wheel: TypeWheel) -> tuple[str, Spacing]:
    """Returns the glyphs of a character, and its spacing class."""
    glyphs = _glyphs_for(char)
    if wheel == "1963":
        glyphs = table.ARROWS_1963.get(char) or glyphs.replace("_", "-")
    return glyphs, _spacing_of(char, glyphs)


def _spacing_of(char: str, glyphs: str) -> Spacing:
    if char in table.RELATION_SIGNS or glyphs.startswith("NOT "):
        return "blanks"
    if char in table.SPACED_FROM_WORDS or (unicodedata.category(char) == "Sc" and glyphs.isalpha()):
        return "marks"
    if char in table.REPLACEMENTS or (glyphs.isalpha() and char not in "ⁿⁱ"):  # 1ˢᵗ is 1ST
        return "all"
    tag = unicodedata.decomposition(char).partition(" ")[0]
    return "raised" if tag == "<super>" else "lowered" if tag == "<sub>" else "all"


@lru_cache(maxsize=2048)
def _glyphs_for(char: str) -> str:
    if char in table.REPLACEMENTS:
        return table.REPLACEMENTS[char]
    if " " <= char < "`":
        return char
    if unicodedata.category(char) in _UNASSIGNED:
        return "?"
    upper = char.upper()  # one character gives up to three: ß is SS
    if upper != char:
        return "".join(map(_glyphs_for, upper))
    plain = unicodedata.normalize("NFKD", char)
    if _NEGATED in plain:
        return "NOT " + "".join(map(_glyphs_for, plain.replace(_NEGATED, "")))
    syllable = "가" <= char <= "힣" or "\u3040" <= char <= "\u30ff"  # Korean, Japanese: the letter's name reads better
    if plain != char and not syllable:
        return _fold_decomposed(plain, unicodedata.decomposition(char).partition(" ")[0])
    return _fold_by_category(char)


def _fold_decomposed(plain: str, tag: str) -> str:
    if tag == "<square>":  # ㎛
        return "".join(
            table.SYMBOL_READINGS[char][0] if char in table.SYMBOL_READINGS else _glyphs_for(char) for char in plain
        )
    glyphs = "".join(map(_glyphs_for, plain))
    return f"({glyphs})" if tag == "<circle>" else glyphs


def _fold_by_category(char: str) -> str:
    category = unicodedata.category(char)
    if category in table.CATEGORY_REPLACEMENTS:
        return table.CATEGORY_REPLACEMENTS[category]
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
    """Returns the direction of a character that is an arrow; empty for a thing with an arrow on it."""
    head = name.partition(" WITH ")[0]
    if " ARROW" not in head:
        return ""
    left, right, up, down = (f" {way}" in f" {head}" for way in ("LEFT", "RIGHT", "UP", "DOWN"))
    if left or right:
        return "" if up or down else "<" * left + "-" + ">" * right
    return "" if up == down else "^" if up else "V"
