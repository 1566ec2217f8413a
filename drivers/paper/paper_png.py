"""A sheet as PNG: cream roll paper, and ink from a cloth ribbon that is nowhere quite even.

The one file that knows Pillow. Knows cells and ink; not what was typed and what was printed, and no file to write to.
The same seed gives the same picture, and a sheet that grows keeps what it had.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from drivers.errors import DriverError
from drivers.paper import glyphs
from drivers.paper.paper import COLUMNS, pitch_of
from drivers.profile import TypeWheel

PAPER_RGB, INK_RGB = (246, 239, 221), (34, 25, 51)  # red, green, blue; the usual ribbon is black with violet in it
PAPER_WIDTH_IN, MARGIN_IN = 8.5, 0.5  # the roll's width; what is left blank above the first line and below the last
LINES_PER_IN = 6
MIN_DPI, MAX_DPI = 30, 600  # dots to the inch: below it letters are blots, above it a picture is hundreds of megabytes
MAX_HEIGHT_PX = 32_000  # dots: most programs that show pictures end at 32767

_CHART_SUPERSAMPLING = 2  # a dot of a diagram is drawn as so many by as many, then averaged
# Points from the upper left corner, the ink, how many dots broad, and how dark from 0 to 1.
Polyline = tuple[Sequence[tuple[float, float]], tuple[int, int, int], float, float]

_SUPERSAMPLING = 4  # a dot is drawn as so many by as many, then averaged
_PADDING = 2  # dots around a glyph's box, for ink that the carriage has put a little beside it
_DARKNESS_RANGE = (0.80, 0.98)  # of the ink that there could be: what the ribbon leaves in one strike
_DARKNESS_STEP = 12  # 255ths of darkness between a stroke and the next
_RIBBON_TILE = 256  # the tile of ribbon, in dots


class PictureUnfit(DriverError, ValueError):
    """No picture can be had of this size."""

    exit_code = 65


class SheetTooLong(DriverError, ValueError):
    """More lines than one picture can have."""

    exit_code = 65

    def __init__(self, lines: int, most: int) -> None:
        super().__init__(f"{lines} lines are too many for one picture: cut the sheet, a picture takes {most}")


def draw_png(
    lines: Sequence[Sequence[str]],
    *,
    columns: int = COLUMNS,
    wheel: TypeWheel = "1968",
    dpi: int = 150,
    slashed_zero: bool = False,
    seed: int = 33,
) -> bytes:
    """The PNG of a sheet whose cells hold the glyphs struck there; SheetTooLong beyond `longest` lines."""
    if len(lines) > max_lines(dpi):
        raise SheetTooLong(len(lines), max_lines(dpi))
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
    """The sheet as PNGs of `length` lines each, the last one shorter; at least one, and one in memory at a time."""
    most = max_lines(dpi)
    lines_per_page = most if lines_per_page is None else lines_per_page
    if lines_per_page < 1:
        raise PictureUnfit(f"{lines_per_page} lines to a page: give at least 1")
    lines_per_page = min(lines_per_page, most)
    press = _InkRenderer(columns, _GlyphMasks(wheel, dpi, pitch_of(columns), slashed_zero), random.Random(seed))
    for first in range(0, max(len(lines), 1), lines_per_page):
        yield press.page(lines[first : first + lines_per_page])


def max_lines(dpi: int = 150) -> int:
    """How many lines one picture can have."""
    if not MIN_DPI <= dpi <= MAX_DPI:
        raise PictureUnfit(f"{dpi} dots to the inch: give {MIN_DPI} to {MAX_DPI}")
    return (MAX_HEIGHT_PX - 2 * round(MARGIN_IN * dpi)) // round(dpi / LINES_PER_IN)


def draw_chart(width: int, height: int, lines: Iterable[Polyline]) -> bytes:
    """The PNG of a diagram on the same paper: lines through points, as many dots broad and as dark as they say."""
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
        """The glyph, moved by so many quarters of a dot; `_PAD` dots more than its box on each side."""
        key = (glyph, dx, dy)
        if key not in self._masks:
            self._masks[key] = self._draw_mask(glyph, dx, dy)
        return self._masks[key]

    def _draw_mask(self, glyph: str, dx: int, dy: int) -> Image.Image:
        size = ((self.width + 2 * _PADDING) * _SUPERSAMPLING, (self.height + 2 * _PADDING) * _SUPERSAMPLING)
        image = Image.new("L", size)
        pen = ImageDraw.Draw(image)
        across = self.dpi * _SUPERSAMPLING / (glyphs.WIDTH * self.pitch)
        along = self.dpi * _SUPERSAMPLING / (glyphs.HEIGHT * LINES_PER_IN)
        half = glyphs.PEN_WIDTH * along / 2
        for stroke in glyphs.pen_strokes(glyph, self._wheel, slashed_zero=self._slashed_zero):
            points = [
                (x * across + _PADDING * _SUPERSAMPLING + dx, y * along + _PADDING * _SUPERSAMPLING + dy)
                for x, y in stroke
            ]
            pen.line(points, fill=255, width=max(1, round(2 * half)))
            for x, y in points:
                pen.ellipse((x - half, y - half, x + half, y + half), fill=255)
        return image.reduce(_SUPERSAMPLING)


class _InkRenderer:
    """Puts ink on paper. A page is kept as the light that comes back: 255 bare paper, and ink upon ink multiplies."""

    def __init__(self, columns: int, masks: _GlyphMasks, rng: random.Random) -> None:
        self._columns, self._masks, self._rng = columns, masks, rng
        self._ribbon = _ribbon_tile(rng)
        # Each glyph sits on its wheel as it was cast: a quarter of a dot high or low, for as long as the wheel lives.
        self._baseline_shift = {chr(code): rng.choice((-1, 0, 0, 0, 1)) for code in range(0x20, 0x60)}
        self._min_ink, self._max_ink = (round(255 * share) for share in _DARKNESS_RANGE)
        shades = range(self._min_ink, self._max_ink + 1)
        self._light_tables = {dark: [255 - level * dark // 255 for level in range(256)] for dark in shades}
        self._strike_force = (self._min_ink + self._max_ink) / 2  # how the hammer strikes just now; it wanders

    def page(self, lines: Sequence[Sequence[str]]) -> bytes:
        """One PNG, as high as it has lines."""
        per_inch, height = self._masks.dpi, self._masks.height
        top = round(MARGIN_IN * per_inch)
        text_width = round(self._columns * per_inch / self._masks.pitch)
        width = max(round(PAPER_WIDTH_IN * per_inch), text_width + 2 * top)
        light = Image.new("L", (width, 2 * top + max(len(lines), 1) * height), 255)
        left = (width - text_width) // 2
        for row, line in enumerate(lines):
            for column, cell in enumerate(line):
                x = left + round(column * per_inch / self._masks.pitch)
                for glyph in cell.replace(" ", ""):
                    self._strike_glyph(light, glyph, x - _PADDING, top + row * height - _PADDING)
        return _encode_png(light, per_inch)

    def _strike_glyph(self, light: Image.Image, glyph: str, x: int, y: int) -> None:
        rng = self._rng
        mask = self._masks.mask(
            glyph, rng.choice((-1, 0, 0, 1)), self._baseline_shift.get(glyph, 0) + rng.choice((0, 0, 0, 1))
        )
        self._strike_force = min(
            max(self._strike_force + rng.uniform(-5, 5), self._min_ink + _DARKNESS_STEP), self._max_ink - _DARKNESS_STEP
        )
        dark = round(self._strike_force + rng.uniform(-_DARKNESS_STEP, _DARKNESS_STEP))
        at_x, at_y = rng.randrange(_RIBBON_TILE - mask.width), rng.randrange(_RIBBON_TILE - mask.height)
        cloth = self._ribbon.crop((at_x, at_y, at_x + mask.width, at_y + mask.height))
        left_over = ImageChops.multiply(mask, cloth).point(self._light_tables[dark])
        box = (x, y, x + mask.width, y + mask.height)
        light.paste(ImageChops.multiply(light.crop(box), left_over), box)


def _ribbon_tile(rng: random.Random) -> Image.Image:
    """A tile of inked ribbon: the grain of the weave, and patches where it has been struck before."""
    grain = Image.frombytes("L", (_RIBBON_TILE, _RIBBON_TILE), rng.randbytes(_RIBBON_TILE * _RIBBON_TILE))
    grain = grain.filter(ImageFilter.GaussianBlur(0.6)).point([min(255, 185 + level // 2) for level in range(256)])
    coarse = _RIBBON_TILE // 8
    worn = Image.frombytes("L", (coarse, coarse), rng.randbytes(coarse * coarse))
    worn = worn.resize((_RIBBON_TILE, _RIBBON_TILE), Image.Resampling.BICUBIC).point(
        [215 + level // 6 for level in range(256)]
    )
    return ImageChops.multiply(grain, worn)


def _encode_png(light: Image.Image, dpi: int) -> bytes:
    light.putpalette(
        [
            round(ink + (paper - ink) * level / 255)
            for level in range(256)
            for paper, ink in zip(PAPER_RGB, INK_RGB, strict=True)
        ]
    )
    out = io.BytesIO()
    light.save(out, "PNG", dpi=(dpi, dpi))
    return out.getvalue()
