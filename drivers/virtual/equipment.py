"""A machine as it was ordered: the profile that its driver has too, and what no driver can know.

Plain data.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.profile import ParityOut, Profile
from drivers.virtual.answerback import encode_drum
from drivers.virtual.break_encoding import BreakMode
from drivers.virtual.keyboard import ESC, AltMode
from drivers.virtual.mechanics import TYPICAL, Mechanism

FACTORY_PROFILE = Profile()
DEFAULT_ANSWERBACK = encode_drum("\r\nASR 33\r\n")
MARGIN_BELL, END_BELL = 62, 71  # 71: Bulletin 310B 574-100-101TC; of the margin bell it gives no column


@dataclass(frozen=True, slots=True)
class Equipment:
    """The defaults are a machine in good order, full duplex, at an adapter that marks a BREAK."""

    profile: Profile = FACTORY_PROFILE
    mechanism: Mechanism = TYPICAL
    break_mode: BreakMode = "marked"
    key_parity: ParityOut = "even"
    alt_mode: AltMode = ESC
    coded_levers: bool = False
    bell_columns: tuple[int, ...] = ()  # columns, from 1, at which the machine rings by itself
    answerback_rows: bytes = DEFAULT_ANSWERBACK  # of the drum, if the profile has one
    every_other: bool = False  # the drum sleeps through each second ENQ
    tape: bytes = b""  # in the reader
    reader_lag: int = 1  # characters that come after an X-OFF, 1 or 2
