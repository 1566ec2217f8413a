"""Replacements of single characters in prose, where Unicode's own rules give none or a bad one.

Plain data. After this table come upper case, compatibility decomposition, and the character's name.
"""

from __future__ import annotations

from typing import Literal

# Spacing class: what may stand next to a character. all: anything; marks: no letter or figure ("3 1/2"); blanks: only
# brackets and stops, as for a relation ("A IN B"); raised, lowered: characters of the same class.
Spacing = Literal["all", "marks", "blanks", "raised", "lowered"]


def _map_each(glyphs: str, characters: str) -> dict[str, str]:
    return dict.fromkeys(characters, glyphs)


def _map_letters(characters: str, glyphs: str) -> dict[str, str]:
    return dict(zip(characters, glyphs.split(), strict=True))


# ASCII without a glyph. The machine would print [ \ ] ^ @ for { | } ~ `; these replacements read better.
_ASCII = {"{": "[", "|": "!", "}": "]", "~": "^", "`": "'", "\n": "\n", "\t": " "}

_GEORGIAN = "".join(map(chr, range(0x1C90, 0x1CB1)))  # capitals that upper() makes, and that Georgian does not use
_ARMENIAN = "".join(map(chr, range(0x0531, 0x0557)))

REPLACEMENTS: dict[str, str] = {
    **_ASCII,
    **_map_each("\n", "\r\v\f\x85\u2028\u2029"),
    **_map_each("'", "‘’‚‛′ʼʻʹ´ˊˋ＇"),
    **_map_each('"', "“”„‟″«»〝〞〟¨"),
    **_map_each("-", "‐‑‒–⁃−¯ˉ"),
    **_map_each("--", "—―⸺⸻"),
    **_map_each("*", "•·‣∙⋅●■▪★◆⭐∗¤❖"),  # filled
    **_map_each("-", "○◦□▫☆◇"),  # hollow: 3 of 5 stars are ***--
    **_map_each("^", "ˆ˜∼↑"),
    **_map_each("APPROX", "≈≃≅"),
    **_map_each("", "¿¡"),
    **_map_each(">", "▶►▸▷▹▻›❯"),
    **_map_each("<", "◀◄◂◁◃◅‹❮"),
    **_map_each("^", "▲▴△▵⬆☝👆"),
    **_map_each("V", "▼▾▽▿⬇👇"),
    **_map_each("->", "👉☞☛"),
    **_map_each("<-", "👈☜☚↵⏎"),
    **dict(zip("░▒▓▀▌▐", '.:X"[]', strict=True)),  # the more ink, the darker
    **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*%#", strict=True)),
    **dict(zip("▏▎▍▋▊▉", "!.-+*%", strict=True)),
    **{"╱": "/", "╲": "\\", "╳": "X", "\u0338": "/"},  # the last: a stroke through the character before
    **_map_each("<3", "😍🥰😘♥❤♡💙💚💛💜🖤🤍🧡"),
    **_map_each(":-)", "☺🙂😀😁😃😄😆😊😇😎🤗☻😋🤩"),
    **_map_each(":-D", "😂🤣😅"),
    **_map_each(":-(", "☹🙁😞😟😢😭😠😡"),
    **_map_each(";-)", "😉😜"),
    **_map_each("[EARTH]", "🌍🌎🌏"),
    **{"🙌": "[HANDS UP]", "🥳": "[PARTY]", "🤯": "[MIND BLOWN]", "📈": "[CHART UP]", "📉": "[CHART DOWN]"},
    **_map_each("D", "ĐÐƉ"),
    **_map_each("O", "ØƟ"),
    **{"Æ": "AE", "Œ": "OE", "Þ": "TH", "Ł": "L", "Ħ": "H", "ẞ": "SS", "Ŋ": "NG", "Ŧ": "T", "Ə": "E", "Ɓ": "B"},
    **{"×": "X", "÷": "/", "∕": "/", "⁄": "/", "±": "+-", "∓": "-+", "≤": "<=", "≥": ">=", "≠": "<>", "≡": "=="},
    **{"→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "⇐": "<=", "⇔": "<=>", "↓": "V", "↦": "->", "⟶": "->"},
    **{"©": "(C)", "®": "(R)", "™": "(TM)", "℠": "(SM)", "§": "SEC.", "¶": "PAR.", "†": "+", "‡": "++"},
    **{"°": "DEG", "℃": "DEG C", "℉": "DEG F", "‰": "0/00", "‱": "0/000", "№": "NO."},
    **_map_each("[OK]", "✓✔✅"),
    **_map_each("[NO]", "✗✘❌❎☒"),
    **{"☐": "[ ]", "☑": "[X]"},
    **{"£": "GBP", "€": "EUR", "¥": "YEN", "¢": "CENTS", "₹": "RS", "₽": "RUB", "₿": "BTC", "¸": ","},
    **{"\u00b5": "U", "\u2126": "OHM", "ℼ": "PI", "∬": "INT INT", "∭": "INT INT INT", "∞": "INF", "√": "SQRT"},
    **{"∑": "SUM", "∏": "PROD", "∫": "INT", "¬": "NOT", "∣": "!", "∥": "!!", "⋯": "...", "⇌": "<=>"},
    **{"⩽": "<=", "⩾": ">=", "≦": "<=", "≧": ">=", "≪": "<<", "≫": ">>", "❓": "?", "❔": "?", "❗": "!", "❕": "!"},
    **{"∂": "D", "∈": "IN", "∧": "AND", "∨": "OR", "⟨": "<", "⟩": ">", "。": ".", "、": ",", "�": "?", "¦": "!"},
    **dict(zip("АБВГДЕЗИЙКЛМНОПРСТУФХЫЭ", "ABVGDEZIJKLMNOPRSTUFHYE", strict=True)),
    **{"Ё": "YO", "Ж": "ZH", "Ц": "TS", "Ч": "CH", "Ш": "SH", "Щ": "SHCH", "Ъ": "", "Ь": "'", "Ю": "YU", "Я": "YA"},
    **{"І": "I", "Ї": "YI", "Є": "YE", "Ґ": "G"},
    **{"Ђ": "DJ", "Ј": "J", "Љ": "LJ", "Њ": "NJ", "Ћ": "C", "Џ": "DZ", "Ѕ": "DZ"},
    **dict(zip("ΑΒΓΔΕΖΗΙΚΛΜΝΞΟΠΡΣΤΥΦΩ", "ABGDEZEIKLMNXOPRSTYFO", strict=True)),
    **{"Θ": "TH", "Χ": "CH", "Ψ": "PS"},
    **_map_letters("אבגדהוזחטיכךלמםנןסעפףצץקרשת", "A B G D H V Z H T Y K KH L M M N N S ' P F TS TS K R SH T"),
    **_map_letters("ءابتثجحخدذرزسشصضطظعغفقكلمنهوي", "' A B T TH J H KH D DH R Z S SH S D T Z ' GH F Q K L M N H W Y"),
    **_map_letters(_GEORGIAN, "A B G D E V Z T I K L M N O P ZH R S T U P K GH Q SH CH TS DZ TS CH KH J H"),
    **_map_letters(_ARMENIAN, "A B G D E Z E Y T ZH I L KH TS K H DZ GH CH M Y N SH O CH P J R S V T R TS V P K O F"),
    **{"ة": "H", "ى": "A", "،": ",", "؟": "?", "؛": ";"},
}

# The type wheel of 1963 has these two, and no underline: 0x5E and 0x5F are arrows there.
ARROWS_1963 = {"↑": "^", "←": "_", "￪": "^", "￩": "_"}

# Letters that are read as symbols of a quantity, unless the text is Greek.
SYMBOL_READINGS: dict[str, tuple[str, Spacing]] = {"μ": ("U", "all"), "π": ("PI", "marks"), "Ω": ("OHM", "all")}

# No letter or figure may touch these: 3½ would be 31/2 and 20°C 20DEGC. Currencies too, by their category.
SPACED_FROM_WORDS = frozenset("¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅟↉°℃℉‰‱∞√∑∏∫∬∭ℼ")

# Each of these becomes a word between its two neighbours.
RELATION_SIGNS = frozenset("∈∧∨¬≈≃≅")

# By general category, after the table and the name: dashes, brackets, quotes, spaces, line ends.
CATEGORY_REPLACEMENTS = {
    **dict.fromkeys(("Mn", "Mc", "Me", "Cc", "Cf"), ""),  # accents over or under a letter, controls, joiners
    **{"Pd": "-", "Ps": "(", "Pe": ")", "Pi": '"', "Pf": '"', "Pc": "_", "Zs": " ", "Zl": "\n", "Zp": "\n"},
}
