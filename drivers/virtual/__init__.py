"""A faithful ASR-33 at the far end of a pty.

`Machine` is its typing unit, `Station` the whole set with its time as an argument, `VirtualTeletype` the same on a
pty, or a TCP port, and in time. Everything but the ports and `teletype` is pure.
"""

from drivers.virtual.adapter import BreakMode
from drivers.virtual.body import BODIES, FAST, GUMMY, TYPICAL, Body
from drivers.virtual.drum import Drum, coded
from drivers.virtual.faults import BadFaults, Chance, Faults, Noise
from drivers.virtual.fitted import Fitted
from drivers.virtual.keytops import Keytops
from drivers.virtual.machine import Machine, Strike
from drivers.virtual.port import Port
from drivers.virtual.pty_port import PtyPort
from drivers.virtual.punch import Punch
from drivers.virtual.reader import Reader
from drivers.virtual.socket_port import SocketPort
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
    "Port",
    "PtyPort",
    "Punch",
    "Reader",
    "SocketPort",
    "Station",
    "Strike",
    "Switch",
    "VirtualTeletype",
    "coded",
]
