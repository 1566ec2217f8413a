"""Recognises encodings and files that are no text by their first bytes: marks, escapes, NULs, controls. Pure."""

from __future__ import annotations

import codecs
import re
import unicodedata

MAX_CONTROL_SHARE = 0.02  # of the first characters of a text; noise has four times as many
MAX_NUL_SHARE = 0.1  # of the same
MIN_LETTER_SHARE = 0.9  # of the characters of UTF-16 without a mark
MAX_NARROW_NUL_SHARE = 0.2  # of a text in UTF-8; in UTF-16 the text of most languages has more
WIDE_ENCODINGS = {"utf-32-le": 4, "utf-32-be": 4, "utf-16-le": 2, "utf-16-be": 2}
MAX_DAMAGED_SHARE = 0.02  # of the characters of a text with escapes
MARKS = {  # the longer marks first
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}  # fmt: skip
NO_TEXT_MAGIC = (
    b"%PDF-", b"PK\x03\x04", b"PK\x05\x06", b"\xfd7zXZ\x00", b"\x1f\x8b", b"SQLite format 3\x00", b"\x89PNG",
    b"\xff\xd8\xff", b"\xd0\xcf\x11\xe0",
)  # fmt: skip
_ESCAPED = {  # encodings of seven bits, by what announces their letters
    "iso2022_jp_ext": re.compile(rb"\x1b\$[@B]|\x1b\([IJ]|\x1b\$\(D"),
    "iso2022_kr": re.compile(rb"\x1b\$\)C"),
    "hz": re.compile(rb"~\{(?:[!-w][!-~])+~\}"),
}
_CONTROL_BYTE = re.compile(rb"[\1-\6\x0e-\x19\x1c-\x1f]")
_CONTROL = re.compile("[\0-\6\x0e-\x19\x1c-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def is_text(head: bytes, encoding: str) -> bool:
    """Whether the first bytes of a file are text in this encoding, with few controls and damaged characters."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    return len(_CONTROL.findall(text)) + text.count("\ufffd") <= MAX_CONTROL_SHARE * len(text)


def guess_wide(head: bytes) -> str:
    """Returns the encoding of a text with two or four bytes a character and without a mark, or ""."""
    shares = {name: _letter_share(head, name, width) for name, width in WIDE_ENCODINGS.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > MIN_LETTER_SHARE else ""


def _letter_share(head: bytes, encoding: str, width: int) -> float:
    """Returns the share of letters and marks that texts have, or 0; ASCII and blanks count twice."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head[: len(head) // width * width])
    if len(text) < 2 or "\ufffd" in text or _CONTROL.search(text):
        return 0.0
    share = sum(c < "\u0600" or (unicodedata.category(c)[0] in "LNP" and c >= "\u2010") for c in text) / len(text)
    ascii_share = sum(c < "\x7f" for c in text) / len(text)
    return share + ascii_share if share > MIN_LETTER_SHARE and ascii_share else 0.0


def guess_escaped(head: bytes) -> str:
    """Returns the encoding of an East Asian text in seven bits, such as an old mail in Japanese, or ""."""
    if not head.isascii():
        return ""
    for encoding, escape in _ESCAPED.items():
        if escape.search(head):
            text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
            if text.count("\ufffd") <= MAX_DAMAGED_SHARE * len(text) and any(c >= "\u2e80" for c in text):
                return encoding
    return ""


def is_utf8_with_nuls(head: bytes) -> bool:
    """Whether the first bytes are UTF-8 with a few NULs, which some programs leave in a text."""
    bare = head.replace(b"\0", b"")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(bare)
    except UnicodeDecodeError:
        return False
    return len(head) - len(bare) < MAX_NARROW_NUL_SHARE * len(head) and not _CONTROL.search(text)


def has_many_controls(head: bytes) -> bool:
    """Whether the first bytes have more controls than a damaged text; some programs leave a few NULs in one."""
    return len(_CONTROL_BYTE.findall(head)) > MAX_CONTROL_SHARE * len(head) or has_many_nuls(head)


def has_many_nuls(head: bytes) -> bool:
    return head.count(0) > MAX_NUL_SHARE * len(head)
