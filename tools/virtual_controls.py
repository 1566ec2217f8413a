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
_OPEN_LOOP_S = 1.0


class VirtualControls:
    """The machine as whoever sits at this terminal works it. `note` is told what a lever has done."""

    def __init__(self, machine: VirtualTeletype, on_action: Callable[[str], None]) -> None:
        self._machine = machine
        self._on_action = on_action
        self._escaped = False
        self._motor_on = True
        self._torn_rows = 0  # rows of what was punched that were torn off
        self._tape = b""  # the last of them
        self._actions: dict[str, Callable[[], str]] = {
            "H": self._press_here_is,
            "S": self._start_reader,
            "X": self._stop_reader,
            "P": self._toggle_punch,
            "T": self._load_punched_tape,
            "L": self._toggle_local,
            "M": self._toggle_motor,
            "O": self._open_loop,
            "U": self._toggle_cable,
        }

    async def type(self, text: str) -> None:
        """Keys, and Ctrl-] with its letter; Ctrl-] twice is the key itself. Raises NoSuchKey."""
        for key in text:
            escaped, self._escaped = self._escaped, not self._escaped and key == ESCAPE
            if self._escaped:
                continue
            if not escaped or key == ESCAPE:
                await self._machine.type(key)
            elif lever := self._actions.get(key.upper()):
                self._on_action(lever())
            else:
                self._on_action(HELP)

    async def press_break(self) -> None:
        await self._machine.press_break()

    def _press_here_is(self) -> str:
        self._machine.here_is()
        return "HERE IS" if self._machine.sim.drum.rows else "HERE IS: no drum is fitted, see --answerback"

    def _start_reader(self) -> str:
        if self._machine.sim.reader.is_out_of_tape:
            return "reader START: no tape is in it: T puts the punched one there, see also --tape"
        self._machine.start_reader()
        return "reader START"

    def _stop_reader(self) -> str:
        self._machine.sim.reader.halt()
        return "reader STOP"

    def _toggle_punch(self) -> str:
        punch = self._machine.sim.punch
        punch.is_on = not punch.is_on
        return f"punch {'ON' if punch.is_on else 'OFF'}"

    def _load_punched_tape(self) -> str:
        """The tape punched since the last time goes into the reader, or that one again."""
        punched = self._machine.sim.punch.tape
        if len(punched) > self._torn_rows:
            self._tape, self._torn_rows = bytes(punched[self._torn_rows :]), len(punched)
        if not self._tape:
            return "nothing is punched: P is the punch's switch"
        self._machine.sim.reader.load(self._tape)
        return f"the punched tape is in the reader, {len(self._tape)} rows: S starts it"

    def _toggle_local(self) -> str:
        to = "line" if self._machine.sim.line_switch == "local" else "local"
        self._machine.set_line_switch("line" if to == "line" else "local")
        return to.upper()

    def _toggle_motor(self) -> str:
        self._motor_on = not self._motor_on
        self._machine.switch_motor(self._motor_on)
        return f"motor {'ON' if self._motor_on else 'OFF'}"

    def _open_loop(self) -> str:
        self._machine.open_loop(_OPEN_LOOP_S)
        return "the loop is open for a second"

    def _toggle_cable(self) -> str:
        if self._machine.is_plugged:
            self._machine.unplug()
            return "the cable is out"
        self._machine.plug_in()
        return f"the cable is in: {self._machine.path}"
