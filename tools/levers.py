"""The keys and levers of the machine that a terminal has no key for: behind Ctrl-], one letter each.

Stands between `keys.operate` and the machine; all else goes through.
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.virtual import VirtualTeletype

ESCAPE = "\x1d"
HELP = (
    "Ctrl-] and H HERE IS, S reader START, X reader STOP, P punch,\n"
    "    T punched tape into the reader, L LOCAL, M motor, O open loop, U cable"
)
_OPEN_S = 1.0


class Levers:
    """The machine as whoever sits at this terminal works it. `note` is told what a lever has done."""

    def __init__(self, machine: VirtualTeletype, note: Callable[[str], None]) -> None:
        self._machine = machine
        self._note = note
        self._escaped = False
        self._motor = True
        self._torn = 0  # rows of what was punched that were torn off
        self._tape = b""  # the last of them
        self._levers: dict[str, Callable[[], str]] = {
            "H": self._here_is,
            "S": self._start,
            "X": self._stop,
            "P": self._punch,
            "T": self._tear_off,
            "L": self._local,
            "M": self._switch_motor,
            "O": self._open,
            "U": self._cable,
        }

    async def type(self, text: str) -> None:
        """Keys, and Ctrl-] with its letter; Ctrl-] twice is the key itself. Raises NoSuchKey."""
        for key in text:
            escaped, self._escaped = self._escaped, not self._escaped and key == ESCAPE
            if self._escaped:
                continue
            if not escaped or key == ESCAPE:
                await self._machine.type(key)
            elif lever := self._levers.get(key.upper()):
                self._note(lever())
            else:
                self._note(HELP)

    async def press_break(self) -> None:
        await self._machine.press_break()

    def _here_is(self) -> str:
        self._machine.here_is()
        return "HERE IS" if self._machine.station.drum.rows else "HERE IS: no drum is fitted, see --answerback"

    def _start(self) -> str:
        if self._machine.station.reader.out:
            return "reader START: no tape is in it: T puts the punched one there, see also --tape"
        self._machine.start_reader()
        return "reader START"

    def _stop(self) -> str:
        self._machine.station.reader.halt()
        return "reader STOP"

    def _punch(self) -> str:
        punch = self._machine.station.punch
        punch.on = not punch.on
        return f"punch {'ON' if punch.on else 'OFF'}"

    def _tear_off(self) -> str:
        """The tape punched since the last time goes into the reader, or that one again."""
        punched = self._machine.station.punch.tape
        if len(punched) > self._torn:
            self._tape, self._torn = bytes(punched[self._torn :]), len(punched)
        if not self._tape:
            return "nothing is punched: P is the punch's switch"
        self._machine.station.reader.load(self._tape)
        return f"the punched tape is in the reader, {len(self._tape)} rows: S starts it"

    def _local(self) -> str:
        to = "line" if self._machine.station.switch == "local" else "local"
        self._machine.turn_switch("line" if to == "line" else "local")
        return to.upper()

    def _switch_motor(self) -> str:
        self._motor = not self._motor
        self._machine.switch_motor(self._motor)
        return f"motor {'ON' if self._motor else 'OFF'}"

    def _open(self) -> str:
        self._machine.open_loop(_OPEN_S)
        return "the loop is open for a second"

    def _cable(self) -> str:
        if self._machine.plugged:
            self._machine.unplug()
            return "the cable is out"
        self._machine.plug_in()
        return f"the cable is in: {self._machine.path}"
