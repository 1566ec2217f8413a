"""The glyphs of the type wheel as pen strokes: one table for SVG, canvas and PNG.

A monoline sans serif like the machine's, as wide as the column allows. Knows shapes; no ink, no pixels, no sheet. The
letters are our own drawings after the machine's print.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from drivers.profile import Profile, TypeWheel, pitch_of

Point = tuple[int, int]
PenStroke = tuple[Point, ...]

# The box of a glyph, in 2400ths of an inch, x to the right and y downwards: 10 to the inch, 6 lines to the inch.
WIDTH, HEIGHT = 240, 400
CAP_LINE, BASELINE = 80, 320  # y of the tops of the capitals, and of the base line
PEN_WIDTH = 40  # width of a stroke, with round ends: the ribbon makes it broader than the type

# Drawn in a box of 60 by 100, strokes separated by |. "x,y" is the end of a straight line; "~x,y" is the corner of a
# curve from the point before to the point after it: a quarter of a circle pulled towards that corner.
_GLYPH_TABLE = {
    " ": "",
    "!": "30,20 30,60 | 29,79 31,79 31,81 29,81 29,79",
    '"': "21,20 21,37 | 39,20 39,37",
    "#": "25,22 20,78 | 40,22 35,78 | 9,41 51,41 | 9,59 51,59",
    "$": "49,36 ~49,26 38,26 22,26 ~11,26 11,38 ~11,50 22,50 38,50 ~49,50 49,62 ~49,74 38,74 22,74 ~11,74 11,64"
    " | 30,16 30,84",
    "%": "50,20 10,80 | 17,20 ~25,20 25,30 ~25,40 17,40 ~9,40 9,30 ~9,20 17,20"
    " | 43,60 ~51,60 51,70 ~51,80 43,80 ~35,80 35,70 ~35,60 43,60",
    "&": "51,80 18,39 ~14,34 14,30 ~14,20 24,20 ~34,20 34,30 ~34,37 27,42 21,46 ~9,53 9,64 ~9,80 25,80 ~42,80 50,56",
    "'": "31,20 29,38",
    "(": "38,16 ~22,28 22,50 ~22,72 38,84",
    ")": "22,16 ~38,28 38,50 ~38,72 22,84",
    "*": "30,30 30,70 | 12,40 48,60 | 48,40 12,60",
    "+": "30,32 30,72 | 10,52 50,52",
    ",": "29,78 31,78 31,80 29,80 29,78 | 31,79 ~31,86 25,91",
    "-": "12,52 48,52",
    ".": "29,79 31,79 31,81 29,81 29,79",
    "/": "48,18 12,82",
    "0": "30,20 ~46,20 46,38 46,62 ~46,80 30,80 ~14,80 14,62 14,38 ~14,20 30,20",
    "1": "16,33 ~27,30 31,20 31,80 | 16,80 46,80",
    "2": "12,36 ~12,20 30,20 ~48,20 48,36 ~48,46 38,54 22,66 ~11,74 11,80 49,80",
    "3": "12,31 ~15,20 30,20 ~47,20 47,34 ~47,48 32,48 25,48 | 32,48 ~49,48 49,64 ~49,80 30,80 ~13,80 11,67",
    "4": "40,80 40,20 9,62 52,62",
    "5": "46,20 15,20 13,47 ~19,42 29,42 ~49,42 49,61 ~49,80 29,80 ~14,80 11,69",
    "6": "45,27 ~41,20 31,20 ~11,20 11,52 11,60 ~11,80 30,80 ~49,80 49,61 ~49,43 30,43 ~11,43 11,60",
    "7": "11,20 49,20 ~28,46 26,80",
    "8": "30,47 ~13,47 13,33 ~13,20 30,20 ~47,20 47,33 ~47,47 30,47 ~11,47 11,64 ~11,80 30,80 ~49,80 49,64"
    " ~49,47 30,47",
    "9": "15,73 ~19,80 29,80 ~49,80 49,48 49,40 ~49,20 30,20 ~11,20 11,39 ~11,57 30,57 ~49,57 49,40",
    ":": "29,47 31,47 31,49 29,49 29,47 | 29,79 31,79 31,81 29,81 29,79",
    ";": "29,47 31,47 31,49 29,49 29,47 | 29,78 31,78 31,80 29,80 29,78 | 31,79 ~31,86 25,91",
    "<": "47,28 12,51 47,74",
    "=": "11,43 49,43 | 11,61 49,61",
    ">": "13,28 48,51 13,74",
    "?": "12,34 ~12,20 30,20 ~48,20 48,34 ~48,43 39,48 ~30,53 30,62 | 29,79 31,79 31,81 29,81 29,79",
    "@": "40,62 ~36,64 31,64 ~21,64 21,52 ~21,40 31,40 ~40,40 40,48 40,58 ~40,64 46,64 ~52,62 52,46 ~52,20 30,20"
    " ~8,20 8,50 ~8,80 32,80 ~42,80 49,76",
    "A": "9,80 30,20 51,80 | 17,59 43,59",
    "B": "11,20 11,80 33,80 ~49,80 49,64 ~49,48 33,48 11,48 | 32,48 ~46,48 46,34 ~46,20 32,20 11,20",
    "C": "50,36 ~48,20 31,20 ~10,20 10,42 10,58 ~10,80 31,80 ~48,80 50,64",
    "D": "11,20 11,80 27,80 ~50,80 50,58 50,42 ~50,20 27,20 11,20",
    "E": "49,20 12,20 12,80 49,80 | 12,49 42,49",
    "F": "49,20 12,20 12,80 | 12,49 42,49",
    "G": "50,35 ~47,20 31,20 ~10,20 10,42 10,58 ~10,80 31,80 ~46,80 50,70 50,53 33,53",
    "H": "10,20 10,80 | 50,20 50,80 | 10,49 50,49",
    "I": "30,20 30,80 | 16,20 44,20 | 16,80 44,80",
    "J": "46,20 46,61 ~46,80 29,80 ~12,80 12,62",
    "K": "11,20 11,80 | 50,20 11,56 | 24,44 51,80",
    "L": "13,20 13,80 49,80",
    "M": "9,80 9,20 30,54 51,20 51,80",
    "N": "10,80 10,20 50,80 50,20",
    "O": "30,20 ~51,20 51,42 51,58 ~51,80 30,80 ~9,80 9,58 9,42 ~9,20 30,20",
    "P": "11,80 11,20 33,20 ~49,20 49,37 ~49,54 33,54 11,54",
    "Q": "30,20 ~51,20 51,42 51,58 ~51,80 30,80 ~9,80 9,58 9,42 ~9,20 30,20 | 34,62 51,83",
    "R": "11,80 11,20 33,20 ~49,20 49,36 ~49,52 33,52 11,52 | 31,52 50,80",
    "S": "48,34 ~46,20 30,20 ~12,20 12,34 ~12,46 26,48 34,50 ~49,53 49,65 ~49,80 30,80 ~13,80 11,66",
    "T": "9,20 51,20 | 30,20 30,80",
    "U": "10,20 10,60 ~10,80 30,80 ~50,80 50,60 50,20",
    "V": "9,20 30,80 51,20",
    "W": "8,20 18,80 30,36 42,80 52,20",
    "X": "11,20 49,80 | 49,20 11,80",
    "Y": "9,20 30,50 51,20 | 30,50 30,80",
    "Z": "12,20 49,20 11,80 49,80",
    "[": "40,16 23,16 23,84 40,84",
    "\\": "12,18 48,82",
    "]": "20,16 37,16 37,84 20,84",
    "^": "14,38 30,20 46,38",
    "_": "2,90 58,90",
}
_ARROWS_1963 = {"^": "30,80 30,22 | 13,41 30,21 47,41", "_": "52,50 10,50 | 28,33 9,50 28,67"}
_SLASH = "43,29 17,71"
_TABLE_SCALE = 4  # units of the box to one unit of the table, for smooth curves
_CORNER_PULL = 0.6  # how far a curve is pulled into its corner; 0.552 is a quarter of a circle
_CHORDS = 8  # chords to a curve


@lru_cache(maxsize=512)
def pen_strokes(glyph: str, wheel: TypeWheel = "1968", *, slashed_zero: bool = False) -> tuple[PenStroke, ...]:
    """Returns the strokes of a glyph SP to 0x5F, ↑ or ←, in the box WIDTH by HEIGHT; ValueError for any other."""
    key = {"↑": "^", "←": "_"}.get(glyph, glyph)
    if key not in _GLYPH_TABLE:
        raise ValueError(f"{glyph!r} is not on the type wheel: it has SP to _ and, on that of 1963, ↑ and ←")
    drawing = _ARROWS_1963[key] if key in _ARROWS_1963 and (wheel == "1963" or key != glyph) else _GLYPH_TABLE[key]
    if glyph == "0" and slashed_zero:
        drawing += f" | {_SLASH}"
    return tuple(_parse_stroke(part.split()) for part in drawing.split("|") if part.strip())


def svg_path(glyph: str, wheel: TypeWheel = "1968", *, slashed_zero: bool = False) -> str:
    """Returns a glyph as the `d` of an SVG path, for round caps and joins, PEN_WIDTH wide; empty for a blank."""
    strokes = pen_strokes(glyph, wheel, slashed_zero=slashed_zero)
    return "".join("M" + "L".join(f"{x} {y}" for x, y in stroke) for stroke in strokes)


def glyph_table(profile: Profile | None = None) -> dict[str, Any]:
    """Returns the type wheel and the margins of a machine as plain data for JSON: `sheet.js` draws its sheet from it.

    `glyphs` maps each of the 64 glyphs to its strokes, a flat list of x and y each, in a box of `width` by `height`.
    """
    profile = profile or Profile()
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "pen": PEN_WIDTH,
        "wheel": profile.wheel,
        "columns": profile.columns,
        "pitch": pitch_of(profile.columns),
        "auto_return": profile.auto_return,
        "return_feeds": profile.return_feeds,
        "feed_returns": profile.feed_returns,
        "glyphs": {
            glyph: [[number for point in stroke for number in point] for stroke in pen_strokes(glyph, profile.wheel)]
            for glyph in map(chr, range(0x20, 0x60))
        },
    }


def _parse_stroke(words: list[str]) -> PenStroke:
    points: list[Point] = []
    corner: Point | None = None
    for word in words:
        x, y = (_TABLE_SCALE * int(number) for number in word.removeprefix("~").split(","))
        if word.startswith("~"):
            corner = (x, y)
            continue
        points += _curve_chords(points[-1], corner, (x, y)) if corner else [(x, y)]
        corner = None
    return tuple(points)


def _curve_chords(start: Point, corner: Point, end: Point) -> list[Point]:
    """Returns the chords of a cubic whose handles lie on the lines to the corner; without its first point."""
    steps = [step / _CHORDS for step in range(1, _CHORDS + 1)]
    return [(_bezier(start[0], corner[0], end[0], t), _bezier(start[1], corner[1], end[1], t)) for t in steps]


def _bezier(start: int, corner: int, end: int, t: float) -> int:
    """Returns one coordinate of the cubic Bézier curve at `t`, from 0 to 1."""
    first_handle, second_handle = start + _CORNER_PULL * (corner - start), end + _CORNER_PULL * (corner - end)
    s = 1 - t
    return round(s**3 * start + 3 * s**2 * t * first_handle + 3 * s * t**2 * second_handle + t**3 * end)
