"""The paper on standard output, and the words of the program beside it, so that neither spoils the other.

In a terminal the paper scrolls as in the machine; a file or a pipe gets the text, line feed by line feed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from typing import TextIO

from drivers.paper import LF, glyph_of
from drivers.profile import Profile
from drivers.virtual import Strike
from tools.output import say, written
from tools.scroll import Scroll

_WIDTH = 80  # of a terminal that does not know


class Shown:
    """The paper of one machine, on `out`. `say` gives the program's words a line of their own."""

    def __init__(self, profile: Profile, out: TextIO) -> None:
        self._out = out
        self._columns = profile.columns
        self._scroll = Scroll(_drawable(profile, out), _width(out)) if scrolls(out) else None
        self._begun = False  # a line, in a file

    @property
    def narrow(self) -> str:
        """What there is to say of a terminal that is narrower than the sheet; else nothing."""
        if self._scroll is None or (width := _width(self._out)) >= self._columns:
            return ""
        return f"the sheet has {self._columns} columns and this terminal {width}: a long line goes on in the next row"

    def take(self, strike: Strike) -> None:
        """Raises as `written`."""
        if self._scroll is None:
            show(strike, self._out)
            self._begun = (self._begun or bool(glyph_of(strike.byte))) and strike.byte != LF
        else:
            with written():
                self._write(self._scroll.take(strike, _width(self._out)))

    def say(self, line: str) -> None:
        """To whoever sits at the terminal, and not into the midst of a line of the paper."""
        with contextlib.suppress(OSError):
            if self._scroll is not None and _isatty(sys.stderr):
                self._aside(self._scroll.cleared())
                say(line)
                self._aside(self._scroll.again())
                return
            self._end_line()
        say(line)

    def leave(self) -> None:
        """What comes now, a shell's prompt or an error, is not for the paper's line."""
        with contextlib.suppress(OSError):
            if self._scroll is not None:
                self._aside(self._scroll.left())
            else:
                self._end_line()

    def _end_line(self) -> None:
        """Where paper and words go to the same file."""
        if self._scroll is None and self._begun and _same(self._out, sys.stderr):
            self._aside("\n")
            self._begun = False

    def _aside(self, text: str) -> None:
        """Past the buffer, which is empty: it would keep what a closed terminal does not take, and fail at the exit."""
        os.write(self._out.fileno(), text.encode(self._out.encoding))

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def show(strike: Strike, out: TextIO) -> None:
    """What a strike is in a file: its glyph, or the end of a line; no carriage returns, and no bells."""
    text = "\n" if strike.byte == LF else glyph_of(strike.byte)
    with written():
        out.write("" if strike.ignored else text)
        out.flush()


def scrolls(out: TextIO) -> bool:
    """Whether it is a terminal with a cursor that can be moved."""
    return out.isatty() and os.environ.get("TERM") != "dumb"


def _drawable(profile: Profile, out: TextIO) -> Profile:
    """A terminal without arrows has to do with what ASCII has for them since 1968."""
    try:
        "↑←".encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        return replace(profile, wheel="1968")
    return profile


def _isatty(out: TextIO | None) -> bool:
    return out is not None and out.isatty()


def _same(one: TextIO, other: TextIO | None) -> bool:
    try:
        return other is not None and os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False


def _width(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns or _WIDTH
    except (OSError, ValueError):
        return _WIDTH
