"""A faithful ASR-33 at the far end of a pty.

`Machine` is its typing unit, `Station` the whole set with its time as an argument, `VirtualTeletype` the same on a
pty and in time. Everything but `port` and `teletype` is pure.
"""

from drivers.virtual.adapter import BreakMode
from drivers.virtual.body import BODIES, FAST, GUMMY, TYPICAL, Body
from drivers.virtual.drum import Drum, coded
from drivers.virtual.faults import BadFaults, Chance, Faults, Noise
from drivers.virtual.fitted import Fitted
from drivers.virtual.keytops import Keytops
from drivers.virtual.machine import Machine, Strike
from drivers.virtual.punch import Punch
from drivers.virtual.reader import Reader
from drivers.virtual.station import Happening, Station, Switch
from drivers.virtual.teletype import VirtualTeletype

__all__ = [
    "BODIES",
    "FAST",
    "GUMMY",
    "TYPICAL",
    "BadFaults",
    "Body",
    "BreakMode",
    "Chance",
    "Drum",
    "Faults",
    "Fitted",
    "Happening",
    "Keytops",
    "Machine",
    "Noise",
    "Punch",
    "Reader",
    "Station",
    "Strike",
    "Switch",
    "VirtualTeletype",
    "coded",
]
