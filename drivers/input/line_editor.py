"""The line editor: RUBOUT as DEC echoed it, ^U ^W ^R, a soft new line, RETURN; and the echo in half duplex.

Data in, data out: it takes a key and returns what to print and whether the line is done. Knows no column and no port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivers.input.keyboard import BELL, END_OF_INPUT, ESCAPE, INTERRUPT, LINE_FEED, RETURN
from drivers.paper.paper import glyph_of

LineOutcome = Literal["submit", "interrupt", "end"]

_RUBOUTS = "\x7f\b_"  # RUBOUT, ^H, and the left arrow of DTSS and BASIC
_KILL, _ERASE_WORD, _RETYPE = "\x15", "\x17", "\x12"  # ^U ^W ^R
_ALT_MODES = "}~"  # the two older codes of the ESC key; no other key of a Model 33 sends them
_IGNORED = "\x00\x11\x13"  # tape leader; X-ON and X-OFF are handled before
MAX_LINE_CHARACTERS = 4000  # of one prompt: over 50 lines of paper


@dataclass(frozen=True, slots=True)
class EditResult:
    """The text to print for a key (`\\n` a new line, `\\a` the bell), and whether the line is done."""

    echo: str
    outcome: LineOutcome | None = None


class LineEditor:
    """One prompt while it is typed; `text` is the text so far, `\\n` for each soft new line.

    `half_duplex`: the machine prints its own keys at once, so each deletion is closed at once.
    """

    def __init__(self, prompt: str = "", *, limit: int = MAX_LINE_CHARACTERS, half_duplex: bool = False) -> None:
        self.text = ""
        self._prompt = prompt
        self._limit = limit
        self._half_duplex = half_duplex
        self._is_deleting = False  # between the two backslashes of a deletion

    def press(self, key: str) -> EditResult:
        if key in _ALT_MODES:
            key = ESCAPE
        elif key in _RUBOUTS or key == _ERASE_WORD:
            return EditResult(self._rub_out(self._last_word_length() if key == _ERASE_WORD else 1))
        elif key >= " ":
            key = glyph_of(ord(key))
        if key in _IGNORED:
            return EditResult("")
        result = self._handle_key(key)
        return EditResult(self._close_deletion() + result.echo, result.outcome)

    def _handle_key(self, key: str) -> EditResult:
        if key == RETURN:
            return EditResult("\n", "submit")
        if key == INTERRUPT:
            return EditResult("^C\n", "interrupt")
        if key == END_OF_INPUT and not self.text:
            return EditResult("", "end")
        if key == _KILL:
            self.text = self.text[: self._line_start()]
            return EditResult("^U\n" + self._current_line())
        if key == _RETYPE:
            return EditResult("^R\n" + self._current_line())
        if key == ESCAPE:
            self.text = ""
            return EditResult("$\n" + self._current_line())
        if key == LINE_FEED and not self.text:
            return EditResult("")  # the LF after a CR on a tape
        return EditResult(self._insert(" " if key == "\t" else key))

    def _insert(self, key: str) -> str:
        if key < " " and key not in (LINE_FEED, BELL):
            return "^" + chr(ord(key) + 0x40) + BELL  # shown, and refused
        if key == BELL or len(self.text) >= self._limit:
            return BELL
        self.text += key
        return key

    def _rub_out(self, count: int) -> str:
        """Returns the deleted characters between backslashes; the second one follows when the next key is accepted."""
        echo = ""
        for _ in range(min(count, len(self.text))):
            char, self.text = self.text[-1], self.text[:-1]
            if char == "\n":  # back onto the line above, which is printed again
                echo += self._close_deletion() + "\n" + self._current_line()
            else:
                echo += char if self._is_deleting else "\\" + char
                self._is_deleting = True
        return echo + self._close_deletion() if self._half_duplex else echo

    def _close_deletion(self) -> str:
        closing, self._is_deleting = "\\" if self._is_deleting else "", False
        return closing

    def _last_word_length(self) -> int:
        line = self.text[self._line_start() :]
        word = line.rstrip(" ").rpartition(" ")[2]
        return len(line) - len(line.rstrip(" ")) + len(word) or 1

    def _line_start(self) -> int:
        return self.text.rfind("\n") + 1

    def _current_line(self) -> str:
        start = self._line_start()
        return (self._prompt if start == 0 else "") + self.text[start:]


def echo_left_to_print(echo: str, key: str) -> str:
    """Returns the rest of an echo to print in half duplex, where the machine has printed the key by itself.

    A glyph is printed already, and a refused glyph is struck out. After RETURN the line feed is still due; after LINE
    FEED the carriage return is: `\\r`. A function key prints nothing, and the machine does not print its own ALT MODE.
    """
    if key == BELL:
        return echo.removesuffix(BELL)
    if key == LINE_FEED and echo.endswith("\n"):
        return echo[:-1] + "\r"
    glyph = "" if key in _ALT_MODES else glyph_of(ord(key))
    if not glyph:
        return echo
    return echo[:-1] + f"\\{glyph}\\{BELL}" if echo.endswith(BELL) else echo.removesuffix(glyph)
