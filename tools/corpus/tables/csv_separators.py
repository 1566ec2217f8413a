"""Turns rows with odd separators or quotes into rows of CSV, and their cells back. Pure.

A separator of several characters, such as `:::`, becomes one character; other quotes become double ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tools.corpus.tables.column_names import TEXT_NAMES, is_known_name, is_name_like, normalise_name
from tools.corpus.tables.csv_rows import CsvFormat

SEPARATOR_CHAR = "\x1f"  # stands for a separator of several characters
COLUMN_GAP = "  "  # the separator of columns of fixed width: two blanks or more
MIN_SHARE = 0.9  # of the lines that a separator splits in the same number of cells
SURE_CHARS = 3  # of a separator that is no part of a text

_CHARS = re.compile(r"([~^§¦¬¤¶\x01-\x08\x0b\x0c\x0e-\x1f])(?<!\1\1)(?!\1)")  # no text has one in each line
_RUNS = re.compile(r"[~^|:;,#@$%&+=<>\\!*-]{2,9}")
LINE_FORMS = {  # of programs that write no table, by a name that stands for the separator
    "twint": re.compile(r"(\d{5,20}) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S{1,6}) <(\w{1,40})> (.*)"),
    "fastText": re.compile(r"((?:__label__\S+ ?)+)[ ,]\s*(.*)"),
}
_TEXT_RUNS = re.compile(r"([-=!*~#<>])\1+|[,;|\t]+|[:;=>]-?")  # dashes, emphasis, empty cells, faces
_GAP = re.compile(r" {2,}")
_WORD_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")
_HEADER_BORDER = re.compile(r"\\t|[^\w\"]+|_{2,}")
QUOTES = ("''", "``", "“”", "«»")  # around cells, instead of double ones
_DOUBLE, _APOSTROPHE = "\x1e", "\x1d"  # stand for characters that are no quotes of a cell


def encode_line(line: str, format: CsvFormat) -> str:
    """Returns a line as ordinary CSV with the delimiter of the format."""
    if format.separator == COLUMN_GAP:
        line = _GAP.sub(SEPARATOR_CHAR, line.strip())
    elif format.separator in LINE_FORMS:
        match = LINE_FORMS[format.separator].fullmatch(line)
        line = SEPARATOR_CHAR.join(match.groups()) if match else line
    elif format.separator:
        line = line.replace(format.separator, SEPARATOR_CHAR)
    if not format.quotes:
        return line
    line = line.replace('"', _DOUBLE)
    if format.quotes[0] == "'":
        line = _WORD_APOSTROPHE.sub(_APOSTROPHE, line)
    return line.replace(format.quotes[0], '"').replace(format.quotes[1], '"')


def decode_cells(cells: Sequence[str], format: CsvFormat) -> list[str]:
    """Returns the cells of an encoded line as they were written."""
    if format.quotes:
        cells = [cell.replace('"', format.quotes[0]).replace(_DOUBLE, '"').replace(_APOSTROPHE, "'") for cell in cells]
    return [cell.replace(SEPARATOR_CHAR, format.separator) for cell in cells] if format.separator else list(cells)


def find_header_separator(line: str) -> str:
    """Returns the separator of a header that has nothing but names of columns, "" for another line."""
    separators = set(_HEADER_BORDER.findall(line.strip()))
    if len(separators) != 1:
        return ""
    separator = separators.pop()
    names = line.strip().replace('"', "").split(separator)
    # `Subject: Poem` is a line of a letter or a title
    is_sure = len(names) > 2 or (" " not in separator and any(normalise_name(name) in TEXT_NAMES for name in names))
    is_header = is_sure and len(names) > 1 and all(map(is_known_name, names)) and len(set(names)) == len(names)
    is_usual = separator.strip() in (",", ";", "|", "") and separator != " "
    return separator if is_header and not is_usual else ""


def find_odd_formats(lines: Sequence[str]) -> Iterator[CsvFormat]:
    """Yields formats with the separators that split nearly all lines in the same number of cells."""
    filled = [line for line in lines if line.strip()]
    if len(filled) < 2:
        return
    runs = [Counter(_CHARS.findall(line) + _RUNS.findall(line)) for line in filled]
    if separator := find_header_separator(filled[0]):
        yield _make_format(separator, filled[0].count(separator) + 1)
    for separator, count in runs[0].items():
        same = sum(run[separator] == count for run in runs)
        if same < MIN_SHARE * len(runs) or (len(separator) > 1 and _TEXT_RUNS.fullmatch(separator)):
            continue
        is_tight = all(" " not in (border[:1], border[-1:]) for line in filled for border in line.split(separator))
        is_sure = count > 1 or len(separator) >= SURE_CHARS or (len(separator) == 1 and is_tight)
        if is_sure or any(map(is_known_name, filled[0].split(separator))):
            yield _make_format(separator, count + 1)
    for name, form in LINE_FORMS.items():
        if sum(form.fullmatch(line) is not None for line in filled) >= MIN_SHARE * len(filled):
            yield CsvFormat(SEPARATOR_CHAR, form.groups, separator=name)
    if _has_column_gaps(filled):
        yield CsvFormat(SEPARATOR_CHAR, len(_GAP.split(filled[0].strip())), separator=COLUMN_GAP)


def _make_format(separator: str, width: int) -> CsvFormat:
    is_char = len(separator) == 1
    return CsvFormat(separator if is_char else SEPARATOR_CHAR, width, separator="" if is_char else separator)


def quoted_share(lines: Sequence[str], delimiter: str, quotes: str) -> float:
    """Returns the share of the lines that have quotes around a cell with the delimiter in it."""
    border, start, end = re.escape(delimiter), *quotes
    inside = rf"(?:[^{start}{end}]|{end}{end}|(?<=\w){end}(?=\w))*"
    quoted = re.compile(rf"(?:^|{border}) ?{start}{inside}{border}{inside}{end}\s*(?:{border}|$)")
    found = [start in line and quoted.search(line) is not None for line in lines]
    return sum(found) / max(1, len(lines))


def _has_column_gaps(lines: Sequence[str]) -> bool:
    """Whether columns of fixed width have names."""
    names = _GAP.split(lines[0].strip())
    widths = [len(_GAP.split(line.strip())) for line in lines]
    is_named = all(map(is_name_like, names)) and sum(map(is_known_name, names)) > 1
    return is_named and widths.count(len(names)) >= MIN_SHARE * len(widths)
