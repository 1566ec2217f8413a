"""The virtual Model 33: a simulated machine at the far end of a pty or a TCP port, which counts the driver's errors.

`TypingUnit` is its printer, `TeletypeSim` the whole set with time as an argument, `VirtualTeletype` the same in real
time. Knows nothing of the driver but its paper, its text, and the input of a line.
"""

from drivers.line.line_input import BreakMode
from drivers.virtual.answerback import AnswerbackDrum, encode_drum
from drivers.virtual.faults import Faults, LineNoise, RandomSource
from drivers.virtual.keyboard import KeyboardEncoder
from drivers.virtual.mechanics import FAST, GUMMY, MECHANISMS, TYPICAL, Mechanism
from drivers.virtual.ports import Port, PtyPort, SocketPort
from drivers.virtual.tape import TapePunch, TapeReader
from drivers.virtual.teletype_sim import Equipment, LineSwitch, SimEvent, TeletypeSim
from drivers.virtual.typing_unit import Strike, TypingUnit
from drivers.virtual.virtual_teletype import VirtualTeletype

__all__ = [
    "FAST",
    "GUMMY",
    "MECHANISMS",
    "TYPICAL",
    "AnswerbackDrum",
    "BreakMode",
    "Equipment",
    "Faults",
    "KeyboardEncoder",
    "LineNoise",
    "LineSwitch",
    "Mechanism",
    "Port",
    "PtyPort",
    "RandomSource",
    "SimEvent",
    "SocketPort",
    "Strike",
    "TapePunch",
    "TapeReader",
    "TeletypeSim",
    "TypingUnit",
    "VirtualTeletype",
    "encode_drum",
]
