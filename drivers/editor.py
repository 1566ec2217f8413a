"""The line editor: RUBOUT as DEC echoed it, ^U ^W ^R, a soft new line, RETURN; and what half duplex leaves to print.

Data in, data out: a key goes in, what the paper shall show and what has come of it comes out. Does not know the
column, the line, or who reads what was typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivers.keyboard import BELL, END, ESCAPE, INTERRUPT, LINE_FEED, RETURN
from drivers.paper import glyph_of

Outcome = Literal["submit", "interrupt", "end"]

_RUBOUTS = "\x7f\b_"  # RUBOUT, ^H, and the left arrow of DTSS and BASIC
_KILL, _WORD, _RETYPE = "\x15", "\x17", "\x12"  # ^U ^W ^R
_ALT_MODES = "}~"  # the two older codes of the ESC key; no other key of a Model 33 sends them
_UNHEARD = "\x00\x11\x13"  # tape leader, and X-ON and X-OFF, which are the Teletype's
LIMIT = 4000  # characters of one prompt, over 50 lines of paper


@dataclass(frozen=True, slots=True)
class Reply:
    """What the paper shows for a key (`\\n` a new line, `\\a` the bell), and whether the line is done."""

    echo: str
    outcome: Outcome | None = None


class Editor:
    """One prompt while it is typed; `text` is what would be submitted now, `\\n` for each soft new line.

    `half`: the machine prints its own keys, before we can close a deletion; so each one is closed at once.
    """

    def __init__(self, prompt: str = "", *, limit: int = LIMIT, half: bool = False) -> None:
        self.text = ""
        self._prompt = prompt
        self._limit = limit
        self._half = half
        self._rubbing = False  # between the two backslashes of a deletion

    def press(self, key: str) -> Reply:
        """One key, any of the 128."""
        if key in _ALT_MODES:
            key = ESCAPE
        elif key in _RUBOUTS or key == _WORD:
            return Reply(self._rub_out(self._last_word() if key == _WORD else 1))
        elif key >= " ":
            key = glyph_of(ord(key))
        if key in _UNHEARD:
            return Reply("")
        reply = self._plain(key)
        return Reply(self._closed() + reply.echo, reply.outcome)

    def _plain(self, key: str) -> Reply:
        if key == RETURN:
            return Reply("\n", "submit")
        if key == INTERRUPT:
            return Reply("^C\n", "interrupt")
        if key == END and not self.text:
            return Reply("", "end")
        if key == _KILL:
            self.text = self.text[: self._line_start()]
            return Reply("^U\n" + self._retyped())
        if key == _RETYPE:
            return Reply("^R\n" + self._retyped())
        if key == ESCAPE:
            self.text = ""
            return Reply("$\n" + self._retyped())
        if key == LINE_FEED and not self.text:
            return Reply("")  # the LF after a CR on a tape
        return Reply(self._accept(" " if key == "\t" else key))

    def _accept(self, key: str) -> str:
        if key < " " and key not in (LINE_FEED, BELL):
            return "^" + chr(ord(key) + 0x40) + BELL  # shown, and refused
        if key == BELL or len(self.text) >= self._limit:
            return BELL
        self.text += key
        return key

    def _rub_out(self, count: int) -> str:
        """Deleted characters between backslashes, the second one when the next key is accepted."""
        echo = ""
        for _ in range(min(count, len(self.text))):
            char, self.text = self.text[-1], self.text[:-1]
            if char == "\n":  # back onto the line above, which is typed once more
                echo += self._closed() + "\n" + self._retyped()
            else:
                echo += char if self._rubbing else "\\" + char
                self._rubbing = True
        return echo + self._closed() if self._half else echo

    def _closed(self) -> str:
        closing, self._rubbing = "\\" if self._rubbing else "", False
        return closing

    def _last_word(self) -> int:
        line = self.text[self._line_start() :]
        word = line.rstrip(" ").rpartition(" ")[2]
        return len(line) - len(line.rstrip(" ")) + len(word) or 1

    def _line_start(self) -> int:
        return self.text.rfind("\n") + 1

    def _retyped(self) -> str:
        start = self._line_start()
        return (self._prompt if start == 0 else "") + self.text[start:]


def unprinted(echo: str, key: str) -> str:
    """What is left to print of an echo where the machine has printed the key by itself, as it does in half duplex.

    A glyph stands there already, and one that is refused is struck out. After RETURN the carriage is home and the
    line feed still due; after LINE FEED the paper is fed and the carriage still out: `\\r`. A function key leaves no
    trace, and the machine does not print its own ALT MODE.
    """
    if key == BELL:
        return echo.removesuffix(BELL)
    if key == LINE_FEED and echo.endswith("\n"):
        return echo[:-1] + "\r"
    glyph = "" if key in _ALT_MODES else glyph_of(ord(key))
    if not glyph:
        return echo
    return echo[:-1] + f"\\{glyph}\\{BELL}" if echo.endswith(BELL) else echo.removesuffix(glyph)
