"""A sheet as PNG: cream roll paper, and the uneven ink of a cloth ribbon.

The only file that knows Pillow. Knows cells and ink; no input text, no files. The same seed gives the same picture, and
a sheet that grows keeps its picture.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from drivers.errors import DriverError
from drivers.paper import glyphs
from drivers.profile import COLUMNS, TypeWheel, pitch_of

PAPER_RGB, INK_RGB = (246, 239, 221), (12, 9, 16)  # red, green, blue; the ribbon is black with a little violet in it
PAPER_WIDTH_IN, MARGIN_IN = 8.5, 0.5  # width of the roll; blank margin above the first line and below the last
LINES_PER_IN = 6
MIN_DPI, MAX_DPI = 30, 600  # below, letters are blots; above, a picture has hundreds of megabytes
MAX_HEIGHT_PX = 32_000  # most viewers end at 32767

# Points from the upper left corner, the ink, the width in dots, and the darkness from 0 to 1.
Polyline = tuple[Sequence[tuple[float, float]], tuple[int, int, int], float, float]

_SUPERSAMPLING, _CHART_SUPERSAMPLING = 4, 2  # sub-dots per dot of a sheet and of a chart in each direction, averaged
_PADDING = 2  # dots around a glyph's box, for ink beside it
_DARKNESS_RANGE = (0.80, 0.98)  # share of the full ink that the ribbon leaves in one strike
_DARKNESS_STEP = 12  # 255ths of darkness between one strike and the next
_RIBBON_TILE = 256  # side of the tile of ribbon, in dots


def draw_png(
    lines: Sequence[Sequence[str]],
    *,
    columns: int = COLUMNS,
    wheel: TypeWheel = "1968",
    dpi: int = 150,
    slashed_zero: bool = False,
    seed: int = 33,
) -> bytes:
    """Returns the PNG of a sheet whose cells hold the glyphs struck there. Raises DriverError beyond `max_lines`."""
    limit = max_lines(dpi)
    if len(lines) > limit:
        message = f"{len(lines)} lines are too many for one picture: cut the sheet, a picture takes {limit}"
        raise DriverError(message, "damaged")
    return next(draw_pages(lines, columns=columns, wheel=wheel, dpi=dpi, slashed_zero=slashed_zero, seed=seed))


def draw_pages(
    lines: Sequence[Sequence[str]],
    *,
    lines_per_page: int | None = None,
    columns: int = COLUMNS,
    wheel: TypeWheel = "1968",
    dpi: int = 150,
    slashed_zero: bool = False,
    seed: int = 33,
) -> Iterator[bytes]:
    """Yields PNGs of `lines_per_page` lines each, the last one shorter. A sheet without lines gives one PNG too."""
    limit = max_lines(dpi)
    if lines_per_page is not None and lines_per_page < 1:
        raise DriverError(f"{lines_per_page} lines to a page: give at least 1", "damaged")
    lines_per_page = min(lines_per_page or limit, limit)
    renderer = _InkRenderer(columns, _GlyphMasks(wheel, dpi, pitch_of(columns), slashed_zero), random.Random(seed))
    for first in range(0, max(len(lines), 1), lines_per_page):
        yield renderer.page(lines[first : first + lines_per_page])


def max_lines(dpi: int = 150) -> int:
    """Returns the largest number of lines of one picture."""
    if not MIN_DPI <= dpi <= MAX_DPI:
        raise DriverError(f"{dpi} dots to the inch: give {MIN_DPI} to {MAX_DPI}", "damaged")
    return (MAX_HEIGHT_PX - 2 * round(MARGIN_IN * dpi)) // round(dpi / LINES_PER_IN)


def draw_chart(width: int, height: int, lines: Iterable[Polyline]) -> bytes:
    """Returns the PNG of a chart on the same paper: polylines with width and darkness."""
    image = Image.new("RGB", (width * _CHART_SUPERSAMPLING, height * _CHART_SUPERSAMPLING), PAPER_RGB)
    pen = ImageDraw.Draw(image)
    for points, ink, breadth, dark in lines:
        shade = tuple(round(paper + (colour - paper) * dark) for paper, colour in zip(PAPER_RGB, ink, strict=True))
        dots = [(x * _CHART_SUPERSAMPLING, y * _CHART_SUPERSAMPLING) for x, y in points]
        pen.line(dots, fill=shade, width=max(1, round(breadth * _CHART_SUPERSAMPLING)))
    out = io.BytesIO()
    image.reduce(_CHART_SUPERSAMPLING).save(out, "PNG")
    return out.getvalue()


class _GlyphMasks:
    """The type wheel at one size: a mask for each glyph, white where it touches the ribbon."""

    def __init__(self, wheel: TypeWheel, dpi: int, pitch: int, slashed_zero: bool) -> None:
        self.dpi, self.pitch = dpi, pitch
        self.width, self.height = round(dpi / pitch), round(dpi / LINES_PER_IN)
        self._wheel: TypeWheel = wheel
        self._slashed_zero = slashed_zero
        self._masks: dict[tuple[str, int, int], Image.Image] = {}

    def mask(self, glyph: str, dx: int, dy: int) -> Image.Image:
        """Returns the glyph moved by quarters of a dot, with `_PADDING` dots around its box."""
        key = (glyph, dx, dy)
        if key not in self._masks:
            self._masks[key] = self._draw_mask(glyph, dx, dy)
        return self._masks[key]

    def _draw_mask(self, glyph: str, dx: int, dy: int) -> Image.Image:
        size = ((self.width + 2 * _PADDING) * _SUPERSAMPLING, (self.height + 2 * _PADDING) * _SUPERSAMPLING)
        image = Image.new("L", size)
        pen = ImageDraw.Draw(image)
        x_scale = self.dpi * _SUPERSAMPLING / (glyphs.WIDTH * self.pitch)
        y_scale = self.dpi * _SUPERSAMPLING / (glyphs.HEIGHT * LINES_PER_IN)
        margin, radius = _PADDING * _SUPERSAMPLING, glyphs.PEN_WIDTH * y_scale / 2
        for stroke in glyphs.pen_strokes(glyph, self._wheel, slashed_zero=self._slashed_zero):
            points = [(x * x_scale + margin + dx, y * y_scale + margin + dy) for x, y in stroke]
            pen.line(points, fill=255, width=max(1, round(2 * radius)))
            for x, y in points:
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        return image.reduce(_SUPERSAMPLING)


class _InkRenderer:
    """Puts ink on paper. A page is stored as reflected light: 255 is bare paper, and ink upon ink multiplies."""

    def __init__(self, columns: int, masks: _GlyphMasks, rng: random.Random) -> None:
        self._columns, self._masks, self._rng = columns, masks, rng
        self._ribbon = _ribbon_tile(rng)
        # Each glyph sits a quarter of a dot high or low on its wheel, always the same.
        self._baseline_shift = {chr(code): rng.choice((-1, 0, 0, 0, 1)) for code in range(0x20, 0x60)}
        self._min_ink, self._max_ink = (round(255 * share) for share in _DARKNESS_RANGE)
        shades = range(self._min_ink, self._max_ink + 1)
        self._light_tables = {dark: [255 - level * dark // 255 for level in range(256)] for dark in shades}
        self._strike_force = (self._min_ink + self._max_ink) / 2  # force of the hammer, which wanders

    def page(self, lines: Sequence[Sequence[str]]) -> bytes:
        """Returns one PNG, as high as its lines."""
        dpi, height = self._masks.dpi, self._masks.height
        top = round(MARGIN_IN * dpi)
        text_width = round(self._columns * dpi / self._masks.pitch)
        width = max(round(PAPER_WIDTH_IN * dpi), text_width + 2 * top)
        light = Image.new("L", (width, 2 * top + max(len(lines), 1) * height), 255)
        left = (width - text_width) // 2
        for row, line in enumerate(lines):
            for column, cell in enumerate(line):
                x = left + round(column * dpi / self._masks.pitch)
                for glyph in cell.replace(" ", ""):
                    self._strike_glyph(light, glyph, x - _PADDING, top + row * height - _PADDING)
        return _encode_png(light, dpi)

    def _strike_glyph(self, light: Image.Image, glyph: str, x: int, y: int) -> None:
        rng = self._rng
        dx, dy = rng.choice((-1, 0, 0, 1)), self._baseline_shift.get(glyph, 0) + rng.choice((0, 0, 0, 1))
        mask = self._masks.mask(glyph, dx, dy)
        force = max(self._strike_force + rng.uniform(-5, 5), self._min_ink + _DARKNESS_STEP)
        self._strike_force = min(force, self._max_ink - _DARKNESS_STEP)
        dark = round(self._strike_force + rng.uniform(-_DARKNESS_STEP, _DARKNESS_STEP))
        at_x, at_y = rng.randrange(_RIBBON_TILE - mask.width), rng.randrange(_RIBBON_TILE - mask.height)
        cloth = self._ribbon.crop((at_x, at_y, at_x + mask.width, at_y + mask.height))
        reflected = ImageChops.multiply(mask, cloth).point(self._light_tables[dark])
        box = (x, y, x + mask.width, y + mask.height)
        light.paste(ImageChops.multiply(light.crop(box), reflected), box)


def _ribbon_tile(rng: random.Random) -> Image.Image:
    """Returns a tile of inked ribbon: the grain of the weave, and worn patches."""
    grain = Image.frombytes("L", (_RIBBON_TILE, _RIBBON_TILE), rng.randbytes(_RIBBON_TILE * _RIBBON_TILE))
    grain = grain.filter(ImageFilter.GaussianBlur(0.6)).point([min(255, 185 + level // 2) for level in range(256)])
    coarse = _RIBBON_TILE // 8
    wear = Image.frombytes("L", (coarse, coarse), rng.randbytes(coarse * coarse))
    wear = wear.resize((_RIBBON_TILE, _RIBBON_TILE), Image.Resampling.BICUBIC)
    return ImageChops.multiply(grain, wear.point([215 + level // 6 for level in range(256)]))


def _encode_png(light: Image.Image, dpi: int) -> bytes:
    primaries = list(zip(PAPER_RGB, INK_RGB, strict=True))
    light.putpalette([round(ink + (paper - ink) * level / 255) for level in range(256) for paper, ink in primaries])
    out = io.BytesIO()
    light.save(out, "PNG", dpi=(dpi, dpi))
    return out.getvalue()
