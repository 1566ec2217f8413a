"""A faithful ASR-33 at the far end of a pty.

`Machine` is its typing unit, `Station` the whole set with its time as an argument, `VirtualTeletype` the same on a
pty, or a TCP port, and in time. Everything but the ports and `teletype` is pure.
"""

from drivers.virtual.answerback import AnswerbackDrum, encode_drum
from drivers.virtual.break_encoding import BreakMode
from drivers.virtual.equipment import Equipment
from drivers.virtual.faults import BadFaults, Faults, LineNoise, RandomSource
from drivers.virtual.keyboard import KeyboardEncoder
from drivers.virtual.mechanics import FAST, GUMMY, MECHANISMS, TYPICAL, Mechanism
from drivers.virtual.port import Port
from drivers.virtual.pty_port import PtyPort
from drivers.virtual.punch import TapePunch
from drivers.virtual.reader import TapeReader
from drivers.virtual.socket_port import SocketPort
from drivers.virtual.teletype_sim import LineSwitch, SimEvent, TeletypeSim
from drivers.virtual.typing_unit import Strike, TypingUnit
from drivers.virtual.virtual_teletype import VirtualTeletype

__all__ = [
    "FAST",
    "GUMMY",
    "MECHANISMS",
    "TYPICAL",
    "AnswerbackDrum",
    "BadFaults",
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
