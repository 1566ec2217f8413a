"""Joins the words that a line end divides; compounds keep their hyphen. Pure.

The form elsewhere in the document decides. Where there is none, English compounds such as `well-known` and
`twenty-five` are recognised by their first part; only parts that are seldom the start of a divided word are listed.
"""

from __future__ import annotations

import re

from tools.corpus.cleaning.running_heads import PAGE_BREAK

_DIVIDED_WORD = re.compile(
    r"(?<![^\W\d_])([^\W\d_]{2,})[-‐][ \t]*([\n\f][ \t\n\f]*)([^\W\d_]{2,})(\S*)(?:[ \t]*\n|[ \t]+)?"
)
# A soft hyphen at a line end is always a hyphen, so other parts of words are joined too, with a hyphen.
_SOFTLY_DIVIDED_WORD = re.compile("([^\\W_]*)\u00ad[ \t]*([\n\f][ \t\n\f]*)([^\\W_]*)(\\S*)(?:[ \t]*\n|[ \t]+)?")
_WORD = re.compile(r"[^\W\d_]+")
_COMPOUND = re.compile(r"(?<![^\W\d_])[^\W\d_]+[-‐][^\W\d_]+")
_WORDS = {
    "tens": "twenty thirty forty fifty sixty seventy eighty ninety",
    "ones": "one two three four five six seven eight nine first second third fourth fifth sixth seventh eighth ninth",
    "numbers": "one two three four five six seven eight nine ten",
    "fractions": (
        "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh sevenths eighth"
        " eighths ninth ninths tenth tenths"
    ),
    "first parts": "well self half ill ever never quasi vice cross",
    # What may follow these in one word: `selfish`, `illness`, `crossing`, `halfway`.
    "rest of a word": (
        "ing ings ed er ers es est ly ness nesses ish ishly ishness less lessly lessness hood ington ingtons head heads"
        " same penny pence pennies way more theless green greens lasting glade glades roy roys wise word words"
        " road roads bow bows bar bars over overs"
    ),
    "adjectives": (
        "old new good bad left right red blue black white grey gray green brown yellow dark fair light bright pale"
        " able middle absent narrow broad high low long short sharp strong weak warm cold cool kind hard soft tender"
        " noble single double bare wide evil strange fine large small grand simple quick sweet heavy open empty thick"
        " thin far rough smooth big great hot mild stout bald lion chicken even near deep round square full one two"
        " three four five six seven eight nine ten"
    ),
    "participles": (
        "fashioned natured hearted heartedly minded mindedly tempered looking eyed haired handed handedly footed legged"
        " faced coloured colored sized shaped aged spoken sighted armed bodied blooded skinned bearded browed cheeked"
        " lipped nosed shouldered voiced witted mannered humoured humored headed storied sided pointed bred born made"
        " built paid known grown reaching year"
    ),
    "links": "in of to the and or by at on up out for de la le",  # `mother-in-law`, `up-to-date`
}
_SETS = {kind: frozenset(words.split()) for kind, words in _WORDS.items()}


def join_divided_words(document: str) -> str:
    """Removes soft hyphens and joins words divided at line ends; compounds keep their hyphen."""
    before, text = "", document
    while before != text:
        before = text
        if not ("\u00ad" in text or _DIVIDED_WORD.search(text)):
            break
        compounds = {word.casefold() for word in _COMPOUND.findall(text)}
        words = {word.casefold() for word in _WORD.findall(text)}
        if "\u00ad" in text:
            text = _SOFTLY_DIVIDED_WORD.sub(lambda match: _join_softly(match, compounds, words), text)  # noqa: B023
        text = _DIVIDED_WORD.sub(lambda match: _join_word(match, compounds, words), text)  # noqa: B023 (called at once)
    return text.replace("\u00ad", "")


def _join_word(match: re.Match[str], compounds: set[str], words: set[str]) -> str:
    first, line_end, second, punctuation = match.groups()
    if not _is_one_word(first, second):
        return match[0]
    is_chained = match.string[match.start() - 1 : match.start()] in ("-", "‐")  # `mother-in-`
    is_compound = f"{first}-{second}".casefold() in compounds
    is_word = f"{first}{second}".casefold() in words
    hyphen = "-" if is_compound or (not is_word and _has_hyphen(first, second, is_chained)) else ""
    return f"{first}{hyphen}{second}{punctuation}{_line_end(line_end)}"


def _join_softly(match: re.Match[str], compounds: set[str], words: set[str]) -> str:
    """Joins by the same rules; what is not one word there, such as `START-STOP`, gets a hyphen."""
    first, line_end, second, punctuation = match.groups()
    is_compound = f"{first}-{second}".casefold() in compounds
    is_word = f"{first}{second}".casefold() in words
    is_word |= _is_one_word(first, second) and not _has_hyphen(first, second, is_chained=False)
    hyphen = "" if not (first and second) or (is_word and not is_compound) else "-"
    return f"{first}{hyphen}{second}{punctuation}{_line_end(line_end)}"


def _is_one_word(first: str, second: str) -> bool:
    """Whether the case of two parts is that of one word, and not of a compound such as `Send-Receive`."""
    return second[:1].islower() and not (first.isupper() and len(first) > 1)


def _line_end(line_end: str) -> str:
    """Returns the line or page break that follows the joined word."""
    return PAGE_BREAK * line_end.count(PAGE_BREAK) or "\n"


def _has_hyphen(first: str, second: str, is_chained: bool) -> bool:
    """Whether two parts are a compound with a hyphen. `is_chained`: another part with a hyphen stands before them."""
    first, second = first.casefold(), second.casefold()
    if first in _SETS["tens"]:
        return second in _SETS["ones"]
    if first in _SETS["numbers"] and second in _SETS["fractions"]:
        return True
    if first in _SETS["first parts"] and second not in _SETS["rest of a word"]:
        return True
    if is_chained and first in _SETS["links"]:
        return True
    return (first in _SETS["adjectives"] and second in _SETS["participles"]) or (first, second) == ("so", "called")
