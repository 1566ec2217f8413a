"""Text to lines of paper: folded, wrapped and cut as the machine will strike it. Pure.

A line holds glyphs of the type wheel; a carriage return in it begins another pass over the line, as in art.
"""

from __future__ import annotations

from dataclasses import replace

from drivers.paper.paper import CR, LF
from drivers.profile import Profile
from drivers.text.charset import Style
from drivers.text.printer import Printer


def lay_out(
    text: str, profile: Profile, *, raw: bool = False, style: Style = "prose", overstrike: bool = False
) -> tuple[str, ...]:
    """Returns the lines of paper of a text. Empty lines at its end are dropped, bells too."""
    printer = Printer(replace(profile, return_feeds=False), column=0)
    text += "\n"
    strokes = printer.feed_raw(text) if raw else printer.feed(text, style, overstrike=overstrike)
    glyphs = bytes(stroke.byte for stroke in strokes if stroke.byte in (CR, LF) or stroke.is_spacing)
    lines = [line.rstrip("\r") for line in glyphs.decode("ascii").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)
