"""A vocabulary of GPT-2's size for random weights, in which every word is a blank and three letters. Pure.

The text of random weights makes no sense, but its length decides how long it takes to print, and how many tokens a
prompt has. Four characters per token are usual for English in GPT-2's vocabulary. The words have regular merges, so a
text is encoded to the ids that it was decoded from, as nearly all text of GPT-2 is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from string import ascii_letters

from model.interface import END_OF_TEXT

BLANK = "\u0120"  # GPT-2's character for it


def build_tokens(size: int, alphabet: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Returns all tokens but the end of text, and the merges. Bytes and halves of words, never sampled, come first."""
    letters = _choose_letters(size)
    fronts = [BLANK + letter for letter in letters]
    backs = ["".join(pair) for pair in product(letters, repeat=2)]
    halves = [*alphabet, *fronts, *backs]
    words = [pair for pair, _ in zip(product(fronts, backs), range(size - 1 - len(halves)), strict=False)]
    merges = [(half[0], half[1]) for half in (*fronts, *backs)] + words
    return [*halves, *map("".join, words)], merges


def count_unsampled(size: int) -> int:
    """Returns how many of the first ids are not words."""
    letters = len(_choose_letters(size))
    return 256 + letters + letters**2


def tokenizer_json(size: int) -> str:
    """Returns a `tokenizer.json` of this size, with the end of text last. Raises ValueError if it is too large."""
    tokens, merges = build_tokens(size, sorted(_byte_characters()))
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [_added_token(size - 1)],
            "pre_tokenizer": _BYTE_LEVEL,
            "decoder": _BYTE_LEVEL,
            "model": {
                "type": "BPE",
                "vocab": {token: number for number, token in enumerate([*tokens, END_OF_TEXT])},
                "merges": [list(pair) for pair in merges],
            },
        }
    )


_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _added_token(number: int) -> dict[str, object]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": END_OF_TEXT, **flags, "special": True}


def _choose_letters(size: int) -> str:
    """Returns the fewest letters that make enough words."""
    for count in range(2, len(ascii_letters) + 1):
        if 256 + count + count**2 + count**3 >= size - 1:
            return ascii_letters[:count]
    raise ValueError(f"a vocabulary of {size} is more than words of three letters fill")


def _byte_characters() -> Iterator[str]:
    """Yields GPT-2's characters for the 256 bytes (Radford 2019)."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    yield from map(chr, itself)
    yield from (chr(256 + number) for number in range(256 - len(itself)))
