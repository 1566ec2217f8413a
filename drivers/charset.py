"""What a Model 33 prints: any Unicode text to the 64 glyphs SP to 0x5F, and the parity bit in software.

Each character is looked at alone, so a text may be cut anywhere. Knows no column and no line length: the line
break "\\n" is passed on.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# ASCII that has no glyph of its own. The machine would print [ \ ] ^ @ for { | } ~ `; these read better in prose.
_ASCII = {"{": "[", "|": "!", "}": "]", "~": "^", "`": "'", "\n": "\n", "\t": " "}


def _each(glyphs: str, characters: str) -> dict[str, str]:
    return dict.fromkeys(characters, glyphs)


# What upper case and compatibility decomposition do not settle, or settle badly.
_TABLE: dict[str, str] = {
    **_ASCII,
    **_each("\n", "\v\f\x85\u2028\u2029"),
    **_each("'", "‘’‚‛′‹›ʼʻʹ´ˊˋ＇"),
    **_each('"', "“”„‟″«»〝〞〟¨"),
    **_each("-", "‐‑‒–⁃−¯ˉ"),
    **_each("--", "—―⸺⸻"),
    **_each("*", "•·‣∙⋅●○◦▪▫■□★☆∗¤❖"),
    **_each("^", "ˆ˜∼≈≃↑"),
    **_each("", "¿¡"),
    **_each("#", "█▓▒░▀▄▌▐"),
    **_each("<3", "♥❤♡💙💚💛💜🖤🤍🧡"),
    **_each(":-)", "☺🙂😀😁😃😄😆😊😇😎🤗☻"),
    **_each(":-(", "☹🙁😞😟😢😭😠😡"),
    **_each(";-)", "😉😜"),
    **_each("D", "ĐÐƉ"),
    **_each("O", "ØƟ"),
    **{"Æ": "AE", "Œ": "OE", "Þ": "TH", "Ł": "L", "Ħ": "H", "ẞ": "SS", "Ŋ": "NG", "Ŧ": "T", "Ə": "E", "Ɓ": "B"},
    **{"×": "X", "÷": "/", "∕": "/", "⁄": "/", "±": "+-", "∓": "-+", "≤": "<=", "≥": ">=", "≠": "<>", "≡": "=="},
    **{"→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "⇐": "<=", "⇔": "<=>", "↓": "V", "↦": "->", "⟶": "->"},
    **{"©": "(C)", "®": "(R)", "™": "(TM)", "℠": "(SM)", "°": "DEG", "§": "SEC.", "¶": "PAR.", "†": "+", "‡": "++"},
    **{"£": "GBP", "€": "EUR", "¥": "YEN", "¢": "C", "₹": "RS", "₽": "RUB", "₿": "BTC", "¸": ",", "‰": "O/OO"},
    **{"µ": "U", "π": "PI", "Ω": "OHM", "∞": "INF", "√": "SQRT", "∑": "SUM", "∏": "PROD", "∫": "INT", "¬": "NOT "},
    **{"∂": "D", "∈": " IN ", "∧": "&", "∨": "V", "⟨": "<", "⟩": ">", "。": ".", "、": ",", "�": "?", "¦": "!"},
    **dict(zip("АБВГДЕЗИЙКЛМНОПРСТУФХЫЭ", "ABVGDEZIJKLMNOPRSTUFHYE", strict=True)),
    **{"Ё": "YO", "Ж": "ZH", "Ц": "TS", "Ч": "CH", "Ш": "SH", "Щ": "SHCH", "Ъ": "", "Ь": "'", "Ю": "YU", "Я": "YA"},
    **{"І": "I", "Ї": "YI", "Є": "YE", "Ґ": "G"},
    **dict(zip("ΑΒΓΔΕΖΗΙΚΛΜΝΞΟΠΡΣΤΥΦΩ", "ABGDEZEIKLMNXOPRSTYFO", strict=True)),
    **{"Θ": "TH", "Χ": "CH", "Ψ": "PS"},
}

# By general category, where neither the table nor a name helps: dashes, brackets, quotes, spaces, line ends.
_CATEGORY = {
    **dict.fromkeys(("Mn", "Mc", "Me", "Cc", "Cf"), ""),  # accents over or under a letter, controls, joiners
    **{"Pd": "-", "Ps": "(", "Pe": ")", "Pi": '"', "Pf": '"', "Pc": "_", "Zs": " ", "Zl": "\n", "Zp": "\n"},
}

_LETTER = re.compile(r".*LETTER(?: SMALL)? ([A-Z]{1,3})|HANGUL SYLLABLE ([A-Z]+)")
_NAME_ROOM = 18  # of "[ROCKET]": enough to read, too short to bore


def fold(text: str) -> str:
    """The text in SP to 0x5F, and "\\n" for each line break; never an error, `fold(a) + fold(b) == fold(a + b)`."""
    return "".join(map(_glyphs, text))


def even_parity(byte: int) -> int:
    """The byte as it goes to the machine: seven bits, and the eighth so that the count of marks is even.

    Function levers may be coded for level 8 - Teletype Bulletin 310B 574-122-100TC; the type wheel ignores it.
    """
    byte &= 0x7F
    return byte | (byte.bit_count() & 1) << 7


def strip_parity(byte: int) -> int:
    """The seven bits that mean something."""
    return byte & 0x7F


@lru_cache(maxsize=8192)
def _glyphs(char: str) -> str:
    if char in _TABLE:
        return _TABLE[char]
    if " " <= char < "`":
        return char
    upper = char.upper()  # of one character up to three: ß is SS
    if upper != char:
        return "".join(map(_glyphs, upper))
    plain = unicodedata.normalize("NFKD", char)
    syllable = "가" <= char <= "힣" or "\u3040" <= char <= "\u30ff"  # Korean, Japanese: its name reads better
    if plain != char and not syllable:
        return _lead(char, plain) + "".join(map(_glyphs, plain))
    return _by_nature(char)


def _lead(char: str, plain: str) -> str:
    """What keeps 3½ from becoming 31/2, and 10³ from becoming 103."""
    kind = unicodedata.decomposition(char)
    if kind.startswith("<fraction>"):
        return " "
    return "^" if kind.startswith("<super>") and not plain.isalpha() else ""


def _by_nature(char: str) -> str:
    category = unicodedata.category(char)
    if category in _CATEGORY:
        return _CATEGORY[category]
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
    words = name.split()
    while len(" ".join(words)) > _NAME_ROOM:
        words.pop()
    return f"[{' '.join(words)}]" if words else "*"
