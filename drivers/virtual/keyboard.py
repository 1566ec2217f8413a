"""The keyboard: which code a keytop sends with SHIFT and CTRL, and its eighth bit.

There are three keyboards: even parity, level 8 always marking, level 8 always spacing - Bulletin 310B
574-100-101TC. Knows no moment; that keys lock each other out is `station`'s.
"""

from __future__ import annotations

from typing import Final, Literal

from drivers.errors import NoSuchKey
from drivers.paper.paper import RUBOUT
from drivers.profile import ParityOut
from drivers.text.charset import even_parity

AltMode = Literal[0x1B, 0x7D, 0x7E]
ESC: Final = 0x1B
_LEVEL_5, _LEVEL_7 = 0x10, 0x40
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:;,-./ "
_SHIFTED = "KLMNOP123456789:;,-./"  # SHIFT with another key, and the keyboard locks - 574-121-100TC 5.28


class KeyboardEncoder:
    """`alt_mode`: what the key at the upper left sends, 7D on early machines, 7E by the ASCII of 1963, 1B since."""

    def __init__(self, parity: ParityOut = "even", alt_mode: AltMode = ESC) -> None:
        self.parity = parity
        self._alt_mode = alt_mode

    def encode_key(self, key: str) -> int:
        """The byte for a character, by whatever keys make it; a small letter is its key.

        `\\r` is RETURN, `\\n` LINE FEED, `\\x7f` RUBOUT, `\\x1b` ALT MODE. Raises NoSuchKey for what has no key.
        """
        code = ord(key.upper() if key.islower() and len(key.upper()) == 1 else key)
        if code == ESC:
            code = self._alt_mode
        elif code >= 0x60 and code not in (0x7D, RUBOUT):  # PDP-11 peripherals: all but 340 to 374 and 376
            raise NoSuchKey(
                f"{key!r} has no key on a Model 33: type SP to _, RETURN (\\r), LINE FEED (\\n), RUBOUT (\\x7f)"
            )
        return self._with_level_8(code)

    def encode_chord(self, keytop: str, *, shift: bool = False, ctrl: bool = False) -> int:
        """The byte for one keytop: SHIFT inverts level 5, CTRL clears level 7. Raises NoSuchKey where it locks."""
        locked = (shift and keytop not in _SHIFTED) or (ctrl and ord(keytop[:1] or " ") < _LEVEL_7)
        if keytop not in _PLAIN or len(keytop) != 1 or locked:
            held = " ".join(["SHIFT"] * shift + ["CTRL"] * ctrl + [repr(keytop)])
            raise NoSuchKey(f"{held} locks the keyboard of a Model 33: press a key that has it on its top")
        code = ord(keytop) ^ _LEVEL_5 * shift
        return self._with_level_8(code & ~_LEVEL_7 if ctrl else code)

    def _with_level_8(self, code: int) -> int:
        if self.parity == "even":
            return even_parity(code)
        return code | 0x80 if self.parity == "mark" else code
