"""Shows the paper on standard output, and messages on lines of their own between it.

In a terminal the paper scrolls as in the machine; a file or a pipe gets its plain text.
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
from tools.cli.output import print_message, stdout_errors, terminal_width
from tools.paper_view.scrolling import ScrollingPaper
from tools.paper_view.terminal_type import can_move_cursor


class PaperView:
    """The paper of one machine, written to `out`."""

    def __init__(self, profile: Profile, out: TextIO) -> None:
        self._out = out
        self._columns = profile.columns
        self._scrolling: ScrollingPaper | None = None  # None: `out` gets plain text
        if can_move_cursor(out):
            self._scrolling = ScrollingPaper(_drawable_profile(profile, out), terminal_width(out))
        self._line_begun = False  # in plain text

    @property
    def width_warning(self) -> str:
        """A message if the terminal is narrower than the sheet; otherwise an empty text."""
        if self._scrolling is None or (width := terminal_width(self._out)) >= self._columns:
            return ""
        return f"the sheet has {self._columns} columns and this terminal {width}: a long line goes on in the next row"

    def show_strike(self, strike: Strike) -> None:
        """Raises ToolError, BrokenPipeError."""
        if self._scrolling is None:
            write_strike(strike, self._out)
            self._line_begun = (self._line_begun or bool(glyph_of(strike.byte))) and strike.byte != LF
        else:
            with stdout_errors():
                self._out.write(self._scrolling.render_strike(strike, terminal_width(self._out)))
                self._out.flush()

    def print_message(self, line: str) -> None:
        """Writes a message to standard error, never into a line of the paper."""
        with contextlib.suppress(OSError):
            if self._scrolling is not None and sys.stderr is not None and sys.stderr.isatty():
                self._write_unbuffered(self._scrolling.clear_line())
                print_message(line)
                self._write_unbuffered(self._scrolling.redraw_line())
                return
            self._end_line()
        print_message(line)

    def close(self) -> None:
        """Ends the paper's line: the shell's prompt or an error message follows."""
        with contextlib.suppress(OSError):
            if self._scrolling is not None:
                self._write_unbuffered(self._scrolling.leave_line())
            else:
                self._end_line()

    def _end_line(self) -> None:
        """Ends the paper's line if paper and messages go to the same file."""
        if self._scrolling is None and self._line_begun and _is_same_file(self._out, sys.stderr):
            self._write_unbuffered("\n")
            self._line_begun = False

    def _write_unbuffered(self, text: str) -> None:
        """Writes without the buffer, which would keep the text of a closed terminal and fail at the exit."""
        os.write(self._out.fileno(), text.encode(self._out.encoding))


def write_strike(strike: Strike, out: TextIO) -> None:
    """Writes a strike as plain text: its glyph or a newline; no carriage returns, no bells."""
    text = "\n" if strike.byte == LF else glyph_of(strike.byte)
    with stdout_errors():
        out.write("" if strike.ignored else text)
        out.flush()


def _drawable_profile(profile: Profile, out: TextIO) -> Profile:
    """Returns the profile with the wheel of 1968 if the terminal's encoding has no arrows."""
    try:
        "↑←".encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        return replace(profile, wheel="1968")
    return profile


def _is_same_file(first: TextIO, second: TextIO | None) -> bool:
    try:
        return second is not None and os.path.sameopenfile(first.fileno(), second.fileno())
    except (OSError, ValueError):
        return False
