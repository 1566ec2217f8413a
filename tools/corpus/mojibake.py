"""UTF-8 that somebody read as Latin-1, and its cure. Pure; it does not guess.

Facebook writes each byte of UTF-8 as a character of its own (`caf\\u00c3\\u00a9`), in names and titles as in texts.
"""

from __future__ import annotations


def repair_latin1(text: str) -> str:
    """The text as it was meant. What is right already cannot be read that way, and is left alone."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
