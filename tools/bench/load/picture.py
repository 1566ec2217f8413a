"""Characters in hand over time, a thin line for each wheel, as strokes to be drawn. Pure.

Knows no ink and no file. Below the zero line nothing can be: a wheel that stands still lies on it, in red.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers.paper import glyphs
from tools.bench.load.figures import ClientRecord, TimeSpan
from tools.bench.load.print_buffer import Delivery

WIDTH, HEIGHT = 1600, 900  # dots
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 60, 70
LETTER_WIDTH = 12  # dots that a letter of a label is wide
INK, FAINT, STALLED = (34, 25, 51), (196, 188, 170), (200, 30, 30)
HUES = ((31, 58, 95), (27, 94, 77), (109, 76, 24), (90, 42, 100), (70, 70, 70))
TICKS = 8  # on an axis, about
MIN_HEIGHT_CHARS = 20.0  # characters that the paper's height is, if no wheel had more
FEW_CLIENTS = 16  # lines that do not hide each other

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line through points, in dots from the upper left corner; `dark` from 0 to 1."""

    points: tuple[Point, ...]
    colour: tuple[int, int, int]
    width: float = 1.0
    opacity: float = 1.0


def chart_lines(records: Sequence[ClientRecord], span: TimeSpan, title: str) -> Iterator[ChartLine]:
    """The whole picture, what lies below first."""
    peaks = (
        one.chars_left(one.delivered_at)
        for line in records
        for one in line.print_buffer.deliveries
        if span.contains(one.delivered_at)
    )
    sheet = _PlotArea(span, max(MIN_HEIGHT_CHARS, *peaks, MIN_HEIGHT_CHARS))
    yield from _axis_lines(sheet, title)
    few = len(records) <= FEW_CLIENTS
    for number, line in enumerate(records):
        for points in sheet.split_curves(line.print_buffer.deliveries):
            yield ChartLine(points, HUES[number % len(HUES)], 1.0 if few else 0.5, 1.0 if few else 0.7)
    for line in records:
        for stall in line.print_buffer.stalls:
            if span.contains(stall.started_at + stall.seconds):
                ends = (sheet.to_dots(stall.started_at, 0), sheet.to_dots(stall.started_at + stall.seconds, 0))
                yield ChartLine(ends, STALLED, 5.0)


class _PlotArea:
    """Seconds and characters -> dots."""

    def __init__(self, span: TimeSpan, max_chars: float) -> None:
        self.span, self.max_chars = span, max_chars

    def to_dots(self, moment: float, characters: float) -> Point:
        across = (moment - self.span.started_at) / self.span.seconds
        up = characters / self.max_chars
        x = LEFT + min(max(across, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - min(up, 1.0) * (HEIGHT - TOP - BOTTOM)

    def split_curves(self, deliveries: Iterator[Delivery]) -> Iterator[tuple[Point, ...]]:
        """Down as they are struck, up when more come; parted where an answer is over and the wheel is at rest."""
        points: list[Point] = []
        before: Delivery | None = None
        for one in deliveries:
            if self.span.contains(one.delivered_at):
                if before is not None:
                    points += self._drain_points(before, one.delivered_at)
                if before is not None and not before.chars_left(one.delivered_at):
                    yield tuple(points)
                    points = []
                points.append(self.to_dots(one.delivered_at, one.chars_left(one.delivered_at)))
                before = one
        if before is not None:
            yield tuple(points + self._drain_points(before, self.span.ended_at))

    def _drain_points(self, delivery: Delivery, until: float) -> list[Point]:
        end = min(delivery.printed_until, until)
        return [self.to_dots(end, delivery.chars_left(end))]


def _axis_lines(area: _PlotArea, title: str) -> Iterator[ChartLine]:
    span = area.span
    for mark in _tick_values(area.max_chars):
        left, y = area.to_dots(span.started_at, mark)
        yield ChartLine(((left, y), (WIDTH - RIGHT, y)), FAINT)
        text = f"{mark:g}"
        yield from _label_lines(text, left - (len(text) + 1) * LETTER_WIDTH, y - LETTER_WIDTH)
    for mark in _tick_values(span.seconds):
        x, y = area.to_dots(span.started_at + mark, 0)
        yield ChartLine(((x, y), (x, y + 6)), INK)
        text = f"{mark:g}"
        yield from _label_lines(text, x - len(text) * LETTER_WIDTH / 2, y + 12)
    corner, right = area.to_dots(span.started_at, 0), area.to_dots(span.ended_at, 0)
    yield ChartLine((area.to_dots(span.started_at, area.max_chars), corner, right), INK, 1.5)
    yield from _label_lines(title, LEFT, TOP / 2 - LETTER_WIDTH)
    says = "SECONDS"
    yield from _label_lines(says, WIDTH - RIGHT - len(says) * LETTER_WIDTH, HEIGHT - 30)


def _tick_values(maximum: float) -> list[float]:
    """Round numbers from 0 on."""
    power = 10.0 ** (len(str(max(1, int(maximum / TICKS)))) - 1)
    step = next(power * by for by in (1, 2, 5, 10, 20) if power * by * TICKS >= maximum)
    return [step * number for number in range(int(maximum / step) + 1)]


def _label_lines(text: str, x: float, y: float) -> Iterator[ChartLine]:
    """In the machine's own letters."""
    scale = LETTER_WIDTH / glyphs.WIDTH
    for number, letter in enumerate(text.upper()):
        for stroke in glyphs.pen_strokes(letter):
            points = tuple((x + number * LETTER_WIDTH + across * scale, y + along * scale) for across, along in stroke)
            yield ChartLine(points, INK, 1.4)
