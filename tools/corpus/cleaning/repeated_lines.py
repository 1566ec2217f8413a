"""Removes running heads that stand inside a page or in a text without page breaks: lines that repeat page after page.

A head repeats word for word, or with a number that grows, at the distance of pages, and it breaks sentences in two. A
refrain, a speaker's name or the title of a section follows the end of a sentence. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tools.corpus.cleaning.running_heads import PAGE_BREAK, head_pattern

MIN_REPEATS = 6
MIN_PAGE_CHARS, MAX_PAGE_CHARS = 800, 16_000  # between two heads: a small page, two large ones
MIN_NUMBERED_PAGE_CHARS = 500  # between two heads with a growing number: a page of a pocket book
MAX_DEVIATION = 0.35  # of a distance from the median
MIN_REGULAR_SHARE = 0.7  # of the distances; some heads are lost in scanning
MIN_BROKEN_SHARE, MIN_BROKEN_SHARE_NUMBERED = 0.35, 0.2  # of the heads that break a sentence; few do in dialogues
MIN_BROKEN_CHARS = 25  # of the line before the head: a salutation or another title is shorter
MIN_GROWING_SHARE = 0.8  # of the numbers that grow by one or two
MAX_HEAD_CHARS = 100
MIN_LETTERS, MIN_NUMBERED_LETTERS = 5, 3
MAX_HEAD_LINES = 4  # one below the other

_PAGE_MARKS = (
    re.compile(r"[ \t]*\[(?:Pg|p|page)\.? ?(\d{1,4})\](?:[ \t]*\n)?", re.IGNORECASE),
    re.compile(r"[ \t]*\{(?:Pg\.? ?|p\.? ?|page )?(\d{1,4})\}(?:[ \t]*\n)?", re.IGNORECASE),
)
_LETTER = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"[.!?:;…—*_=\]|][\"'”’)»*_]*\s*$|[\"”»]\s*$")
# Titles of parts, and dates, have numbers that grow too. A salutation repeats in a novel of letters.
_TITLE = re.compile(
    r"\W*(?:(?:chapter|letter|book|part|act|scene|section|canto|sonnet|psalm|poem|verse|song|fable|tale|story|lesson|step"
    r"|volume|day|night|week|figure|fig|table|plate|note|question|problem|exercise|article|no|jan\w*|feb\w*|mar\w*|apr\w*"
    r"|may|june?|july?|aug\w*|sep\w*|oct\w*|nov\w*|dec\w*)\W*#\w*\W*|#\w*\W*(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov"
    r"|dec)\w*\W*#?\W*)"
)
_PART_OF_TEXT = re.compile(r"[,;:!?…\"”’]\s*$")
_NUMBER_ONLY = re.compile(r"[^\w#]*(?:page )?#(?: of #)?[^\w#]*")


@dataclass(frozen=True, slots=True)
class _TextLine:
    """A line that is not blank. `at` is its number among all lines, `offset` its first character."""

    at: int
    offset: int
    text: str
    pattern: str
    numbers: tuple[int, ...]


def remove_repeated_lines(document: str) -> str:
    """Removes the lines that repeat at the distance of pages, with the blank lines around those in mid-sentence."""
    raw_lines = re.split(r"([\n\f])", document)  # every second item is a separator
    lines = _parse_lines(raw_lines)
    groups: dict[str, list[int]] = defaultdict(list)  # indices of `lines`
    for index, line in enumerate(lines):
        if line.pattern:
            groups[line.text].append(index)
            if line.numbers:
                groups[line.pattern].append(index)
    candidates = {index for group in groups.values() if len(group) >= MIN_REPEATS for index in group}
    heads: set[int] = set()
    for key, group in groups.items():
        if len(group) >= MIN_REPEATS:
            heads.update(_find_heads(lines, group, candidates, has_numbers="#" in key))
    if not heads:
        return document
    for index in sorted(heads):
        _remove_line(raw_lines, lines, index, heads)
    return "".join(raw_lines)


def remove_page_marks(text: str) -> str:
    """Removes `[Pg 12]` and `{12}`, if their numbers grow; a mark on a line of its own takes the line with it."""
    for pattern in _PAGE_MARKS:
        numbers = [int(match[1]) for match in pattern.finditer(text)]
        growing = sum(1 <= b - a <= 2 for a, b in pairwise(numbers))
        if len(numbers) >= MIN_REPEATS and growing >= MIN_GROWING_SHARE * (len(numbers) - 1):
            text = pattern.sub(_replace_mark, text)
    return text


def _replace_mark(match: re.Match[str]) -> str:
    is_line = match.string[match.start() - 1 : match.start()] in ("", "\n") and match[0].endswith("\n")
    return "" if is_line or not match[0].endswith("\n") else "\n"


def _parse_lines(raw_lines: Sequence[str]) -> list[_TextLine]:
    lines: list[_TextLine] = []
    offset = 0
    for at in range(0, len(raw_lines), 2):
        raw = raw_lines[at]
        if raw.strip():
            lines.append(_parse_line(at, offset, raw))
        offset += len(raw) + 1
    return lines


def _parse_line(at: int, offset: int, raw: str) -> _TextLine:
    if len(raw) > MAX_HEAD_CHARS:
        return _TextLine(at, offset, raw, "", ())
    text = " ".join(raw.casefold().split())
    pattern, numbers = head_pattern(text)
    is_named = len(_LETTER.findall(pattern)) >= (MIN_NUMBERED_LETTERS if numbers else MIN_LETTERS)
    is_page_number = _NUMBER_ONLY.fullmatch(pattern) and any(map(str.isdecimal, text))  # Roman ones are of chapters
    return _TextLine(at, offset, text, pattern if is_named or is_page_number else "", numbers)


def _find_heads(lines: Sequence[_TextLine], group: Sequence[int], candidates: set[int], has_numbers: bool) -> set[int]:
    """Returns the lines of a group that are heads: those of regular runs, if enough of them break a sentence."""
    sample = lines[group[0]]
    is_title = _TITLE.fullmatch(sample.pattern) and not _has_title_and_page([lines[index] for index in group])
    if is_title if has_numbers else _PART_OF_TEXT.search(sample.text):
        return set()
    found: set[int] = set()
    for start in range(len(group) - MIN_REPEATS + 1):
        run = group[start : start + MIN_REPEATS]
        members = [lines[index] for index in run]
        if _is_regular(members, has_numbers) and (not has_numbers or _is_growing(members)):
            found.update(run)
    broken = sum(_breaks_sentence(lines, index, candidates) for index in found)
    is_surely_numbered = has_numbers and not _NUMBER_ONLY.fullmatch(sample.pattern)  # a chapter may have a bare number
    min_share = MIN_BROKEN_SHARE_NUMBERED if is_surely_numbered else MIN_BROKEN_SHARE
    return found if broken > min_share * len(found) else set()


def _is_regular(members: Sequence[_TextLine], has_numbers: bool) -> bool:
    distances = [b.offset - a.offset for a, b in pairwise(members)]
    middle = median(distances)
    min_page_chars = MIN_NUMBERED_PAGE_CHARS if has_numbers else MIN_PAGE_CHARS
    if not min_page_chars <= middle <= MAX_PAGE_CHARS:
        return False
    regular = sum(abs(distance - middle) <= MAX_DEVIATION * middle for distance in distances)
    return regular >= MIN_REGULAR_SHARE * len(distances)


def _is_growing(members: Sequence[_TextLine]) -> bool:
    """Whether one of the numbers grows by one from head to head, or by two: left and right pages have other heads."""
    count = min(len(member.numbers) for member in members)
    pairs = len(members) - 1
    return any(
        sum(1 <= b.numbers[at] - a.numbers[at] <= 2 for a, b in pairwise(members)) >= MIN_GROWING_SHARE * pairs
        for at in range(count)
    )


def _has_title_and_page(members: Sequence[_TextLine]) -> bool:
    """Whether each line has the number of a title, which stays for pages, and the number of the page."""
    if min(len(member.numbers) for member in members) < 2:
        return False
    same = sum(a.numbers[0] == b.numbers[0] for a, b in pairwise(members))
    growing = sum(a.numbers[-1] < b.numbers[-1] for a, b in pairwise(members))
    return min(same, growing) >= MIN_REGULAR_SHARE * (len(members) - 1)


def _breaks_sentence(lines: Sequence[_TextLine], index: int, candidates: set[int]) -> bool:
    before = index - 1
    while before in candidates and before > index - MAX_HEAD_LINES:  # the page number beside the head
        before -= 1
    return before >= 0 and len(lines[before].text) >= MIN_BROKEN_CHARS and not _SENTENCE_END.search(lines[before].text)


def _remove_line(raw_lines: list[str], lines: Sequence[_TextLine], index: int, heads: set[int]) -> None:
    """Blanks the line; in mid-sentence the blank lines around it go too."""
    raw_lines[lines[index].at] = ""
    if not _breaks_sentence(lines, index, heads) or index + 1 == len(lines):
        return
    before = index - 1
    while before in heads:
        before -= 1
    start, end = lines[before].at + 1, lines[index].at + 2
    while end < len(raw_lines) and not raw_lines[end].strip() and raw_lines[end - 1] != PAGE_BREAK:
        end += 2
    separators = "".join(raw_lines[start:end:2])
    raw_lines[start:end] = [PAGE_BREAK * separators.count(PAGE_BREAK) or "\n", *[""] * (end - start - 1)]
