"""The paper on standard output, and the words of the program beside it, so that neither spoils the other.

In a terminal the paper scrolls as in the machine; a file or a pipe gets the text, line feed by line feed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from typing import TextIO

from drivers.paper.paper import LF, glyph_of
from drivers.profile import Profile
from drivers.virtual import Strike
from tools.cli.output import print_message, stdout_errors
from tools.paper_view.scrolling import ScrollingPaper

_DEFAULT_WIDTH = 80  # of a terminal that does not know


class PaperView:
    """The paper of one machine, on `out`. `say` gives the program's words a line of their own."""

    def __init__(self, profile: Profile, out: TextIO) -> None:
        self._out = out
        self._columns = profile.columns
        self._scrolling = (
            ScrollingPaper(_drawable_profile(profile, out), _terminal_width(out)) if can_scroll(out) else None
        )
        self._line_begun = False  # a line, in a file

    @property
    def width_warning(self) -> str:
        """What there is to say of a terminal that is narrower than the sheet; else nothing."""
        if self._scrolling is None or (width := _terminal_width(self._out)) >= self._columns:
            return ""
        return f"the sheet has {self._columns} columns and this terminal {width}: a long line goes on in the next row"

    def show_strike(self, strike: Strike) -> None:
        """Raises as `written`."""
        if self._scrolling is None:
            write_strike(strike, self._out)
            self._line_begun = (self._line_begun or bool(glyph_of(strike.byte))) and strike.byte != LF
        else:
            with stdout_errors():
                self._write(self._scrolling.render_strike(strike, _terminal_width(self._out)))

    def print_message(self, line: str) -> None:
        """To whoever sits at the terminal, and not into the midst of a line of the paper."""
        with contextlib.suppress(OSError):
            if self._scrolling is not None and _is_terminal(sys.stderr):
                self._write_unbuffered(self._scrolling.clear_line())
                print_message(line)
                self._write_unbuffered(self._scrolling.redraw_line())
                return
            self._end_line()
        print_message(line)

    def close(self) -> None:
        """What comes now, a shell's prompt or an error, is not for the paper's line."""
        with contextlib.suppress(OSError):
            if self._scrolling is not None:
                self._write_unbuffered(self._scrolling.leave_line())
            else:
                self._end_line()

    def _end_line(self) -> None:
        """Where paper and words go to the same file."""
        if self._scrolling is None and self._line_begun and _is_same_file(self._out, sys.stderr):
            self._write_unbuffered("\n")
            self._line_begun = False

    def _write_unbuffered(self, text: str) -> None:
        """Past the buffer, which is empty: it would keep what a closed terminal does not take, and fail at the exit."""
        os.write(self._out.fileno(), text.encode(self._out.encoding))

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def write_strike(strike: Strike, out: TextIO) -> None:
    """What a strike is in a file: its glyph, or the end of a line; no carriage returns, and no bells."""
    text = "\n" if strike.byte == LF else glyph_of(strike.byte)
    with stdout_errors():
        out.write("" if strike.ignored else text)
        out.flush()


def can_scroll(out: TextIO) -> bool:
    """Whether it is a terminal with a cursor that can be moved."""
    return out.isatty() and os.environ.get("TERM") != "dumb"


def _drawable_profile(profile: Profile, out: TextIO) -> Profile:
    """A terminal without arrows has to do with what ASCII has for them since 1968."""
    try:
        "↑←".encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        return replace(profile, wheel="1968")
    return profile


def _is_terminal(out: TextIO | None) -> bool:
    return out is not None and out.isatty()


def _is_same_file(one: TextIO, other: TextIO | None) -> bool:
    try:
        return other is not None and os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False


def _terminal_width(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns or _DEFAULT_WIDTH
    except (OSError, ValueError):
        return _DEFAULT_WIDTH
