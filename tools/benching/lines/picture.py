"""Characters in hand over time, a thin line for each wheel, as strokes to be drawn. Pure.

Knows no ink and no file. Below the zero line nothing can be: a wheel that stands still lies on it, in red.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers import glyphs
from tools.benching.lines.figures import Line, Span
from tools.benching.lines.wheel import Handed

WIDTH, HEIGHT = 1600, 900  # dots
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 60, 70
LETTER = 12  # dots that a letter of a label is wide
INK, FAINT, STALLED = (34, 25, 51), (196, 188, 170), (200, 30, 30)
HUES = ((31, 58, 95), (27, 94, 77), (109, 76, 24), (90, 42, 100), (70, 70, 70))
MARKS = 8  # on an axis, about
LEAST = 20.0  # characters that the paper's height is, if no wheel had more
FEW = 16  # lines that do not hide each other

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line through points, in dots from the upper left corner; `dark` from 0 to 1."""

    points: tuple[Point, ...]
    colour: tuple[int, int, int]
    breadth: float = 1.0
    dark: float = 1.0


def strokes(lines: Sequence[Line], span: Span, title: str) -> Iterator[Stroke]:
    """The whole picture, what lies below first."""
    peaks = (one.left(one.at) for line in lines for one in line.wheel.handed if span.has(one.at))
    sheet = _Sheet(span, max(LEAST, *peaks, LEAST))
    yield from _axes(sheet, title)
    few = len(lines) <= FEW
    for number, line in enumerate(lines):
        for points in sheet.curve(line.wheel.handed):
            yield Stroke(points, HUES[number % len(HUES)], 1.0 if few else 0.5, 1.0 if few else 0.7)
    for line in lines:
        for stall in line.wheel.stalls:
            if span.has(stall.at + stall.seconds):
                ends = (sheet.at(stall.at, 0), sheet.at(stall.at + stall.seconds, 0))
                yield Stroke(ends, STALLED, 5.0)


class _Sheet:
    """Seconds and characters -> dots."""

    def __init__(self, span: Span, top: float) -> None:
        self.span, self.top = span, top

    def at(self, moment: float, characters: float) -> Point:
        across = (moment - self.span.begun) / self.span.seconds
        up = characters / self.top
        x = LEFT + min(max(across, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - min(up, 1.0) * (HEIGHT - TOP - BOTTOM)

    def curve(self, handed: Iterator[Handed]) -> Iterator[tuple[Point, ...]]:
        """Down as they are struck, up when more come; parted where an answer is over and the wheel is at rest."""
        points: list[Point] = []
        before: Handed | None = None
        for one in handed:
            if self.span.has(one.at):
                if before is not None:
                    points += self._down(before, one.at)
                if before is not None and not before.left(one.at):
                    yield tuple(points)
                    points = []
                points.append(self.at(one.at, one.left(one.at)))
                before = one
        if before is not None:
            yield tuple(points + self._down(before, self.span.ended))

    def _down(self, one: Handed, to: float) -> list[Point]:
        end = min(one.until, to)
        return [self.at(end, one.left(end))]


def _axes(sheet: _Sheet, title: str) -> Iterator[Stroke]:
    span = sheet.span
    for mark in _marks(sheet.top):
        left, y = sheet.at(span.begun, mark)
        yield Stroke(((left, y), (WIDTH - RIGHT, y)), FAINT)
        text = f"{mark:g}"
        yield from _label(text, left - (len(text) + 1) * LETTER, y - LETTER)
    for mark in _marks(span.seconds):
        x, y = sheet.at(span.begun + mark, 0)
        yield Stroke(((x, y), (x, y + 6)), INK)
        text = f"{mark:g}"
        yield from _label(text, x - len(text) * LETTER / 2, y + 12)
    corner, right = sheet.at(span.begun, 0), sheet.at(span.ended, 0)
    yield Stroke((sheet.at(span.begun, sheet.top), corner, right), INK, 1.5)
    yield from _label(title, LEFT, TOP / 2 - LETTER)
    says = "SECONDS"
    yield from _label(says, WIDTH - RIGHT - len(says) * LETTER, HEIGHT - 30)


def _marks(most: float) -> list[float]:
    """Round numbers from 0 on."""
    power = 10.0 ** (len(str(max(1, int(most / MARKS)))) - 1)
    step = next(power * by for by in (1, 2, 5, 10, 20) if power * by * MARKS >= most)
    return [step * number for number in range(int(most / step) + 1)]


def _label(text: str, x: float, y: float) -> Iterator[Stroke]:
    """In the machine's own letters."""
    scale = LETTER / glyphs.WIDTH
    for number, letter in enumerate(text.upper()):
        for stroke in glyphs.strokes_of(letter):
            points = tuple((x + number * LETTER + across * scale, y + along * scale) for across, along in stroke)
            yield Stroke(points, INK, 1.4)
