"""The type of the terminal that shows the paper: whether its cursor can be moved, its size, and its colours.

The name in TERM is looked up in the system's terminfo. A name that is not there is taken for a terminal of ECMA-48, as
most are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TextIO

DEFAULT_SIZE = os.terminal_size((80, 24))  # of a terminal that does not report it
# Names that mean no cursor where terminfo lacks them; the last three are printing terminals.
_FIXED_CURSORS = ("", "dumb", "unknown", "network", "dialup", "tty33", "tty43", "lpr")


@dataclass(frozen=True, slots=True)
class Palette:
    """The parameters of SGR (ECMA-48, 8.3.117) for the parts of the screen; an empty text leaves the default."""

    paper: str
    state: str
    has_bold: bool = True  # bold is darker than plain ink

    @property
    def carriage(self) -> str:
        """The paper's colours reversed: visible without colours too."""
        return f"{self.paper};7" if self.paper else "7"


# By the name that rich gives to the number of colours. Of the 256 the cream is 230; #f2ead7 would be rounded to a pink.
# Of the first eight colours bold black is a grey, lighter than plain black.
PALETTES: dict[str | None, Palette] = {
    "truecolor": Palette("38;2;28;28;28;48;2;242;234;215", "38;2;178;178;178;48;2;28;28;28"),
    "256": Palette("38;5;234;48;5;230", "38;5;249;48;5;234"),
    "standard": Palette("30;47", "37;40", has_bold=False),
    None: Palette("", ""),
}


def can_move_cursor(out: TextIO) -> bool:
    """Whether `out` is a terminal that moves its cursor by the sequences of ECMA-48."""
    if not out.isatty():
        return False
    name = os.environ.get("TERM", "")
    try:
        import curses

        curses.setupterm(name, out.fileno())
        move = curses.tigetstr("cup")
    except (ImportError, curses.error):
        return name not in _FIXED_CURSORS
    return move is not None and move.startswith(b"\x1b[")


def terminal_size(out: TextIO) -> os.terminal_size:
    """Returns the size of the terminal. Raises OSError if it is closed."""
    size = os.get_terminal_size(out.fileno())
    return size if size.columns and size.lines else DEFAULT_SIZE


def choose_palette(out: TextIO) -> Palette:
    """Returns the colours of the terminal, by TERM and COLORTERM; none if NO_COLOR is set."""
    from rich.console import Console

    console = Console(file=out)
    has_colours = not console.no_color and _has_colours(out)
    return PALETTES.get(console.color_system if has_colours else None, PALETTES["standard"])


def _has_colours(out: TextIO) -> bool:
    """Whether terminfo gives the terminal colours; a terminal that it does not know has some."""
    try:
        import curses

        curses.setupterm(os.environ.get("TERM", ""), out.fileno())
        return curses.tigetnum("colors") >= 8
    except (ImportError, curses.error):
        return True
