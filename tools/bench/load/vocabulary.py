"""A vocabulary of GPT-2's size for random weights, in which every word is four characters: a blank and three letters.

Of random weights a token's text means nothing; but what is printed, how long it feeds a wheel, and how many tokens a
prompt has, all hang on how long it is. Four is what GPT-2's own have in English, by custom. The words merge like any
others, so a text goes back to the ids that it was made of, as nearly all that GPT-2 writes does. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from string import ascii_letters

from model.interface import END_OF_TEXT

BLANK = "\u0120"  # GPT-2's stand-in for it
WORD_CHARS = 4  # characters


def build_tokens(size: int, alphabet: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """(all tokens but the end of text, the merges); first the bytes and the halves of words, which nobody samples."""
    letters = _choose_letters(size)
    fronts = [BLANK + letter for letter in letters]
    backs = ["".join(pair) for pair in product(letters, repeat=2)]
    halves = [*alphabet, *fronts, *backs]
    words = [pair for pair, _ in zip(product(fronts, backs), range(size - 1 - len(halves)), strict=False)]
    merges = [(half[0], half[1]) for half in (*fronts, *backs)] + words
    return [*halves, *map("".join, words)], merges


def count_unsampled(size: int) -> int:
    """How many ids, the first ones, are no words."""
    letters = len(_choose_letters(size))
    return 256 + letters + letters**2


def tokenizer_json(size: int) -> str:
    """A `tokenizer.json` of so many tokens, the end of text the last. Raises ValueError where there is no word."""
    spelled, merges = build_tokens(size, sorted(_byte_characters()))
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [_added_token(size - 1)],
            "pre_tokenizer": _BYTE_LEVEL,
            "decoder": _BYTE_LEVEL,
            "model": {
                "type": "BPE",
                "vocab": {token: number for number, token in enumerate([*spelled, END_OF_TEXT])},
                "merges": [list(pair) for pair in merges],
            },
        }
    )


_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _added_token(number: int) -> dict[str, object]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": END_OF_TEXT, **flags, "special": True}


def _choose_letters(size: int) -> str:
    """As few as make words enough."""
    for count in range(2, len(ascii_letters) + 1):
        if 256 + count + count**2 + count**3 >= size - 1:
            return ascii_letters[:count]
    raise ValueError(f"a vocabulary of {size} is more than words of three letters fill")


def _byte_characters() -> Iterator[str]:
    """GPT-2's stand-ins for the 256 bytes - Radford 2019."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    yield from map(chr, itself)
    yield from (chr(256 + number) for number in range(256 - len(itself)))
