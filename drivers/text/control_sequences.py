"""Removes the control sequences of terminals (ECMA-48) from text that comes in pieces.

CSI goes with its parameters, OSC, DCS, APC, PM and SOS with their strings, and any other ESC with its final character;
the C1 controls U+0080 to U+009F stand for ESC and a letter. CR, LF, BEL, BS, TAB and FF outside of a sequence stay.
"""

from __future__ import annotations

import re
from typing import Literal

ESC, BEL, ST = "\x1b", "\a", "\x9c"
MAX_SEQUENCE_CHARS = 128  # of a CSI or another ESC; 24-bit colours of text and ground take 40
# A string that is longer ends at the next blank: pictures in base64 and Sixels have none. Kitty's pieces have 4,096.
MAX_STRING_CHARS, MAX_DATA_CHARS = 4200, 65536

_CONTROL = re.compile("[\x1b\x80-\x9f]")
_CANCEL = "\x18\x1a"
_LINE_ENDS = "\n\v\f\x85\u2028\u2029"
_C1_INTRODUCERS = {"\x90": "P", "\x98": "X", "\x9b": "[", "\x9d": "]", "\x9e": "^", "\x9f": "_"}
# UTF-8 that was read as Latin-1 has C1 controls after a letter from U+00C2 to U+00DF, or after another such control.
_BEFORE_MOJIBAKE = re.compile("[\x80-\xbf\xc2-\xdf]")

_State = Literal["text", "escape", "csi", "string"]


class ControlSequenceRemover:
    """Gives the same text for any pieces. A sequence that never ends takes a bounded part of the text with it.

    A string ends at its terminator, and without one at the end of the line (DCS may have more lines).
    """

    def __init__(self) -> None:
        self._state: _State = "text"
        self._introducer = ""  # of the string: the letter after ESC
        self._length = 0
        self._previous = ""  # the last character of the text, "" after a sequence

    def feed(self, text: str) -> str:
        """Returns the characters of this piece that belong to no sequence."""
        if self._state == "text" and not _CONTROL.search(text):
            self._previous = text[-1:] or self._previous
            return text
        return "".join(filter(self._is_text, text))

    def _is_text(self, char: str) -> bool:
        self._length += 1
        if self._state == "string":
            return self._is_after_string(char)
        if self._state == "text":
            is_mojibake = bool(_BEFORE_MOJIBAKE.match(self._previous))
            return self._starts_no_sequence(char, is_mojibake)
        if char == ESC:
            return self._enter("escape")
        if char in _CANCEL:
            return self._enter("text")
        # A control or a letter beyond ASCII is in no sequence: this one has no end.
        if not " " <= char <= "\x7f" or self._length > MAX_SEQUENCE_CHARS:
            return self._leave_without_end(char)
        if self._state == "escape" and self._length == 1 and char in "[PX]^_":
            return self._introduce(char)
        is_final = "@" <= char <= "~" if self._state == "csi" else "0" <= char <= "~"
        return self._enter("text") if is_final else False

    def _starts_no_sequence(self, char: str, is_mojibake: bool) -> bool:
        if char == ESC:
            return self._enter("escape")
        if char in _C1_INTRODUCERS and not is_mojibake:
            return self._introduce(_C1_INTRODUCERS[char])
        self._previous = char
        return not "\x80" <= char <= "\x9f" or char == "\x85"

    def _is_after_string(self, char: str) -> bool:
        if char == ESC:
            return self._enter("escape")  # ST is ESC and a backslash; another ESC begins another sequence
        if char == ST or char in _CANCEL or (char == BEL and self._introducer == "]"):
            return self._enter("text")
        is_too_long = self._length > MAX_STRING_CHARS and not "!" <= char <= "~"
        ends_line = char in _LINE_ENDS and self._introducer != "P"
        if ends_line or is_too_long or self._length > MAX_DATA_CHARS:
            return self._leave_without_end(char)
        return False

    def _introduce(self, letter: str) -> bool:
        self._introducer = letter
        return self._enter("csi" if letter == "[" else "string")

    def _enter(self, state: _State) -> bool:
        self._state, self._length, self._previous = state, 0, ""
        return False

    def _leave_without_end(self, char: str) -> bool:
        self._enter("text")
        return self._starts_no_sequence(char, is_mojibake=False)


def remove_control_sequences(text: str) -> str:
    """Returns a whole text without its control sequences."""
    return ControlSequenceRemover().feed(text)
