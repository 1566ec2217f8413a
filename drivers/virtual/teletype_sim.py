"""A whole ASR-33 on its line: typing unit, keyboard, drum, reader and punch, and who hears whom.

Time is an argument: inputs come with their moment, `due` says when something happens next, and `advance` returns
what has happened since. Knows no port, no clock, and nothing of how an adapter puts it into bytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.events import Break, Byte, FramingError
from drivers.virtual.answerback import AnswerbackDrum
from drivers.virtual.current_loop import CurrentLoop, LineCharacter
from drivers.virtual.equipment import Equipment
from drivers.virtual.faults import RandomSource, garble_byte
from drivers.virtual.keyboard import KeyboardEncoder
from drivers.virtual.punch import TapePunch
from drivers.virtual.reader import TapeReader
from drivers.virtual.typing_unit import DC1, DC3, ENQ, Strike, TypingUnit

LineSwitch = Literal["line", "local", "off"]
SimEvent = Strike | Byte | Break | FramingError  # what the paper gets, and what the host hears

BREAK_S = 0.25  # how long a finger holds the BREAK key
_TURN_S = 0.001  # of the distributor in a machine without pace
_EPSILON_S = 1e-9  # floating point


class TeletypeSim:
    """The set at one end of a line. `chance` is for the garbage while the motor comes up."""

    def __init__(
        self,
        equipment: Equipment | None = None,
        *,
        rng: RandomSource,
        character_s: float = CHARACTER_S,
        clock_fast_by: float = 0.0,
    ) -> None:
        """`fast_by`: the line's clock may be fast by this share, and that is no haste of the driver's."""
        self.equipment = equipment = equipment or Equipment()
        profile = equipment.profile
        unit_s = character_s * (1.0 - clock_fast_by)
        self.typing_unit = TypingUnit(
            character_s=unit_s,
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
        self.lost_characters = 0  # characters from the line that never reached the selector
        self.keys_free_at = float("-inf")  # keys lock each other out until the last one is sent
        self._loop = CurrentLoop(half_duplex=profile.duplex == "half")
        self._rng = rng
        self._character_s = character_s
        self._motor_on = True
        self._up_to_speed_at = float("-inf")
        self._loop_open_until = float("-inf")
        self._pending_key: int | None = None  # pressed, and not yet taken by the distributor
        self._current_row: int | None = None  # from the tape, under way
        self._turn_ends: float | None = None  # of the distributor, while it turns
        self._characters_in_flight = 0  # characters from the line that are not yet whole
        self._event_queue: list[tuple[float, int, Callable[[float], None]]] = []
        self._event_number = 0
        self._events: list[SimEvent] = []

    # Time.

    @property
    def next_event_at(self) -> float | None:
        """When something happens next, if nothing comes from outside."""
        return self._event_queue[0][0] if self._event_queue else None

    @property
    def is_receiving(self) -> bool:
        """Whether a character from the line is under way."""
        return self._characters_in_flight > 0

    def advance(self, now: float) -> list[SimEvent]:
        """All that has happened up to now, in order."""
        while self._event_queue and self._event_queue[0][0] <= now + _EPSILON_S:
            moment, _, do = heapq.heappop(self._event_queue)
            do(moment)
        happened, self._events = self._events, []
        return happened

    @property
    def line_switch(self) -> LineSwitch:
        """LINE, LOCAL or OFF. In LOCAL the keys print, and the line neither hears nor is heard."""
        return self._line_switch

    # What comes from outside; `now` is never before the last `advance`.

    def receive(self, byte: int, start: float) -> None:
        """A character from the far end begins."""
        taken: int | None = byte
        if start < self._up_to_speed_at and self._motor_on:
            taken = garble_byte(byte, self._rng)
        if taken is None or not self._motor_on or self._line_switch != "line" or start < self._loop_open_until:
            self.lost_characters += 1
            return
        self._characters_in_flight += 1
        self._begin_character(LineCharacter(start, start + self._character_s, taken, local=False))

    def press_key(self, code: int, now: float) -> float:
        """A key whose code has 8 bits, not before `keys_free_at`; back with the moment at which it is sent."""
        if not self._is_powered:
            return now
        self._pending_key = code
        self._start_turn(now)
        begun = self._turn_ends or now  # taken at once, or at the end of a turn that drum or reader had begun
        self.keys_free_at = begun if self._pending_key is None else begun + self._turn_s
        return self.keys_free_at

    def hold_break(self, now: float, duration_s: float | None = None) -> float:
        """The BREAK key; back with the moment at which it is let go."""
        held = BREAK_S / CHARACTER_S * self._character_s if duration_s is None else duration_s
        if not self._is_powered:
            return now
        self.reader.halt()
        self._loop.open_loop(now, now + held)
        if self._line_switch == "local" or self._loop.half_duplex:
            self._schedule_chatter(now, held)
        self._schedule(
            now + min(held, self._character_s),
            lambda at: self._report_to_host(_break_as_received(held, self._character_s)),
        )
        self.keys_free_at = now + held
        return now + held

    def open_loop(self, now: float, duration_s: float) -> None:
        """The cable breaks, and is whole again later: no current either way, and the machine runs open."""
        self._loop_open_until = now + duration_s
        self._loop.open_loop(now, self._loop_open_until)
        self._schedule_chatter(now, duration_s)
        self._schedule(now + self._character_s, lambda at: self._report_to_host(Break()))

    def here_is(self, now: float) -> None:
        """The HERE IS key."""
        if self._is_powered and self.drum.trip():
            self._start_turn(now)

    def start_reader(self, now: float) -> None:
        """The reader's lever to START."""
        if self._is_powered:
            self.reader.start()
            self._start_turn(now)

    def set_line_switch(self, position: LineSwitch) -> None:
        """The knob at the right."""
        self._line_switch = position
        if position == "off":
            self.reader.halt()

    def switch_motor(self, on: bool, now: float) -> None:
        """The motor takes its time to come up, and until then the selector garbles and loses."""
        if on and not self._motor_on:
            self._up_to_speed_at = now + self.equipment.profile.spin_up_ms / 1000
        self._motor_on = on
        self._start_turn(now)  # a reader that was running runs on

    # The distributor: one shaft for keyboard, reader and drum, their contacts in parallel - 574-122-100TC 4.127.

    @property
    def _is_powered(self) -> bool:
        return self._motor_on and self._line_switch != "off"

    @property
    def _turn_s(self) -> float:
        return self._character_s or (_TURN_S if self.drum.is_turning or self.reader.is_running else 0.0)

    def _start_turn(self, now: float) -> None:
        """Begin a turn, if none is under way and there is something to send."""
        wanted = self.drum.is_turning or self.reader.is_running or self._pending_key is not None
        if self._turn_ends is not None or not wanted or not self._is_powered:
            return
        end = now + self._turn_s
        self._turn_ends = end
        byte, silent = 0, False
        if self.drum.is_turning:
            row = self.drum.next_row()
            byte, silent = row or 0, row is None
        if self.reader.is_running:
            self._current_row = self.reader.next_row()
            byte |= self._current_row
        byte |= self._pending_key or 0
        self._pending_key = None
        if not silent:  # the suppression contact shunts whatever else is sent with it
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
        half = self._loop.half_duplex
        if not character.local or half or self._line_switch == "local":
            self._select_character(character)
        if character.local or half:
            self._report_to_host(FramingError(character.byte) if character.damaged else Byte(character.byte))

    def _select_character(self, character: LineCharacter) -> None:
        """What the selector takes, and all who hear it from the typing unit's codebars."""
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

    def _report_to_host(self, line_input: Byte | Break | FramingError) -> None:
        if self._line_switch == "line":  # in LOCAL and OFF the line is shunted, and the host sees it idle
            self._events.append(line_input)

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
    """A line that is open for less than a character reads as one: the bits that it lasted are spacing."""
    units = int(held_s / character_s * 11) if character_s else 11
    return Break() if units >= 10 else Byte(0xFF << max(units - 1, 0) & 0xFF)
