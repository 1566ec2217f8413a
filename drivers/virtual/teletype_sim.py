"""A whole ASR-33 on its line: typing unit, keyboard, drum, reader and punch, and the connections between them.

Time is an argument: inputs come with their moment, `next_event_at` is the next moment of an event, and `advance`
returns the events until now. Knows no port, no clock, and no encoding of BREAK.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.line.line_input import Break, BreakMode, Byte, FramingError, LineSignal
from drivers.profile import Parity, Profile
from drivers.virtual.answerback import AnswerbackDrum, encode_drum
from drivers.virtual.current_loop import CurrentLoop, LineCharacter
from drivers.virtual.faults import RandomSource, garble_byte
from drivers.virtual.keyboard import ESC, AltMode, KeyboardEncoder
from drivers.virtual.mechanics import TYPICAL, Mechanism
from drivers.virtual.tape import TapePunch, TapeReader
from drivers.virtual.typing_unit import DC1, DC3, ENQ, Strike, TypingUnit

LineSwitch = Literal["line", "local", "off"]
SimEvent = Strike | LineSignal  # a strike on the paper, or a signal to the host

FACTORY_PROFILE = Profile()
DEFAULT_ANSWERBACK = encode_drum("\r\nASR 33\r\n")
MARGIN_BELL, END_BELL = 62, 71  # 71: Bulletin 310B 574-100-101TC, which gives no column for the margin bell
BREAK_S = 0.25  # how long an operator holds the BREAK key
_TURN_S = 0.001  # of the distributor in a machine without pacing
_EPSILON_S = 1e-9  # floating point


@dataclass(frozen=True, slots=True)
class Equipment:
    """The equipment of a machine. The default is in good order, full duplex, at an adapter that marks a BREAK."""

    profile: Profile = FACTORY_PROFILE
    mechanism: Mechanism = TYPICAL
    break_mode: BreakMode = "marked"
    key_parity: Parity = "even"
    alt_mode: AltMode = ESC
    coded_levers: bool = False
    bell_columns: tuple[int, ...] = ()  # columns, from 1, at which the machine rings by itself
    answerback_rows: bytes = DEFAULT_ANSWERBACK  # of the drum, if the profile has one
    every_other: bool = False  # the drum ignores each second ENQ
    tape: bytes = b""  # in the reader
    reader_lag: int = 1  # characters that come after an X-OFF, 1 or 2


class TeletypeSim:
    """The machine at one end of a line. `rng` garbles characters while the motor spins up."""

    def __init__(
        self,
        equipment: Equipment | None = None,
        *,
        rng: RandomSource,
        character_s: float = CHARACTER_S,
        clock_fast_by: float = 0.0,
    ) -> None:
        """`clock_fast_by`: the share by which the line's clock may be fast, without an error of the driver."""
        self.equipment = equipment = equipment or Equipment()
        profile = equipment.profile
        self.typing_unit = TypingUnit(
            character_s=character_s * (1.0 - clock_fast_by),
            mechanism=equipment.mechanism,
            profile=profile,
            coded_levers=equipment.coded_levers,
            bell_columns=equipment.bell_columns,
        )
        self.keyboard = KeyboardEncoder(equipment.key_parity, equipment.alt_mode)
        self.drum = AnswerbackDrum(
            equipment.answerback_rows if profile.answerback else b"", every_other=equipment.every_other
        )
        self.reader = TapeReader(equipment.tape, lag=equipment.reader_lag)
        self.punch = TapePunch(auto=profile.auto_punch)
        self._line_switch: LineSwitch = "line"
        self.lost_characters = 0  # characters from the line that did not reach the selector
        self.keys_free_at = float("-inf")  # keys lock each other out until the last one is sent
        self._loop = CurrentLoop(half_duplex=profile.duplex == "half")
        self._rng = rng
        self._character_s = character_s
        self._motor_on = True
        self._up_to_speed_at = float("-inf")
        self._loop_open_until = float("-inf")
        self._pending_key: int | None = None  # pressed, and not yet taken by the distributor
        self._current_row: int | None = None  # of the tape, being sent
        self._turn_ends: float | None = None  # of the distributor, while it turns
        self._characters_in_flight = 0  # characters from the line that are not yet complete
        self._event_queue: list[tuple[float, int, Callable[[float], None]]] = []
        self._event_number = 0
        self._events: list[SimEvent] = []

    # Time.

    @property
    def next_event_at(self) -> float | None:
        """The time of the next event, if no input comes; None: no event."""
        return self._event_queue[0][0] if self._event_queue else None

    @property
    def is_receiving(self) -> bool:
        """Whether a character from the line is under way."""
        return self._characters_in_flight > 0

    def advance(self, now: float) -> list[SimEvent]:
        """Returns all events that are due by now, in order."""
        while self._event_queue and self._event_queue[0][0] <= now + _EPSILON_S:
            moment, _, action = heapq.heappop(self._event_queue)
            action(moment)
        events, self._events = self._events, []
        return events

    @property
    def line_switch(self) -> LineSwitch:
        """LINE, LOCAL or OFF. In LOCAL the keys print, and the line is disconnected."""
        return self._line_switch

    # Inputs; `now` is never before the last `advance`.

    def receive(self, byte: int, start: float) -> None:
        """Starts a character from the far end."""
        received: int | None = byte
        if start < self._up_to_speed_at and self._motor_on:
            received = garble_byte(byte, self._rng)
        if received is None or not self._motor_on or self._line_switch != "line" or start < self._loop_open_until:
            self.lost_characters += 1
            return
        self._characters_in_flight += 1
        self._begin_character(LineCharacter(start, start + self._character_s, received, local=False))

    def press_key(self, code: int, now: float) -> float:
        """Presses a key with a code of 8 bits, not before `keys_free_at`; returns the time at which it is sent."""
        if not self._is_powered:
            return now
        self._pending_key = code
        self._start_turn(now)
        taken_at = self._turn_ends or now  # taken at once, or at the end of a turn that drum or reader had begun
        self.keys_free_at = taken_at if self._pending_key is None else taken_at + self._turn_s
        return self.keys_free_at

    def hold_break(self, now: float, duration_s: float | None = None) -> float:
        """Presses the BREAK key; returns the time at which it is released."""
        held_s = BREAK_S / CHARACTER_S * self._character_s if duration_s is None else duration_s
        if not self._is_powered:
            return now
        self.reader.halt()
        self._loop.open_loop(now, now + held_s)
        if self._line_switch == "local" or self._loop.half_duplex:
            self._schedule_chatter(now, held_s)
        signal = _break_as_received(held_s, self._character_s)
        self._schedule(now + min(held_s, self._character_s), lambda at: self._report_to_host(signal))
        self.keys_free_at = now + held_s
        return self.keys_free_at

    def open_loop(self, now: float, duration_s: float) -> None:
        """Opens the cable for a while: no current flows in either direction, and the machine chatters."""
        self._loop_open_until = now + duration_s
        self._loop.open_loop(now, self._loop_open_until)
        self._schedule_chatter(now, duration_s)
        self._schedule(now + self._character_s, lambda at: self._report_to_host(Break()))

    def here_is(self, now: float) -> None:
        """Presses the HERE IS key."""
        if self._is_powered and self.drum.trip():
            self._start_turn(now)

    def start_reader(self, now: float) -> None:
        """Moves the reader's lever to START."""
        if self._is_powered:
            self.reader.start()
            self._start_turn(now)

    def set_line_switch(self, position: LineSwitch) -> None:
        """Turns the knob at the right."""
        self._line_switch = position
        if position == "off":
            self.reader.halt()

    def switch_motor(self, on: bool, now: float) -> None:
        """Switches the motor. While it spins up, the selector garbles and loses characters."""
        if on and not self._motor_on:
            self._up_to_speed_at = now + self.equipment.profile.spin_up_ms / 1000
        self._motor_on = on
        self._start_turn(now)  # a reader that was running continues

    # The distributor: one shaft for keyboard, reader and drum, their contacts in parallel - 574-122-100TC 4.127.

    @property
    def _is_powered(self) -> bool:
        return self._motor_on and self._line_switch != "off"

    @property
    def _turn_s(self) -> float:
        return self._character_s or (_TURN_S if self.drum.is_turning or self.reader.is_running else 0.0)

    def _start_turn(self, now: float) -> None:
        """Begins a turn, if none is under way and there is a character to send."""
        has_output = self.drum.is_turning or self.reader.is_running or self._pending_key is not None
        if self._turn_ends is not None or not has_output or not self._is_powered:
            return
        self._turn_ends = end = now + self._turn_s
        byte, silent = 0, False
        if self.drum.is_turning:
            row = self.drum.next_row()
            byte, silent = row or 0, row is None
        if self.reader.is_running:
            self._current_row = self.reader.next_row()
            byte |= self._current_row
        byte |= self._pending_key or 0
        self._pending_key = None
        if not silent:  # the suppression contact shunts all that is sent with it
            self._begin_character(LineCharacter(now, end, byte, local=True))
        self._schedule(end, self._end_turn)

    def _end_turn(self, now: float) -> None:
        self._turn_ends = self._current_row = None
        self._start_turn(now)

    # The line.

    def _begin_character(self, character: LineCharacter) -> None:
        self._loop.begin_character(character)
        self._schedule(character.end, lambda at: self._end_character(character))

    def _end_character(self, character: LineCharacter) -> None:
        self._characters_in_flight -= not character.local
        if character.lost or self._line_switch == "off" or (self._line_switch == "local" and not character.local):
            return
        if not character.local or self._loop.half_duplex or self._line_switch == "local":
            self._select_character(character)
        if character.local or self._loop.half_duplex:
            self._report_to_host(FramingError(character.byte) if character.damaged else Byte(character.byte))

    def _select_character(self, character: LineCharacter) -> None:
        """Passes a received character to the typing unit, and to all units at its codebars."""
        byte, local = character.byte, character.local
        self._events.append(self.typing_unit.receive(byte, character.start, local=local, punching=self.punch.is_on))
        self.punch.receive(byte)
        bits = byte & 0x7F
        if self.equipment.profile.auto_reader:
            if bits == DC1:
                self.reader.start()
            elif bits == DC3:
                self.reader.receive_xoff(self._current_row if not local else None)
            elif bits == ENQ:
                self.reader.halt()
        self.drum.receive(bits, local=local)
        self._start_turn(character.end)

    def _report_to_host(self, signal: LineSignal) -> None:
        if self._line_switch == "line":  # in LOCAL and OFF the line is shunted, and the host sees it idle
            self._events.append(signal)

    def _schedule_chatter(self, now: float, duration_s: float) -> None:
        cycle_s = self._character_s or CHARACTER_S
        for cycle in range(1, int(duration_s / cycle_s + _EPSILON_S) + 1):
            self._schedule(now + cycle * self._character_s, lambda at: self._run_open_cycle())

    def _run_open_cycle(self) -> None:
        self.typing_unit.run_open_line()
        if self.punch.is_on:
            self.punch.receive(0x00)

    def _schedule(self, moment: float, action: Callable[[float], None]) -> None:
        self._event_number += 1
        heapq.heappush(self._event_queue, (moment, self._event_number, action))


def _break_as_received(held_s: float, character_s: float) -> Byte | Break:
    """Returns the signal of a line that is held open; in less than a character time it is a byte of spacing bits."""
    units = int(held_s / character_s * 11) if character_s else 11
    return Break() if units >= 10 else Byte(0xFF << max(units - 1, 0) & 0xFF)
