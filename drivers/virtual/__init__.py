"""A faithful ASR-33 at the far end of a pty.

`Machine` is its typing unit, `Station` the whole set with its time as an argument, `VirtualTeletype` the same on a
pty, or a TCP port, and in time. Everything but the ports and `teletype` is pure.
"""

from drivers.virtual.adapter import BreakMode
from drivers.virtual.body import FAST, GUMMY, MECHANISMS, TYPICAL, Mechanism
from drivers.virtual.drum import AnswerbackDrum, encode_drum
from drivers.virtual.faults import BadFaults, Faults, LineNoise, RandomSource
from drivers.virtual.fitted import Equipment
from drivers.virtual.keytops import KeyboardEncoder
from drivers.virtual.machine import Strike, TypingUnit
from drivers.virtual.port import Port
from drivers.virtual.pty_port import PtyPort
from drivers.virtual.punch import TapePunch
from drivers.virtual.reader import TapeReader
from drivers.virtual.socket_port import SocketPort
from drivers.virtual.station import LineSwitch, SimEvent, TeletypeSim
from drivers.virtual.teletype import VirtualTeletype

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
