"""Removes running heads and page numbers, recognised by their repetition from page to page. Pure.

A number in a head must grow with the pages: `Step 4` or `2.` at the top of a page may belong to the text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise

PAGE_BREAK = "\f"
BORDER_LINES = 2  # at the top and at the bottom of a page, which may be heads
MIN_REPEATS, MAX_PAGE_SPAN = 3, 6  # repeats within that many pages; left and right pages differ
MIN_LIST_MARK_REPEATS = 6  # pages with which a list mark, `2.`, must grow to be a page number
MIN_MISREAD_CHARS = 8  # of a head that may be misread
MAX_MISREAD_LENGTH, MIN_MISREAD_RATIO = 2, 0.8  # characters more or less; share of those that agree

_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_WORD = re.compile(r"[^\W\d_]{3,}")
# Digits that a scanner's program read for letters: `h1story 0f`.
_MISREAD_DIGIT = re.compile(r"(?<=[^\W\d_])[0158](?=[^\W\d_])|\b0(?=[^\W\d_])")
_LETTER_BY_DIGIT = {"0": "o", "1": "i", "5": "s", "8": "b"}
_PAGE_NUMBER = re.compile(r"[^\w#]*(?:page )?#(?: of #)?[^\w#]*")
_LIST_MARK = re.compile(r"\(?#[.)]\s*")
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


@dataclass(frozen=True, slots=True)
class _BorderLine:
    """A line at the border of a page. `pattern` is its text with all numbers replaced."""

    page: int
    pattern: str
    text: str
    numbers: tuple[int, ...]


def remove_running_heads(document: str) -> str:
    """Removes the lines that repeat at page borders, apart from their numbers."""
    pages = [page.split("\n") for page in document.split(PAGE_BREAK)]
    if len(pages) < MIN_REPEATS:
        return document
    borders = [
        {at: _border_line(number, lines[at]) for at in _border_positions(lines)} for number, lines in enumerate(pages)
    ]
    heads = _find_heads([line for border in borders for line in border.values() if line.pattern])
    cleaned = []
    for lines, border in zip(pages, borders, strict=True):
        head_positions = {at for at, line in border.items() if line in heads}
        cleaned.append("\n".join(line for at, line in enumerate(lines) if at not in head_positions))
    return PAGE_BREAK.join(cleaned)


def _find_heads(lines: Sequence[_BorderLine]) -> set[_BorderLine]:
    """Returns the lines that repeat on near pages: with the same text, or with a number that grows with the pages."""
    by_text: dict[str, list[_BorderLine]] = defaultdict(list)
    by_pattern: dict[str, list[_BorderLine]] = defaultdict(list)
    for line in lines:
        if _WORD.search(line.pattern):
            by_text[_MISREAD_DIGIT.sub(lambda digit: _LETTER_BY_DIGIT[digit[0]], line.text)].append(line)
        if line.numbers:
            by_pattern[line.pattern].append(line)
    heads = {line for group in by_text.values() for run in _iter_runs(group, MIN_REPEATS) for line in run}
    for pattern, group in by_pattern.items():
        runs = list(_iter_runs(group, MIN_LIST_MARK_REPEATS if _LIST_MARK.fullmatch(pattern) else MIN_REPEATS))
        numbered = [run for run in runs if _grows_with_pages(run)]
        # Where each chapter restarts its page numbers, some runs do not grow.
        heads.update(line for run in (runs if numbered and _WORD.search(pattern) else numbered) for line in run)
    return heads | _find_misread(lines, heads)


def _find_misread(lines: Sequence[_BorderLine], heads: set[_BorderLine]) -> set[_BorderLine]:
    """Returns the lines that a scanner's program misread: nearly the same as a head on a near page."""
    by_page: dict[int, set[str]] = defaultdict(set)
    for head in heads:
        by_page[head.page].add(head.pattern)
    return {
        line
        for line in lines
        if line not in heads and len(line.pattern) >= MIN_MISREAD_CHARS and _WORD.search(line.pattern)
        for page in (line.page - 2, line.page - 1, line.page + 1, line.page + 2)
        if any(_is_nearly_same(line.pattern, pattern) for pattern in by_page.get(page, ()))
    }


@lru_cache(1 << 12)
def _is_nearly_same(first: str, second: str) -> bool:
    if abs(len(first) - len(second)) > MAX_MISREAD_LENGTH:
        return False
    return SequenceMatcher(None, first, second, autojunk=False).ratio() >= MIN_MISREAD_RATIO


def _iter_runs(group: Sequence[_BorderLine], count: int) -> Iterator[Sequence[_BorderLine]]:
    """Yields all runs of `count` lines on near pages."""
    for start in range(len(group) - count + 1):
        run = group[start : start + count]
        if run[-1].page - run[0].page < max(MAX_PAGE_SPAN, count):
            yield run


def _grows_with_pages(run: Sequence[_BorderLine]) -> bool:
    """Whether a number grows with the pages, or up to twice as fast: blank pages, or two numbers on a page."""
    count = min(len(line.numbers) for line in run)
    return any(
        all(0 < b.page - a.page <= b.numbers[at] - a.numbers[at] <= 2 * (b.page - a.page) for a, b in pairwise(run))
        for at in range(count)
    )


def _border_positions(lines: Sequence[str]) -> set[int]:
    """Returns the positions of the first and last lines that are not blank; few if the page is short."""
    filled = [at for at, line in enumerate(lines) if line.strip()]
    if len(filled) <= 2 * BORDER_LINES:
        return set(filled[:1] + filled[-1:])
    return set(filled[:BORDER_LINES] + filled[-BORDER_LINES:])


def _border_line(page: int, line: str) -> _BorderLine:
    """Returns the line; `pattern` is "" if it cannot be a head, such as a row of figures."""
    text = " ".join(line.casefold().split())
    pattern, numbers = head_pattern(text)
    if not (_WORD.search(pattern) or _PAGE_NUMBER.fullmatch(pattern)):
        pattern = ""
    return _BorderLine(page, pattern, text, numbers)


def head_pattern(text: str) -> tuple[str, tuple[int, ...]]:
    """Returns a folded line with `#` for each number, and the numbers, Roman ones too."""
    text = _MISREAD_DIGIT.sub(lambda digit: _LETTER_BY_DIGIT[digit[0]], text)
    return _NUMBER.sub("#", text), tuple(map(_number_value, _NUMBER.findall(text)))


def _number_value(number: str) -> int:
    if number[0].isdecimal():
        return int(number[:9])
    values = [_ROMAN_DIGITS[letter] for letter in number]
    return sum(-a if a < b else a for a, b in pairwise([*values, 0]))
