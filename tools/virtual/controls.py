"""The controls of a virtual machine that a terminal has no key for: Ctrl-] and a letter each."""

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
    """Works the machine's controls; `on_action` gets a line that says what a control did."""

    def __init__(self, machine: VirtualTeletype, on_action: Callable[[str], None]) -> None:
        self._machine, self._on_action = machine, on_action
        self._escaped = False  # the last key was Ctrl-]
        self._motor_on = True
        self._torn_rows = 0  # punched rows that were torn off
        self._tape = b""  # the tape that was torn off last
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
        """Types keys; Ctrl-] with a letter works a control, Ctrl-] twice types that key. Raises NoSuchKey."""
        for key in text:
            escaped, self._escaped = self._escaped, not self._escaped and key == ESCAPE
            if self._escaped:
                continue
            if not escaped or key == ESCAPE:
                await self._machine.type(key)
            elif control := self._actions.get(key.upper()):
                self._on_action(control())
            else:
                self._on_action(HELP)

    async def press_break(self) -> None:
        await self._machine.press_break()

    def _press_here_is(self) -> str:
        self._machine.here_is()
        return "HERE IS" if self._machine.sim.drum.rows else "HERE IS: the machine has no drum, see --answerback"

    def _start_reader(self) -> str:
        if self._machine.sim.reader.is_out_of_tape:
            return "reader START: no tape is in it: T puts the punched tape there, see also --tape"
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
        """Puts the rows that were punched since the last call into the reader; without new rows the previous tape."""
        punched = self._machine.sim.punch.tape
        if len(punched) > self._torn_rows:
            self._tape, self._torn_rows = bytes(punched[self._torn_rows :]), len(punched)
        if not self._tape:
            return "no tape is punched: P switches the punch on"
        self._machine.sim.reader.load(self._tape)
        return f"the punched tape is in the reader, {len(self._tape)} rows: S starts it"

    def _toggle_local(self) -> str:
        is_local = self._machine.sim.line_switch == "local"
        self._machine.set_line_switch("line" if is_local else "local")
        return "LINE" if is_local else "LOCAL"

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
