"""Bytes to keys, and the line editor: RUBOUT as DEC echoed it, ^U ^W ^R, a soft new line, RETURN.

Data in, data out: a key goes in, what the paper shall show and what has come of it comes out. Does not know the
column, the line, or who reads what was typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivers.charset import even_parity, strip_parity
from drivers.paper import glyph_of

Parity = Literal["even", "mark", "space"]
Outcome = Literal["submit", "interrupt", "end"]

BELL, RETURN, LINE_FEED, ESCAPE, INTERRUPT, END = "\a", "\r", "\n", "\x1b", "\x03", "\x04"
_RUBOUTS = "\x7f\b_"  # RUBOUT, ^H, and the left arrow of DTSS and BASIC
_ALT_MODES = "}~"  # the two older codes of the ESC key; no other key of a Model 33 sends them
_UNHEARD = "\x00\x11\x13"  # tape leader, and the reader's own X-ON and X-OFF
LIMIT = 4000  # characters of one prompt, over 50 lines of paper


class Keyboard:
    """Strips the parity bit and learns which keyboard is out there.

    There are three: even parity, level 8 always marking, level 8 always spacing - Teletype Bulletin 310B
    574-100-101TC.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.damaged = 0  # characters that the wire spoilt, which are not typed
        self.violations: dict[Parity, int] = {"even": 0, "mark": 0, "space": 0}

    def receive(self, byte: int) -> str:
        """The key of a byte: one character of 7 bits."""
        bits = strip_parity(byte)
        if bits != 0x00:  # a bare NUL may be a BREAK that the adapter did not mark
            self.bytes += 1
            self.violations["even"] += byte != even_parity(bits)
            self.violations["mark"] += byte != bits | 0x80
            self.violations["space"] += byte != bits
        return chr(bits)

    @property
    def parity(self) -> Parity | None:
        """The mode that the bytes so far agree with best; None while two agree equally well."""
        first, second, _ = sorted(self.violations, key=self.violations.__getitem__)
        return None if self.violations[first] == self.violations[second] else first


@dataclass(frozen=True, slots=True)
class Reply:
    """What the paper shows for a key (`\\n` a new line, `\\a` the bell), and whether the line is done."""

    echo: str
    outcome: Outcome | None = None


class Editor:
    """One prompt while it is typed; `text` is what would be submitted now, `\\n` for each soft new line."""

    def __init__(self, prompt: str = "", *, limit: int = LIMIT) -> None:
        self.text = ""
        self._prompt = prompt
        self._limit = limit
        self._rubbing = False  # between the two backslashes of a deletion

    def press(self, key: str) -> Reply:
        """One key, any of the 128."""
        if key == ESCAPE or key in _ALT_MODES:
            key = ESCAPE
        elif key in _RUBOUTS:
            return Reply(self._rub_out(1))
        elif key >= " ":
            key = glyph_of(ord(key))
        if key in _UNHEARD:
            return Reply("")
        if key == "\x17":  # ^W
            return Reply(self._rub_out(self._last_word()))
        reply = self._plain(key)
        closing, self._rubbing = "\\" if self._rubbing else "", False
        return Reply(closing + reply.echo, reply.outcome)

    def _plain(self, key: str) -> Reply:
        if key == RETURN:
            return Reply("\n", "submit")
        if key == INTERRUPT:
            return Reply("^C\n", "interrupt")
        if key == END and not self.text:
            return Reply("", "end")
        if key == "\x15":  # ^U
            self.text = self.text[: self._line_start()]
            return Reply("^U\n" + self._retyped())
        if key == "\x12":  # ^R
            return Reply("^R\n" + self._retyped())
        if key == ESCAPE:
            self.text = ""
            return Reply("$\n" + self._retyped())
        if key == LINE_FEED and not self.text:
            return Reply("")  # the LF after a CR on a tape
        return Reply(self._accept(" " if key == "\t" else key))

    def _accept(self, key: str) -> str:
        typable = key >= " " or key == LINE_FEED
        if not typable or len(self.text) >= self._limit:
            return BELL
        self.text += key
        return key

    def _rub_out(self, count: int) -> str:
        """Deleted characters between backslashes, the second one when the next key is accepted."""
        echo = ""
        for _ in range(min(count, len(self.text))):
            char, self.text = self.text[-1], self.text[:-1]
            if char == "\n":  # back onto the line above, which is typed once more
                echo += ("\\" if self._rubbing else "") + "\n" + self._retyped()
                self._rubbing = False
            else:
                echo += char if self._rubbing else "\\" + char
                self._rubbing = True
        return echo

    def _last_word(self) -> int:
        line = self.text[self._line_start() :]
        word = line.rstrip(" ").rpartition(" ")[2]
        return len(line) - len(line.rstrip(" ")) + len(word) or 1

    def _line_start(self) -> int:
        return self.text.rfind("\n") + 1

    def _retyped(self) -> str:
        start = self._line_start()
        return (self._prompt if start == 0 else "") + self.text[start:]
