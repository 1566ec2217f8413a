"""A sheet as PNG: cream roll paper, and ink from a cloth ribbon that is nowhere quite even.

The one file that knows Pillow. Knows cells and ink; not what was typed and what was printed, and no file to write to.
The same seed gives the same picture, and a sheet that grows keeps what it had.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from drivers import glyphs
from drivers.errors import DriverError
from drivers.paper import COLUMNS, pitch
from drivers.profile import Wheel

PAPER, INK = (246, 239, 221), (34, 25, 51)  # red, green, blue; the usual ribbon is black with violet in it
PAPER_IN, MARGIN_IN = 8.5, 0.5  # the roll's width; what is left blank above the first line and below the last
LINES_PER_IN = 6
COARSEST, FINEST = 30, 600  # dots to the inch: below it letters are blots, above it a picture is hundreds of megabytes
TALLEST = 32_000  # dots: most programs that show pictures end at 32767

_FINE = 2  # a dot of a diagram is drawn as so many by as many, then averaged
# Points from the upper left corner, the ink, how many dots broad, and how dark from 0 to 1.
Rule = tuple[Sequence[tuple[float, float]], tuple[int, int, int], float, float]

_SUPER = 4  # a dot is drawn as so many by as many, then averaged
_PAD = 2  # dots around a glyph's box, for ink that the carriage has put a little beside it
_DARK = (0.80, 0.98)  # of the ink that there could be: what the ribbon leaves in one strike
_UNEVEN = 12  # 255ths of darkness between a stroke and the next
_CLOTH = 256  # the tile of ribbon, in dots


class PictureUnfit(DriverError, ValueError):
    """No picture can be had of this size."""

    exit_code = 65


class SheetTooLong(DriverError, ValueError):
    """More lines than one picture can have."""

    exit_code = 65

    def __init__(self, lines: int, most: int) -> None:
        super().__init__(f"{lines} lines are too many for one picture: cut the sheet, a picture takes {most}")


def draw(
    lines: Sequence[Sequence[str]],
    *,
    columns: int = COLUMNS,
    wheel: Wheel = "1968",
    per_inch: int = 150,
    slashed_zero: bool = False,
    seed: int = 33,
) -> bytes:
    """The PNG of a sheet whose cells hold the glyphs struck there; SheetTooLong beyond `longest` lines."""
    if len(lines) > longest(per_inch):
        raise SheetTooLong(len(lines), longest(per_inch))
    return next(pages(lines, columns=columns, wheel=wheel, per_inch=per_inch, slashed_zero=slashed_zero, seed=seed))


def pages(
    lines: Sequence[Sequence[str]],
    *,
    length: int | None = None,
    columns: int = COLUMNS,
    wheel: Wheel = "1968",
    per_inch: int = 150,
    slashed_zero: bool = False,
    seed: int = 33,
) -> Iterator[bytes]:
    """The sheet as PNGs of `length` lines each, the last one shorter; at least one, and one in memory at a time."""
    most = longest(per_inch)
    length = most if length is None else length
    if length < 1:
        raise PictureUnfit(f"{length} lines to a page: give at least 1")
    length = min(length, most)
    press = _Press(columns, _Face(wheel, per_inch, pitch(columns), slashed_zero), random.Random(seed))
    for first in range(0, max(len(lines), 1), length):
        yield press.page(lines[first : first + length])


def longest(per_inch: int = 150) -> int:
    """How many lines one picture can have."""
    if not COARSEST <= per_inch <= FINEST:
        raise PictureUnfit(f"{per_inch} dots to the inch: give {COARSEST} to {FINEST}")
    return (TALLEST - 2 * round(MARGIN_IN * per_inch)) // round(per_inch / LINES_PER_IN)


def ruled(width: int, height: int, lines: Iterable[Rule]) -> bytes:
    """The PNG of a diagram on the same paper: lines through points, as many dots broad and as dark as they say."""
    image = Image.new("RGB", (width * _FINE, height * _FINE), PAPER)
    pen = ImageDraw.Draw(image)
    for points, ink, breadth, dark in lines:
        shade = tuple(round(paper + (colour - paper) * dark) for paper, colour in zip(PAPER, ink, strict=True))
        dots = [(x * _FINE, y * _FINE) for x, y in points]
        pen.line(dots, fill=shade, width=max(1, round(breadth * _FINE)))
    out = io.BytesIO()
    image.reduce(_FINE).save(out, "PNG")
    return out.getvalue()


class _Face:
    """The type wheel at one size: a mask for each glyph, white where it touches the ribbon."""

    def __init__(self, wheel: Wheel, per_inch: int, pitch: int, slashed_zero: bool) -> None:
        self.per_inch, self.pitch = per_inch, pitch
        self.width, self.height = round(per_inch / pitch), round(per_inch / LINES_PER_IN)
        self._wheel: Wheel = wheel
        self._slashed_zero = slashed_zero
        self._masks: dict[tuple[str, int, int], Image.Image] = {}

    def mask(self, glyph: str, right: int, down: int) -> Image.Image:
        """The glyph, moved by so many quarters of a dot; `_PAD` dots more than its box on each side."""
        key = (glyph, right, down)
        if key not in self._masks:
            self._masks[key] = self._cut(glyph, right, down)
        return self._masks[key]

    def _cut(self, glyph: str, right: int, down: int) -> Image.Image:
        size = ((self.width + 2 * _PAD) * _SUPER, (self.height + 2 * _PAD) * _SUPER)
        image = Image.new("L", size)
        pen = ImageDraw.Draw(image)
        across = self.per_inch * _SUPER / (glyphs.WIDTH * self.pitch)
        along = self.per_inch * _SUPER / (glyphs.HEIGHT * LINES_PER_IN)
        half = glyphs.PEN * along / 2
        for stroke in glyphs.strokes_of(glyph, self._wheel, slashed_zero=self._slashed_zero):
            points = [(x * across + _PAD * _SUPER + right, y * along + _PAD * _SUPER + down) for x, y in stroke]
            pen.line(points, fill=255, width=max(1, round(2 * half)))
            for x, y in points:
                pen.ellipse((x - half, y - half, x + half, y + half), fill=255)
        return image.reduce(_SUPER)


class _Press:
    """Puts ink on paper. A page is kept as the light that comes back: 255 bare paper, and ink upon ink multiplies."""

    def __init__(self, columns: int, face: _Face, rng: random.Random) -> None:
        self._columns, self._face, self._rng = columns, face, rng
        self._cloth = _cloth(rng)
        # Each glyph sits on its wheel as it was cast: a quarter of a dot high or low, for as long as the wheel lives.
        self._sits = {chr(code): rng.choice((-1, 0, 0, 0, 1)) for code in range(0x20, 0x60)}
        self._least, self._most = (round(255 * share) for share in _DARK)
        shades = range(self._least, self._most + 1)
        self._light = {dark: [255 - level * dark // 255 for level in range(256)] for dark in shades}
        self._force = (self._least + self._most) / 2  # how the hammer strikes just now; it wanders

    def page(self, lines: Sequence[Sequence[str]]) -> bytes:
        """One PNG, as high as it has lines."""
        per_inch, height = self._face.per_inch, self._face.height
        top = round(MARGIN_IN * per_inch)
        text_width = round(self._columns * per_inch / self._face.pitch)
        width = max(round(PAPER_IN * per_inch), text_width + 2 * top)
        light = Image.new("L", (width, 2 * top + max(len(lines), 1) * height), 255)
        left = (width - text_width) // 2
        for row, line in enumerate(lines):
            for column, cell in enumerate(line):
                x = left + round(column * per_inch / self._face.pitch)
                for glyph in cell.replace(" ", ""):
                    self._strike(light, glyph, x - _PAD, top + row * height - _PAD)
        return _png(light, per_inch)

    def _strike(self, light: Image.Image, glyph: str, x: int, y: int) -> None:
        rng = self._rng
        mask = self._face.mask(glyph, rng.choice((-1, 0, 0, 1)), self._sits.get(glyph, 0) + rng.choice((0, 0, 0, 1)))
        self._force = min(max(self._force + rng.uniform(-5, 5), self._least + _UNEVEN), self._most - _UNEVEN)
        dark = round(self._force + rng.uniform(-_UNEVEN, _UNEVEN))
        at_x, at_y = rng.randrange(_CLOTH - mask.width), rng.randrange(_CLOTH - mask.height)
        cloth = self._cloth.crop((at_x, at_y, at_x + mask.width, at_y + mask.height))
        left_over = ImageChops.multiply(mask, cloth).point(self._light[dark])
        box = (x, y, x + mask.width, y + mask.height)
        light.paste(ImageChops.multiply(light.crop(box), left_over), box)


def _cloth(rng: random.Random) -> Image.Image:
    """A tile of inked ribbon: the grain of the weave, and patches where it has been struck before."""
    grain = Image.frombytes("L", (_CLOTH, _CLOTH), rng.randbytes(_CLOTH * _CLOTH))
    grain = grain.filter(ImageFilter.GaussianBlur(0.6)).point([min(255, 185 + level // 2) for level in range(256)])
    coarse = _CLOTH // 8
    worn = Image.frombytes("L", (coarse, coarse), rng.randbytes(coarse * coarse))
    worn = worn.resize((_CLOTH, _CLOTH), Image.Resampling.BICUBIC).point([215 + level // 6 for level in range(256)])
    return ImageChops.multiply(grain, worn)


def _png(light: Image.Image, per_inch: int) -> bytes:
    light.putpalette(
        [
            round(ink + (paper - ink) * level / 255)
            for level in range(256)
            for paper, ink in zip(PAPER, INK, strict=True)
        ]
    )
    out = io.BytesIO()
    light.save(out, "PNG", dpi=(per_inch, per_inch))
    return out.getvalue()
