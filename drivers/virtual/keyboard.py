"""The keyboard: the code of each key with SHIFT and CTRL, and its parity bit.

There are three keyboards: even parity, level 8 always marking, level 8 always spacing - Bulletin 310B 574-100-101TC.
Knows no moment; `teletype_sim` locks the keys while one is sent.
"""

from __future__ import annotations

from typing import Final, Literal

from drivers.errors import NoSuchKey
from drivers.paper.paper import RUBOUT
from drivers.profile import Parity
from drivers.text.charset import apply_parity

AltMode = Literal[0x1B, 0x7D, 0x7E]
ESC: Final = 0x1B
_LEVEL_5, _LEVEL_7 = 0x10, 0x40
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:;,-./ "
_SHIFTED = "KLMNOP123456789:;,-./"  # SHIFT with another key locks the keyboard - 574-121-100TC 5.28


class KeyboardEncoder:
    """`alt_mode`: the code of the key at the upper left: 7D on early machines, 7E by the ASCII of 1963, 1B since."""

    def __init__(self, parity: Parity = "even", alt_mode: AltMode = ESC) -> None:
        self.parity = parity
        self._alt_mode = alt_mode

    def encode_key(self, key: str) -> int:
        """Returns the byte for a character; a small letter is its capital's key.

        `\\r` is RETURN, `\\n` LINE FEED, `\\x7f` RUBOUT, `\\x1b` ALT MODE. Raises NoSuchKey for a character without a
        key.
        """
        code = ord(key.upper() if key.islower() and len(key.upper()) == 1 else key)
        if code == ESC:
            code = self._alt_mode
        elif code >= 0x60 and code not in (0x7D, RUBOUT):  # PDP-11 peripherals: all codes but octal 340 to 374 and 376
            raise NoSuchKey(
                f"{key!r} has no key on a Model 33: type SP to _, RETURN (\\r), LINE FEED (\\n), RUBOUT (\\x7f)"
            )
        return apply_parity(code, self.parity)

    def encode_chord(self, keytop: str, *, shift: bool = False, ctrl: bool = False) -> int:
        """Returns the byte for one keytop: SHIFT inverts level 5, CTRL clears level 7. Raises NoSuchKey."""
        locked = (shift and keytop not in _SHIFTED) or (ctrl and ord(keytop[:1] or " ") < _LEVEL_7)
        if keytop not in _PLAIN or len(keytop) != 1 or locked:
            chord = " ".join(["SHIFT"] * shift + ["CTRL"] * ctrl + [repr(keytop)])
            raise NoSuchKey(f"{chord} locks the keyboard of a Model 33: press a key that has it on its top")
        code = ord(keytop) ^ _LEVEL_5 * shift
        return apply_parity(code & ~_LEVEL_7 if ctrl else code, self.parity)
