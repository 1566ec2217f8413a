"""Finds how the rows of a table are written: delimiter, width, quotes, and whether a header comes first. Pure.

Each way to read the first lines is rated. Names of columns decide first, then rows of one width with numbers or dates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tools.corpus.tables import csv_rows
from tools.corpus.tables.column_names import (
    is_compound_name,
    is_identifier,
    is_known_name,
    is_name_like,
    is_text_title,
    is_unnamed,
)
from tools.corpus.tables.column_profile import ColumnProfile, ValueKind, profile_column, value_kind
from tools.corpus.tables.csv_rows import CsvFormat
from tools.corpus.tables.csv_separators import QUOTES, decode_cells, encode_line, find_odd_formats, quoted_share

DELIMITERS = ",;\t|"
MAX_SAMPLE_ROWS = 400
MAX_RULE_CHARS = 1000
EXACT_BONUS = 0.5  # for rows as wide as their header
MIN_SPLIT_SHARE = 0.5  # of rows with some of the cells that the header names
LITERAL_MALUS = 0.1  # quotes are read as quotes unless that makes more rows wrong
ODD_BONUS = 0.05  # or a malus: for single quotes and separators that few tables have
MIN_QUOTED_SHARE = 0.4  # of the lines with single quotes around a delimiter, if these are sure
MIN_VALID_SHARE = 0.9  # of the rows of a table without a header that have its width

_LINE_END = re.compile(r"[,;|\t]+$")
_RULE = re.compile(r"[-+|=\s:]*(?:--|==)[-+|=\s:]*")  # between the header and the rows, as databases print it


@dataclass(frozen=True, slots=True)
class FormatCandidate:
    """A way to read the sample, with the shares of the rows of its width and of the rows with any delimiter."""

    format: CsvFormat
    rows: list[list[str]]
    valid_share: float
    split_share: float = 0.0
    known_names: int = 0
    score: float = 0.0


def read_candidates(lines: Sequence[str], delimiters: str) -> Iterator[FormatCandidate]:
    """Yields the ways to read the lines, with their scores."""
    for delimiter in delimiters:
        yield from _read_candidates(lines, delimiter)
        for quotes in QUOTES:
            if not (share := quoted_share(lines, delimiter, quotes)):
                continue
            format = CsvFormat(delimiter, quotes=quotes)
            yield from _read_encoded(lines, format, ODD_BONUS if share > MIN_QUOTED_SHARE else -ODD_BONUS)
    for format in find_odd_formats(lines):
        has_delimiter = not set(DELIMITERS).isdisjoint(format.separator)
        yield from _read_encoded(lines, format, ODD_BONUS if has_delimiter else -ODD_BONUS)


def _read_encoded(lines: Sequence[str], format: CsvFormat, bonus: float) -> Iterator[FormatCandidate]:
    """Yields the ways to read lines that are CSV only after `encode_line`."""
    encoded = [encode_line(line, format) for line in lines]
    for candidate in _read_formats(encoded, format.delimiter):
        found = replace(candidate.format, quotes=format.quotes, separator=format.separator)
        rows = [decode_cells(row, found) for row in candidate.rows]
        yield replace(candidate, format=found, rows=rows, score=candidate.score + bonus if candidate.score > 0 else 0)


def is_header_row(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether cells name the columns of the rows after them."""
    filled = [cell for cell in map(str.strip, cells) if cell]
    unlike = [cell for cell in cells if not is_name_like(cell)]
    is_twice = len({cell.casefold() for cell in filled}) < len(filled) and not all(map(is_known_name, filled))
    if not filled or len(unlike) > len(cells) / 3 or is_twice:
        return False
    profiles = profile_columns(rows, len(cells))
    if len(cells) == 1:
        wordy = profiles[0].rows and share_of(value_kind(row[0]) == "text" for row in rows) >= MIN_VALID_SHARE
        is_other = is_identifier(cells[0]) or (len(rows) >= 10 and " " not in cells[0].strip())
        is_other = is_other or cells[0].strip() == "0" or is_text_title(cells[0])
        return is_known_name(cells[0]) or is_compound_name(cells[0]) or bool(wordy and is_other)
    kinds = [_name_kind(cell, profile) for cell, profile in zip(cells, profiles, strict=True)]
    numbers = filled[1:] if len(filled) > 1 and is_unnamed(filled[0]) else filled
    if all(map(str.isdecimal, numbers)):  # as pandas numbers columns without names
        return _counts_up(numbers) and any(profile.kind == "text" for profile in profiles)
    if any(kind in ("link", "list", "html", "flag") for kind in kinds) or kinds.count("number") > 1:
        return False
    if any(map(is_known_name, filled)) and not unlike:
        return True
    mismatches = sum(profile.is_typed and kind == "word" for kind, profile in zip(kinds, profiles, strict=True))
    wordy_columns = [at for at, profile in enumerate(profiles) if profile.kind == "text"]
    if mismatches and not any(kinds[at] == "number" for at, profile in enumerate(profiles) if profile.is_typed):
        return True
    return bool(wordy_columns) and not unlike and all(kinds[at] == "word" for at in wordy_columns)


def _name_kind(cell: str, profile: ColumnProfile) -> ValueKind:
    """Returns the kind of a cell that may be a name: `No` is one over numbers."""
    kind = value_kind(cell)
    return "word" if kind == "flag" and profile.kind != "flag" else kind


def is_rule(line: str) -> bool:
    """Whether a line is a rule between the header and the rows, as databases print it."""
    return len(line) < MAX_RULE_CHARS and bool(_RULE.fullmatch(line))


def common_line_end(lines: Sequence[str]) -> str:
    """Returns the delimiters after each row, if these are not those between its cells."""
    filled = [line for line in lines if line.strip()]
    match = _LINE_END.search(filled[0])
    if not match or share_of(line.endswith(match[0]) for line in filled) < MIN_VALID_SHARE:
        return ""
    rest = filled[0].removesuffix(match[0])
    return match[0] if any(char in rest for char in set(DELIMITERS) - set(match[0])) else ""


def _read_candidates(lines: Sequence[str], delimiter: str) -> Iterator[FormatCandidate]:
    """Yields the ways to read the lines with a delimiter: quotes as quotes, as characters, or around each row."""
    yield from _read_formats(lines, delimiter)
    unwrapped = [_unwrap_line(line, delimiter) for line in lines if line.strip()]
    if len(unwrapped) > 1 and share_of(inner is not None for inner in unwrapped[1:]) > 0.5:
        inner_lines = [inner or line for inner, line in zip(unwrapped, filter(str.strip, lines), strict=True)]
        for candidate in _read_formats(inner_lines, delimiter):
            yield replace(candidate, score=candidate.score - 0.1)


def _unwrap_line(line: str, delimiter: str) -> str | None:
    """Returns the row in a line that is quoted as one cell."""
    cells = csv_rows.parse_cells(line, delimiter)
    is_one = isinstance(cells, list) and len(cells) == 1 and line.startswith('"')
    return cells[0] if isinstance(cells, list) and is_one and delimiter in cells[0] else None


def _read_formats(lines: Sequence[str], delimiter: str) -> Iterator[FormatCandidate]:
    widths = _likely_widths(lines, delimiter)
    for width in widths:
        for format in (CsvFormat(delimiter, width), CsvFormat(delimiter, width, has_literal_quotes=True)):
            if format.has_literal_quotes and not _has_odd_quotes(lines, delimiter):
                continue
            sample = _read_sample(lines, format)
            if format.has_literal_quotes and len(sample.rows) == 1 and sum(map(bool, map(str.strip, lines))) > 1:
                continue  # no row has this width
            yield _rate(sample)


def _likely_widths(lines: Sequence[str], delimiter: str) -> set[int]:
    counts: Counter[int] = Counter()
    for line in filter(str.strip, lines):
        cells = csv_rows.parse_cells(line, delimiter)
        counts[len(cells) if isinstance(cells, list) else line.count(delimiter) + 1] += 1
    header = csv_rows.parse_cells(next(filter(str.strip, lines), ""), delimiter)
    widths = {width for width, _ in counts.most_common(2)} | {len(header) if isinstance(header, list) else 1}
    return {width for width in widths if width > 1}


def _has_odd_quotes(lines: Sequence[str], delimiter: str) -> bool:
    """Whether more pieces begin with a quote that does not end them than with one that does."""
    pieces = [piece for line in lines for piece in line.split(delimiter) if piece.startswith('"')]
    return sum(csv_rows.unquote(piece) == piece for piece in pieces) > len(pieces) / 2


def _read_sample(lines: Sequence[str], format: CsvFormat) -> FormatCandidate:
    delimiter = format.delimiter
    pieces = lines[0].split(delimiter)[1:]
    format = replace(format, has_blanks=bool(pieces) and all(piece.startswith(" ") for piece in pieces))
    filled = [line for line in lines if line.strip()]
    numbered = list(enumerate(filled[:1] + filled[1 + any(map(is_rule, filled[1:2])) :], start=1))
    if not numbered:
        return FormatCandidate(format, [[]], 0.0)
    if format.has_literal_quotes:
        rows = [line.split(delimiter) for _, line in numbered]
        valid = [row for row in rows if len(row) == format.width]
        valid = valid[rows[0] in valid :]
        return FormatCandidate(format, [rows[0], *valid], _share_after_header(valid, rows) - LITERAL_MALUS)
    as_csv = _read_quoted(numbered, format, joins_rows=True)
    if as_csv.valid_share == 1 or format.width < 3:
        return as_csv
    by_line = _read_quoted(numbered, format, joins_rows=False)
    return by_line if by_line.valid_share > as_csv.valid_share else as_csv


def _read_quoted(numbered: Sequence[tuple[int, str]], format: CsvFormat, joins_rows: bool) -> FormatCandidate:
    """Reads rows with quotes; without `joins_rows` an open quote ends before a line that alone has all cells."""
    parsed = list(
        csv_rows.iter_rows(
            numbered, format.width, lambda cells: not joins_rows, format.delimiter, has_blanks=format.has_blanks
        )
    )
    valid = [row.cells for row in parsed[1:] if len(row.cells) == format.width]
    split = [row.cells for row in parsed[1:] if 1 < len(row.cells) <= format.width]
    shares = _share_after_header(valid, parsed), _share_after_header(split, parsed)
    return FormatCandidate(format, [parsed[0].cells, *valid], *shares)


def _share_after_header(some: Sequence[object], rows: Sequence[object]) -> float:
    return len(some) / max(1, len(rows) - 1)


def _rate(candidate: FormatCandidate) -> FormatCandidate:
    """Returns the candidate with its score: above 0 if it is a table, the higher the surer."""
    header, *rows = candidate.rows
    width, delimiter = candidate.format.width, candidate.format.delimiter
    header = list(split_glued_header(header, width)[0] or header)
    known = sum(map(is_known_name, header)) if all(map(is_name_like, header)) else 0
    if known and width - 1 <= len(header) <= width:  # rows may leave out cells at their end, or names of rows
        is_table = len(header) > 1 and (candidate.valid_share >= 0.3 if known > 1 else candidate.valid_share >= 0.5)
        is_table = is_table and not (candidate.format.has_blanks and known < 2)
        score = known + candidate.valid_share + (EXACT_BONUS if len(header) == width else 0)
        if is_table or not rows:
            return replace(candidate, known_names=known, score=score)
    is_named = len(header) == width > 2 and not candidate.format.has_blanks and all(map(str.strip, header))
    if is_named and all(map(is_name_like, header)) and candidate.split_share >= MIN_SPLIT_SHARE:
        return replace(candidate, score=MIN_SPLIT_SHARE)  # rows leave out cells
    everything = [row for row in candidate.rows if len(row) == width]
    if not rows and sum(value_kind(cell) in ("number", "link") for cell in header) > 1 and len(header) == width:
        return replace(candidate, score=MIN_VALID_SHARE)  # a single row
    if len(everything) < 2 or candidate.valid_share < MIN_VALID_SHARE or len(header) != width:
        return candidate
    profiles = profile_columns(everything[1:], width)
    is_spaced = delimiter in ",;" and share_of(row[1][:1] in (" ", "") for row in everything) > 0.5
    is_typed = any(profile.is_typed for profile in profiles)
    is_padded = all(not cell.strip() for row in everything for cell in row[1:])
    is_data = is_typed and len(everything) > 2 and not any(profile.kind == "text" for profile in profiles)
    if (is_spaced and not (is_padded or is_data)) or not (
        is_typed
        or is_padded
        or len(everything) > 2
        or delimiter not in ",;"
        or any(profile.kind == "list" for profile in profiles)
        or _are_tight(everything)
    ):
        return candidate
    return replace(candidate, score=candidate.valid_share)


def _are_tight(rows: Sequence[Sequence[str]]) -> bool:
    """Whether no delimiter has a blank after it, and no cell ends as a sentence does."""
    return all(cell and not cell[0].isspace() and cell[-1] not in ".!?" for row in rows for cell in row)


def split_glued_header(cells: Sequence[str], width: int) -> tuple[tuple[str, ...], str]:
    """Returns the names of a header that is joined to the first row, and the last name; nothing for another row."""
    if len(cells) != 2 * width - 1 or width < 2 or not all(map(is_name_like, cells[: width - 1])):
        return (), ""
    joined = cells[width - 1]
    names = [name for end in range(len(joined) - 1, 0, -1) if is_known_name(name := joined[:end])]
    is_header = names and sum(map(is_known_name, cells[: width - 1])) >= (width - 1) / 2
    return ((*cells[: width - 1], names[0]), names[0]) if is_header else ((), "")


def profile_columns(rows: Sequence[Sequence[str]], width: int) -> tuple[ColumnProfile, ...]:
    sample = [row for row in rows if len(row) == width][:MAX_SAMPLE_ROWS]
    return tuple(profile_column([row[at] for row in sample]) for at in range(width))


def _counts_up(cells: Sequence[str]) -> bool:
    return list(map(int, cells)) in (list(range(len(cells))), list(range(1, len(cells) + 1)))


def share_of(flags: Iterable[bool]) -> float:
    values = list(flags)
    return sum(values) / max(1, len(values))
