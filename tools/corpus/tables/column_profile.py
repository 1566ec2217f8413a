"""Describes the values of a column of a table, and chooses the column of the texts by names and values. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tools.corpus.tables.cell_texts import is_wrapped, unwrap_texts
from tools.corpus.tables.column_names import (
    TEXT_NAMES,
    TWEET_TEXT_NAMES,
    is_comment_name,
    is_denied,
    normalise_name,
    text_rank,
)

ValueKind = Literal["empty", "number", "link", "flag", "list", "html", "word", "text"]

TYPED_SHARE = 0.9  # of the values of a column of numbers, links or flags
TEXT_SHARE = 0.4  # of the values of a column of texts that have several words
MIN_SENTENCES = 0.2  # of values that are more than names
MIN_WORDS = 4.0
MAX_LABEL_WORDS = 1.2  # in the mean
CLEAR_LEAD = 2.0  # by which the longest texts must lead if no name decides
MAX_REPEATED = 0.4  # share of distinct values where few values return again and again
FEW_ROWS = 4  # in so few rows repeated values say nothing
TRUE_VALUES = frozenset(("true", "t", "1", "yes", "y", "wahr", "ja", "vrai", "oui"))
FALSE_VALUES = frozenset(("false", "f", "0", "no", "n", "falsch", "nein", "faux", "non"))

_DATE_WORD = (
    r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*|(?:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez|mär|dé)[a-zä]*"
    r"|am|pm|utc|gmt|ces?t|[ecmp][sd]t|bst|[tzek]"
)
_NUMBER = re.compile(rf"(?=.*\d)(?:[\d\W_]|(?:{_DATE_WORD})(?![^\W\d_]))+", re.IGNORECASE)
_LINK = re.compile(r"(?:(?:https?://|www\.)\S+|/\S+/\S*)(?:[ ,;]+(?:https?://|www\.)\S+)*", re.IGNORECASE)
_LICENCE = re.compile(r"CC[- ]BY\b|CC0\b")  # of sentences and pictures
_HTML = re.compile(r"\s*<[a-zA-Z][^<>]*>.*</?[a-zA-Z][^<>]*>\s*", re.DOTALL)
_WORDS = re.compile(r"[^\W\d_]\W*\s\W*[\w@#]*[^\W\d_]")
# Scripts that write no blanks between words: Thai to Khmer, kana, Chinese; Korean has few.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{4}")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)]*\s*$")
_MAX_NUMBER_CHARS = 60


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What the values of a column are. `filled` and `distinct` are shares, `length` is the mean of those not empty.

    `sentences` is the share of values that end as sentences do, `words` their mean number of words.
    """

    kind: ValueKind = "empty"
    filled: float = 0.0
    distinct: float = 0.0
    length: float = 0.0
    rows: int = 0
    sentences: float = 0.0
    words: float = 0.0

    @property
    def is_prose(self) -> bool:
        """Whether the values are more than names: many words, or sentences."""
        return self.sentences >= MIN_SENTENCES or self.words >= MIN_WORDS

    @property
    def is_typed(self) -> bool:
        """Whether a value can be told from a part of a text."""
        return self.kind in ("number", "link", "flag")

    @property
    def is_label(self) -> bool:
        """Whether the values are single words, as those of a label."""
        return self.kind == "word" and self.words < MAX_LABEL_WORDS and not self.sentences

    @property
    def is_repeated(self) -> bool:
        """Whether few values return again and again, as those of a label or of a device."""
        return self.rows > FEW_ROWS and self.distinct <= MAX_REPEATED

    def fits(self, value: str) -> bool:
        """Whether a value may stand in this column, as far as its kind tells."""
        kind = value_kind(value)
        return not self.is_typed or kind in ("empty", self.kind) or {kind, self.kind} == {"number", "flag"}


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """The column of the texts, None if it is not clear. `others` are columns with texts that were not chosen."""

    column: int | None
    by_name: bool = False
    others: tuple[int, ...] = ()


def value_kind(value: str) -> ValueKind:
    """Returns what one value is."""
    text = value.strip()
    if not text:
        return "empty"
    if text.casefold() in TRUE_VALUES | FALSE_VALUES and not text.isdigit():
        return "flag"
    if len(text) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(text):
        return "number"
    if _LINK.fullmatch(text) or _LICENCE.match(text):  # neither has words of anybody
        return "link"
    if _HTML.fullmatch(text):
        return "html"
    if text[0] in "[{" and text[-1] in "]}":
        return "text" if is_wrapped(text) and any(map(_is_wordy, unwrap_texts(text))) else "list"
    return "text" if _is_wordy(text) else "word"


def profile_column(values: Sequence[str]) -> ColumnProfile:
    """Describes a column by a sample of its values."""
    filled = [value for value in values if value.strip()]
    if not filled:
        return ColumnProfile(rows=len(values))
    length = sum(map(len, filled)) / len(filled)
    return ColumnProfile(
        _column_kind(Counter(map(value_kind, filled))),
        len(filled) / len(values),
        len(set(filled)) / len(filled),
        length,
        len(values),
        sum(_SENTENCE_END.search(value) is not None for value in filled) / len(filled),
        sum(len(value.split()) + len(_UNSPACED.findall(value)) for value in filled) / len(filled),
    )


def _column_kind(kinds: Counter[ValueKind]) -> ValueKind:
    total = kinds.total()
    if kinds["number"] + kinds["flag"] >= TYPED_SHARE * total:
        return "flag" if kinds["flag"] > kinds["number"] else "number"
    for kind in ("link", "list"):
        if kinds[kind] >= TYPED_SHARE * total:
            return kind
    if kinds["html"] >= total / 2:
        return "html"
    return "text" if kinds["text"] >= TEXT_SHARE * total else "word"


def choose_text_column(names: Sequence[str], profiles: Sequence[ColumnProfile]) -> ColumnChoice:
    """Chooses the column of the texts. `names` is empty without a header."""
    wordy = [number for number, profile in enumerate(profiles) if profile.kind == "text"]
    ranks = {number: rank for number, name in enumerate(names) if (rank := text_rank(name)) is not None}
    candidates = [number for number in wordy if not (names and is_denied(names[number]))]
    candidates = [number for number in candidates if ranks.get(number) == 0 or not profiles[number].is_repeated]
    # Their names say texts, their values only words.
    unsure = [at for at in ranks if ranks[at] < 3 and profiles[at].kind == "word" and not profiles[at].is_repeated]
    for rank in range(3):
        if rank == 1 and (short := _choose_short(names, profiles, ranks, candidates)):
            return short
        named = [number for number in candidates if ranks.get(number) == rank]
        column = _first_by_name(names, named) if rank == 0 else _longest(named, profiles)
        if column is not None:
            return ColumnChoice(column, True, tuple(number for number in (*candidates, *unsure) if number != column))
        if named:
            return ColumnChoice(None, others=tuple(named))
    html = [number for number in ranks if ranks[number] < 3 and profiles[number].kind == "html"]
    if html and not candidates:
        return ColumnChoice(min(html, key=lambda number: ranks[number]), by_name=True)
    if not any(profile.filled for profile in profiles):  # a header without rows
        return ColumnChoice(min(ranks, key=lambda number: ranks[number], default=0), by_name=True)
    candidates = [number for number in candidates if profiles[number].is_prose or number in ranks]
    column = _longest(candidates, profiles)
    others = tuple(number for number in (*candidates, *unsure) if number != column)
    return ColumnChoice(column, column in ranks, others)


def _choose_short(
    names: Sequence[str], profiles: Sequence[ColumnProfile], ranks: Mapping[int, int], candidates: Sequence[int]
) -> ColumnChoice | None:
    """Chooses a column of short texts or HTML by its name, whatever the lengths of the texts beside it.

    Few values that return again and again under a name such as `body` may be a category: the user chooses.
    """
    named = [at for at in ranks if ranks[at] == 0 and profiles[at].kind in ("word", "html")]
    column = _first_by_name(names, named)
    if column is None:
        named = [at for at in ranks if is_comment_name(names[at]) and profiles[at].kind == "word"]
        column = named[0] if named and not any(ranks.get(at) == 1 for at in candidates) else None
    if column is None:
        return None
    others = tuple(at for at in candidates if at != column)
    is_sure = names[column].strip().casefold() in TWEET_TEXT_NAMES or is_comment_name(names[column])
    if profiles[column].is_repeated and not is_sure:
        return ColumnChoice(None, others=(column, *others)) if others else None
    return ColumnChoice(column, True, others)


def _first_by_name(names: Sequence[str], columns: Sequence[int]) -> int | None:
    """Returns the column whose name is the best one."""
    order = [TEXT_NAMES.index(normalise_name(names[number].rpartition(".")[2])) for number in columns]
    return columns[order.index(min(order))] if order else None


def _longest(columns: Sequence[int], profiles: Sequence[ColumnProfile]) -> int | None:
    """Returns the column with the longest texts, None unless it leads clearly."""
    sizes = {number: profiles[number].length * profiles[number].filled for number in columns}
    ordered = sorted(columns, key=lambda number: -sizes[number])
    if len(ordered) > 1 and sizes[ordered[0]] < CLEAR_LEAD * sizes[ordered[1]]:
        return None
    return ordered[0] if ordered else None


def _is_wordy(text: str) -> bool:
    return bool(_WORDS.search(text) or _UNSPACED.search(text))
