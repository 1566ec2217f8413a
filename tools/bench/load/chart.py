"""The chart of a load test: buffered characters over time, a line for each client. Pure: it yields lines to draw.

A stalled printer has an empty buffer, so its line is on the zero axis; the stall is drawn in red.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers.paper import glyphs
from tools.bench.load.figures import ClientRecord, TimeSpan
from tools.bench.load.print_buffer import Delivery

WIDTH, HEIGHT = 1600, 900  # dots
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 60, 70  # margins
LETTER_WIDTH = 12  # dots
INK, FAINT, STALLED = (34, 25, 51), (196, 188, 170), (200, 30, 30)
HUES = ((31, 58, 95), (27, 94, 77), (109, 76, 24), (90, 42, 100), (70, 70, 70))
TICKS = 8  # on an axis, about
MIN_HEIGHT_CHARS = 20.0  # the top of the axis, if no buffer had more
FEW_CLIENTS = 16  # the lines of up to this number do not hide each other

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line through points, in dots from the upper left corner; the opacity is from 0 to 1."""

    points: tuple[Point, ...]
    colour: tuple[int, int, int]
    width: float = 1.0
    opacity: float = 1.0


def chart_lines(records: Sequence[ClientRecord], span: TimeSpan, title: str) -> Iterator[ChartLine]:
    """Yields all lines of the chart, the background first."""
    buffers = [record.print_buffer for record in records]
    deliveries = [each for buffer in buffers for each in buffer.deliveries if span.contains(each.delivered_at)]
    area = _PlotArea(span, max([MIN_HEIGHT_CHARS, *(each.chars_left(each.delivered_at) for each in deliveries)]))
    yield from _axis_lines(area, title)
    width, opacity = (1.0, 1.0) if len(records) <= FEW_CLIENTS else (0.5, 0.7)
    for number, buffer in enumerate(buffers):
        for points in area.split_curves(buffer.deliveries):
            yield ChartLine(points, HUES[number % len(HUES)], width, opacity)
    for buffer in buffers:
        for stall in buffer.stalls:
            if span.contains(stall.ended_at):
                yield ChartLine((area.to_dots(stall.started_at, 0), area.to_dots(stall.ended_at, 0)), STALLED, 5.0)


class _PlotArea:
    """Converts seconds and characters to dots."""

    def __init__(self, span: TimeSpan, max_chars: float) -> None:
        self.span, self.max_chars = span, max_chars

    def to_dots(self, moment: float, characters: float) -> Point:
        across = (moment - self.span.started_at) / self.span.seconds
        up = characters / self.max_chars
        x = LEFT + min(max(across, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - min(up, 1.0) * (HEIGHT - TOP - BOTTOM)

    def split_curves(self, deliveries: Iterator[Delivery]) -> Iterator[tuple[Point, ...]]:
        """Yields curves that fall while the printer prints and rise with each delivery; a new one after a rest."""
        points: list[Point] = []
        previous: Delivery | None = None
        for delivery in deliveries:
            moment = delivery.delivered_at
            if self.span.contains(moment):
                if previous is not None:
                    points.append(self._drained_point(previous, moment))
                    if not previous.chars_left(moment):
                        yield tuple(points)
                        points = []
                points.append(self.to_dots(moment, delivery.chars_left(moment)))
                previous = delivery
        if previous is not None:
            yield (*points, self._drained_point(previous, self.span.ended_at))

    def _drained_point(self, delivery: Delivery, until: float) -> Point:
        """Returns the point where the buffer is empty after a delivery, or the point at `until` if that is earlier."""
        end = min(delivery.printed_until, until)
        return self.to_dots(end, delivery.chars_left(end))


def _axis_lines(area: _PlotArea, title: str) -> Iterator[ChartLine]:
    span = area.span
    for value in _tick_values(area.max_chars):
        left, y = area.to_dots(span.started_at, value)
        yield ChartLine(((left, y), (WIDTH - RIGHT, y)), FAINT)
        text = f"{value:g}"
        yield from _label_lines(text, left - (len(text) + 1) * LETTER_WIDTH, y - LETTER_WIDTH)
    for value in _tick_values(span.seconds):
        x, y = area.to_dots(span.started_at + value, 0)
        yield ChartLine(((x, y), (x, y + 6)), INK)
        text = f"{value:g}"
        yield from _label_lines(text, x - len(text) * LETTER_WIDTH / 2, y + 12)
    corner, right = area.to_dots(span.started_at, 0), area.to_dots(span.ended_at, 0)
    yield ChartLine((area.to_dots(span.started_at, area.max_chars), corner, right), INK, 1.5)
    yield from _label_lines(title, LEFT, TOP / 2 - LETTER_WIDTH)
    unit = "SECONDS"
    yield from _label_lines(unit, WIDTH - RIGHT - len(unit) * LETTER_WIDTH, HEIGHT - 30)


def _tick_values(maximum: float) -> list[float]:
    """Returns round numbers from 0 to the maximum."""
    power = 10.0 ** (len(str(max(1, int(maximum / TICKS)))) - 1)
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor * TICKS >= maximum)
    return [step * number for number in range(int(maximum / step) + 1)]


def _label_lines(text: str, x: float, y: float) -> Iterator[ChartLine]:
    """Yields the strokes of a text in the Teletype's own letters."""
    scale = LETTER_WIDTH / glyphs.WIDTH
    for number, letter in enumerate(text.upper()):
        for stroke in glyphs.pen_strokes(letter):
            points = tuple((x + number * LETTER_WIDTH + across * scale, y + along * scale) for across, along in stroke)
            yield ChartLine(points, INK, 1.4)
