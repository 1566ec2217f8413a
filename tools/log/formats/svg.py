"""A recorded sheet as SVG: the glyphs as pen strokes, overstrike as ink over ink, in a slightly uneven hand."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import quoteattr

from drivers.paper import glyphs
from drivers.profile import PITCH, pitch_of
from tools.log.recording import SheetRecording, visible_lines

_IN = glyphs.WIDTH * PITCH  # units to the inch
_PAPER_WIDTH, _MARGIN = _IN * 17 // 2, _IN // 2  # of the roll; blank margin above the first line and below the last
_PAPER_COLOUR, _INK_COLOUR = "#f6efdd", "#0c0910"
_SHADES = 6  # of the ribbon
_DARKEST, _SHADE_STEP = 0.96, 0.035  # opacity of the ink
_UNEVEN = 7  # largest shift of a strike in units: a third of a millimetre in forty


def encode_svg(recording: SheetRecording, seed: int = 33) -> bytes:
    """Returns one picture of the whole sheet; the same seed gives the same picture."""
    profile, lines = recording.profile, recording.paper().inked_cells()
    pitch, rng = pitch_of(profile.columns), random.Random(seed)
    column_width = _IN // pitch
    width = max(_PAPER_WIDTH, profile.columns * column_width + 2 * _MARGIN)
    height = 2 * _MARGIN + max(1, len(lines)) * glyphs.HEIGHT
    left = (width - profile.columns * column_width) // 2
    used = sorted({glyph for line in lines for cell in line for glyph in cell})
    shape = f' transform="scale({PITCH / pitch:.4f} 1)"' if pitch != PITCH else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width / _IN:.2f}in" height="{height / _IN:.2f}in" '
        f'viewBox="0 0 {width} {height}">',
        "<title>asr33 session</title>",
        f"<style>.i{{fill:none;stroke:{_INK_COLOUR};stroke-width:{glyphs.PEN_WIDTH};stroke-linecap:round;"
        f"stroke-linejoin:round}}{_shade_rules()}</style><defs>",
        *(f'<path id="{_glyph_id(glyph)}"{shape} d="{glyphs.svg_path(glyph, profile.wheel)}"/>' for glyph in used),
        f'</defs><rect width="{width}" height="{height}" fill="{_PAPER_COLOUR}"/><g class="i">',
    ]
    for row, (line, text) in enumerate(zip(lines, visible_lines(recording), strict=True)):
        if line:
            parts.append(f'<g role="img" aria-label={quoteattr(text)}>')
            parts += _draw_line(line, left, _MARGIN + row * glyphs.HEIGHT, column_width, rng)
            parts.append("</g>")
    return "\n".join([*parts, "</g></svg>", ""]).encode()


def _draw_line(line: Sequence[str], left: int, top: int, column_width: int, rng: random.Random) -> Iterator[str]:
    for column, cell in enumerate(line):
        for glyph in cell:
            x = left + column * column_width + rng.randint(-_UNEVEN, _UNEVEN)
            y = top + rng.randint(-_UNEVEN, _UNEVEN)
            yield f'<use href="#{_glyph_id(glyph)}" x="{x}" y="{y}" class="s{rng.randrange(_SHADES)}"/>'


def _glyph_id(glyph: str) -> str:
    return f"g{ord(glyph):02x}"


def _shade_rules() -> str:
    return "".join(f".s{shade}{{opacity:{_DARKEST - _SHADE_STEP * shade:.3f}}}" for shade in range(_SHADES))
