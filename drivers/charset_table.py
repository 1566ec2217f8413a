"""What single characters become in prose, where Unicode's own rules do not settle it or settle it badly.

Plain data. Upper case is tried after this table, then compatibility decomposition, then the character's name.
"""

from __future__ import annotations


def _each(glyphs: str, characters: str) -> dict[str, str]:
    return dict.fromkeys(characters, glyphs)


def _letters(characters: str, glyphs: str) -> dict[str, str]:
    return dict(zip(characters, glyphs.split(), strict=True))


# ASCII that has no glyph of its own. The machine would print [ \ ] ^ @ for { | } ~ `; these read better.
_ASCII = {"{": "[", "|": "!", "}": "]", "~": "^", "`": "'", "\n": "\n", "\t": " "}

GLYPHS: dict[str, str] = {
    **_ASCII,
    **_each("\n", "\v\f\x85\u2028\u2029"),
    **_each("'", "‘’‚‛′‹›ʼʻʹ´ˊˋ＇"),
    **_each('"', "“”„‟″«»〝〞〟¨"),
    **_each("-", "‐‑‒–⁃−¯ˉ"),
    **_each("--", "—―⸺⸻"),
    **_each("*", "•·‣∙⋅●○◦▪▫■□★☆∗¤❖"),
    **_each("^", "ˆ˜∼↑"),
    **_each("APPROX", "≈≃≅"),
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
    **{"©": "(C)", "®": "(R)", "™": "(TM)", "℠": "(SM)", "§": "SEC.", "¶": "PAR.", "†": "+", "‡": "++"},
    **{"°": "DEG", "℃": "DEG C", "℉": "DEG F", "‰": "O/OO", "✓": "[X]", "✔": "[X]", "✗": "[ ]", "✘": "[ ]"},
    **{"£": "GBP", "€": "EUR", "¥": "YEN", "¢": "CENTS", "₹": "RS", "₽": "RUB", "₿": "BTC", "¸": ","},
    **{"µ": "U", "π": "PI", "Ω": "OHM", "∞": "INF", "√": "SQRT", "∑": "SUM", "∏": "PROD", "∫": "INT", "¬": "NOT "},
    **{"∂": "D", "∈": " IN ", "∧": "&", "∨": "V", "⟨": "<", "⟩": ">", "。": ".", "、": ",", "�": "?", "¦": "!"},
    **dict(zip("АБВГДЕЗИЙКЛМНОПРСТУФХЫЭ", "ABVGDEZIJKLMNOPRSTUFHYE", strict=True)),
    **{"Ё": "YO", "Ж": "ZH", "Ц": "TS", "Ч": "CH", "Ш": "SH", "Щ": "SHCH", "Ъ": "", "Ь": "'", "Ю": "YU", "Я": "YA"},
    **{"І": "I", "Ї": "YI", "Є": "YE", "Ґ": "G"},
    **dict(zip("ΑΒΓΔΕΖΗΙΚΛΜΝΞΟΠΡΣΤΥΦΩ", "ABGDEZEIKLMNXOPRSTYFO", strict=True)),
    **{"Θ": "TH", "Χ": "CH", "Ψ": "PS"},
    **_letters("אבגדהוזחטיכךלמםנןסעפףצץקרשת", "A B G D H V Z H T Y K KH L M M N N S ' P F TS TS K R SH T"),
    **_letters("ءابتثجحخدذرزسشصضطظعغفقكلمنهوي", "' A B T TH J H KH D DH R Z S SH S D T Z ' GH F Q K L M N H W Y"),
    **{"ة": "H", "ى": "A", "،": ",", "؟": "?", "؛": ";"},
}

# The wheel of 1963 has these two, and no underline: 0x5E and 0x5F are arrows there.
ARROWS_1963 = {"↑": "^", "←": "_", "￪": "^", "￩": "_"}

# What must not touch a digit, or 3½ becomes 31/2 and 20° 20DEG. Currencies too; they are known by their category.
APART = frozenset("¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅟↉°℃℉")

# By general category, where neither the table nor a name helps: dashes, brackets, quotes, spaces, line ends.
BY_CATEGORY = {
    **dict.fromkeys(("Mn", "Mc", "Me", "Cc", "Cf"), ""),  # accents over or under a letter, controls, joiners
    **{"Pd": "-", "Ps": "(", "Pe": ")", "Pi": '"', "Pf": '"', "Pc": "_", "Zs": " ", "Zl": "\n", "Zp": "\n"},
}
