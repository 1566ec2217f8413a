"""Turns rows with odd separators or single quotes into rows of CSV, and their cells back. Pure.

A separator of several characters, such as `:::`, becomes one character; single and double quotes change places.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tools.corpus.column_names import is_known_name, is_name_like
from tools.corpus.csv_rows import CsvFormat

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
_SWAPPED_QUOTES = str.maketrans("\"'", "'\"")


def encode_line(line: str, format: CsvFormat) -> str:
    """Returns a line as ordinary CSV with the delimiter of the format."""
    if format.separator == COLUMN_GAP:
        line = _GAP.sub(SEPARATOR_CHAR, line.strip())
    elif format.separator in LINE_FORMS:
        match = LINE_FORMS[format.separator].fullmatch(line)
        line = SEPARATOR_CHAR.join(match.groups()) if match else line
    elif format.separator:
        line = line.replace(format.separator, SEPARATOR_CHAR)
    return line.translate(_SWAPPED_QUOTES) if format.has_single_quotes else line


def decode_cells(cells: Sequence[str], format: CsvFormat) -> list[str]:
    """Returns the cells of an encoded line as they were written."""
    if format.has_single_quotes:
        cells = [cell.translate(_SWAPPED_QUOTES) for cell in cells]
    return [cell.replace(SEPARATOR_CHAR, format.separator) for cell in cells] if format.separator else list(cells)


def find_odd_formats(lines: Sequence[str]) -> Iterator[CsvFormat]:
    """Yields formats with the separators that split nearly all lines in the same number of cells."""
    filled = [line for line in lines if line.strip()]
    if len(filled) < 2:
        return
    runs = [Counter(_CHARS.findall(line) + _RUNS.findall(line)) for line in filled]
    for separator, count in runs[0].items():
        same = sum(run[separator] == count for run in runs)
        if same < MIN_SHARE * len(runs) or (len(separator) > 1 and _TEXT_RUNS.fullmatch(separator)):
            continue
        is_sure = count > 1 or len(separator) >= SURE_CHARS or not separator.isprintable()
        if is_sure or any(map(is_known_name, filled[0].split(separator))):
            is_char = len(separator) == 1
            delimiter = separator if is_char else SEPARATOR_CHAR
            yield CsvFormat(delimiter, count + 1, separator="" if is_char else separator)
    for name, form in LINE_FORMS.items():
        if sum(form.fullmatch(line) is not None for line in filled) >= MIN_SHARE * len(filled):
            yield CsvFormat(SEPARATOR_CHAR, form.groups, separator=name)
    if _has_column_gaps(filled):
        yield CsvFormat(SEPARATOR_CHAR, len(_GAP.split(filled[0].strip())), separator=COLUMN_GAP)


def single_quoted_share(lines: Sequence[str], delimiter: str) -> float:
    """Returns the share of the lines that have single quotes around a cell with the delimiter in it."""
    border = re.escape(delimiter)
    quoted = re.compile(rf"(?:^|{border}) ?'(?:[^']|'')*{border}(?:[^']|'')*'\s*(?:{border}|$)")
    return sum(quoted.search(line) is not None for line in lines) / max(1, len(lines))


def _has_column_gaps(lines: Sequence[str]) -> bool:
    """Whether columns of fixed width have names."""
    names = _GAP.split(lines[0].strip())
    widths = [len(_GAP.split(line.strip())) for line in lines]
    is_named = all(map(is_name_like, names)) and sum(map(is_known_name, names)) > 1
    return is_named and widths.count(len(names)) >= MIN_SHARE * len(widths)
