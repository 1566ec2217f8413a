"""Running heads and page numbers, known by coming again on page after page. Pure.

A head that has a number is one only where that keeps step with the pages: `Step 4` or `2.` at the top of a page may as
well be the text. Of what a head says it knows nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

PAGE_BREAK = "\f"
BORDER_LINES = 2  # lines at the top of a page, and at its foot, that may be heads
MIN_REPEATS, MAX_PAGE_SPAN = 3, 6  # a head comes so often in so many pages, left and right hand ones having their own
MIN_LIST_MARK_REPEATS = (
    6  # what looks like the mark of a list, `2.`, must keep step on so many pages to be their number
)

_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_WORD = re.compile(r"[^\W\d_]{3,}")
_PAGE_NUMBER = re.compile(r"[^\w#]*(?:page )?#(?: of #)?[^\w#]*")
_LIST_MARK = re.compile(r"\(?#[.)]\s*")
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


@dataclass(frozen=True, slots=True)
class _BorderLine:
    """One at the border of a page: `alike` is what two heads have in common, their numbers apart."""

    page: int
    pattern: str
    text: str
    numbers: tuple[int, ...]


def remove_running_heads(document: str) -> str:
    """Without the lines that come again and again at the borders of its pages, whatever page number they have."""
    pages = [page.split("\n") for page in document.split(PAGE_BREAK)]
    if len(pages) < MIN_REPEATS:
        return document
    borders = [
        {at: _border_line(number, lines[at]) for at in _border_positions(lines)} for number, lines in enumerate(pages)
    ]
    heads = _find_heads([line for border in borders for line in border.values() if line.pattern])
    kept = []
    for lines, border in zip(pages, borders, strict=True):
        gone = {at for at, line in border.items() if line in heads}
        kept.append("\n".join(line for at, line in enumerate(lines) if at not in gone))
    return PAGE_BREAK.join(kept)


def _find_heads(lines: Sequence[_BorderLine]) -> set[_BorderLine]:
    """Those that recur near to one another: word by word, or with a number that keeps step."""
    same: dict[str, list[_BorderLine]] = defaultdict(list)
    alike: dict[str, list[_BorderLine]] = defaultdict(list)
    for line in lines:
        if _WORD.search(line.pattern):
            same[line.text].append(line)
        if line.numbers:
            alike[line.pattern].append(line)
    heads = {line for group in same.values() for run in _iter_runs(group, MIN_REPEATS) for line in run}
    for form, group in alike.items():
        runs = list(_iter_runs(group, MIN_LIST_MARK_REPEATS if _LIST_MARK.fullmatch(form) else MIN_REPEATS))
        numbered = [run for run in runs if _is_in_step(run)]
        # Where chapters count their pages anew some runs are out of step.
        heads.update(line for run in (runs if numbered and _WORD.search(form) else numbered) for line in run)
    return heads


def _iter_runs(group: Sequence[_BorderLine], count: int) -> Iterator[Sequence[_BorderLine]]:
    """So many that are near, each as often as it is one of them."""
    for start in range(len(group) - count + 1):
        run = group[start : start + count]
        if run[-1].page - run[0].page < max(MAX_PAGE_SPAN, count):
            yield run


def _is_in_step(run: Sequence[_BorderLine]) -> bool:
    """Whether one of their numbers grows with the pages; faster where blank pages lie between, or two on one."""
    count = min(len(line.numbers) for line in run)
    return any(
        all(0 < b.page - a.page <= b.numbers[at] - a.numbers[at] <= 2 * (b.page - a.page) for a, b in pairwise(run))
        for at in range(count)
    )


def _border_positions(lines: Sequence[str]) -> set[int]:
    """Where the first lines and the last are, blank ones not counted; a page of few lines has none."""
    full = [at for at, line in enumerate(lines) if line.strip()]
    if len(full) <= 2 * BORDER_LINES:
        return set(full[:1] + full[-1:])
    return set(full[:BORDER_LINES] + full[-BORDER_LINES:])


def _border_line(page: int, line: str) -> _BorderLine:
    """`alike` is empty for a line that is no head, as a row of figures."""
    text = " ".join(line.casefold().split())
    common = _NUMBER.sub("#", text)
    if not (_WORD.search(common) or _PAGE_NUMBER.fullmatch(common)):
        common = ""
    return _BorderLine(page, common, text, tuple(map(_number_value, _NUMBER.findall(text))))


def _number_value(number: str) -> int:
    if number[0].isdecimal():
        return int(number[:9])
    values = [_ROMAN_DIGITS[letter] for letter in number]
    return sum(-a if a < b else a for a, b in pairwise([*values, 0]))
