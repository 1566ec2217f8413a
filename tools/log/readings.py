"""The text of a sheet as a reader may find it: each character with the strokes that made it, for redaction. Pure.

One sheet has several readings. A word may lie over another, be struck in two passes, go on in the next line, or have
letters in it that were rubbed out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from drivers.paper.paper import Paper
from drivers.profile import Profile

_UNDERLINE = "_"
_DELETION = "\\"  # rubbed-out characters stand between two of these, the last one first
_NEIGHBOURS = 2  # lines around one with several layers, into which a word may go on


class ReadChar(NamedTuple):
    """A character, and the numbers of the strokes that made it; none for a line's end."""

    char: str
    strokes: tuple[int, ...] = ()


Reading = list[ReadChar]


class _PrintedGlyph(NamedTuple):
    column: int
    glyph: str
    stroke: int


class _TracedPaper(Paper):
    """A sheet that knows which stroke made each glyph."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(
            profile.columns,
            auto_return=profile.auto_return,
            return_feeds=profile.return_feeds,
            feed_returns=profile.feed_returns,
        )
        self.printed: list[list[_PrintedGlyph]] = [[]]  # line by line, in the order of the strokes
        self._stroke = 0

    def feed_traced(self, codes: Sequence[int]) -> None:
        for self._stroke, code in enumerate(codes):
            self.feed(bytes((code,)))

    def strike(self, glyph: str, column: int) -> None:
        super().strike(glyph, column)
        self.printed[-1].append(_PrintedGlyph(min(column, self.columns - 1), glyph, self._stroke))

    def line_feed(self) -> None:
        super().line_feed()
        self.printed.append([])


def read_sheet(codes: Sequence[int], profile: Profile) -> Iterator[Reading]:
    """Yields all readings of a sheet. A word that a line ends in the middle of is whole in one of them."""
    paper = _TracedPaper(profile)
    paper.feed_traced(codes)
    layers = [list(_read_layers(line)) for line in paper.printed]
    for depth in range(max(map(len, layers))):
        for lines in _group_lines(layers, depth):
            for reading in _join_all(lines, profile.usable_columns):
                yield reading
                if any(read.char == _DELETION for read in reading):
                    yield apply_deletions(reading)


def _group_lines(layers: Sequence[Sequence[Reading]], depth: int) -> Iterator[list[Reading]]:
    """Yields the lines at this depth: all of them first, then groups near a line that has so many layers."""
    if depth == 0:
        yield [line[0] for line in layers]
        return
    group: list[Reading] = []
    wanted = {
        near
        for number, line in enumerate(layers)
        if len(line) > depth
        for near in range(number - _NEIGHBOURS, number + _NEIGHBOURS + 1)
    }
    for number, line in enumerate(layers):
        if number in wanted:
            group.append(line[min(depth, len(line) - 1)])
        elif group:
            yield group
            group = []
    if group:
        yield group


def _read_layers(line: Sequence[_PrintedGlyph]) -> Iterator[Reading]:
    """Yields a line as it looks, then each layer of its overstruck cells, then each pass of the carriage."""
    cells: dict[int, list[_PrintedGlyph]] = {}
    for printed in line:
        cells.setdefault(printed.column, []).append(printed)
    inked = {column: [printed for printed in cell if printed.glyph != " "] for column, cell in cells.items()}
    yield _read_cells(cells, inked, lambda ink: next((p for p in reversed(ink) if p.glyph != _UNDERLINE), ink[-1]))
    depth = max(map(len, inked.values()), default=0)
    if depth > 1:
        for layer in range(depth):
            yield _read_cells(cells, inked, lambda ink, layer=layer: ink[min(layer, len(ink) - 1)])  # type: ignore[misc]
        for carriage_pass in _split_passes(line):
            yield [ReadChar(printed.glyph, (printed.stroke,)) for printed in carriage_pass]


def _read_cells(
    cells: dict[int, list[_PrintedGlyph]],
    inked: dict[int, list[_PrintedGlyph]],
    choose: Callable[[list[_PrintedGlyph]], _PrintedGlyph],
) -> Reading:
    """Returns a line of cells; of an overstruck one the chosen glyph, with all strokes that are no underline."""
    reading: Reading = []
    for column in range(max(cells, default=-1) + 1):
        ink = inked.get(column, [])
        if ink:
            chosen = choose(ink)
            strokes = (p.stroke for p in ink if p is chosen or p.glyph != _UNDERLINE)
            reading.append(ReadChar(chosen.glyph, tuple(strokes)))
        else:
            reading.append(ReadChar(" ", tuple(printed.stroke for printed in cells.get(column, ()))))
    return reading


def _split_passes(line: Sequence[_PrintedGlyph]) -> Iterator[list[_PrintedGlyph]]:
    """Yields the glyphs between two returns of the carriage."""
    carriage_pass: list[_PrintedGlyph] = []
    for printed in line:
        if carriage_pass and printed.column < carriage_pass[-1].column:
            yield carriage_pass
            carriage_pass = []
        carriage_pass.append(printed)
    yield carriage_pass


def _join_all(lines: Sequence[Reading], columns: int) -> Iterator[Reading]:
    """Yields the lines as they are; then with wrapped lines as one. A full line may end in the middle of a word."""
    yield [read for line in lines for read in (*line, ReadChar("\n"))]
    yield _join_wrapped(lines, columns, " ")
    if any(len(line) >= columns for line in lines):
        yield _join_wrapped(lines, columns, "")


def _join_wrapped(lines: Sequence[Reading], columns: int, full_line_end: str) -> Reading:
    """Returns the lines with a blank for an end that the margin made. A blank after a blank is left out."""
    joined: Reading = []
    for line, following in zip(lines, [*lines[1:], []], strict=True):
        joined += line
        word = len(_text_of(following).lstrip().partition(" ")[0])
        if word and len(line) >= columns:
            joined += [ReadChar(char) for char in full_line_end]
        else:
            text = _text_of(line).rstrip()
            joined.append(ReadChar(" " if text and word and len(text) + 1 + word > columns else "\n"))
    return [read for at, read in enumerate(joined) if read.char != " " or not at or joined[at - 1].char != " "]


def _text_of(reading: Reading) -> str:
    return "".join(read.char for read in reading)


def apply_deletions(reading: Reading) -> Reading:
    """Returns the reading as an editor has it: without characters that were rubbed out, and without backslashes.

    A deletion's strokes belong to the character before it, so that a word is redacted with what was rubbed out in it.
    """
    edited: Reading = []
    at = 0
    while at < len(reading):
        read = reading[at]
        if read.char != _DELETION:
            edited.append(read)
        elif count := _deleted_count(edited, reading, at):
            removed = edited[len(edited) - count :] + reading[at : at + count + 2]
            del edited[len(edited) - count :]
            if edited:
                strokes = tuple(stroke for each in removed for stroke in each.strokes)
                edited[-1] = ReadChar(edited[-1].char, edited[-1].strokes + strokes)
            at += count + 1
        at += 1
    return edited


def _deleted_count(edited: Reading, reading: Reading, at: int) -> int:
    """Returns how many characters the deletion at this backslash took back; 0 if it is none."""
    count = 0
    while at + count + 1 < len(reading) and reading[at + count + 1].char != _DELETION:
        if count >= len(edited) or edited[-1 - count].char != reading[at + count + 1].char:
            return 0
        count += 1
    return count if at + count + 1 < len(reading) else 0
