"""A whole ASR-33 on its line: typing unit, keyboard, drum, reader and punch, and who hears whom.

Time is an argument: inputs come with their moment, `due` says when something happens next, and `advance` returns
what has happened since. Knows no port, no clock, and nothing of how an adapter puts it into bytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.events import Break, Byte, Frame
from drivers.virtual.drum import Drum
from drivers.virtual.faults import Chance, garbled
from drivers.virtual.fitted import Fitted
from drivers.virtual.keytops import Keytops
from drivers.virtual.machine import DC1, DC3, ENQ, Machine, Strike
from drivers.virtual.punch import Punch
from drivers.virtual.reader import Reader
from drivers.virtual.wiring import Character, Wiring

Switch = Literal["line", "local", "off"]
Happening = Strike | Byte | Break | Frame  # what the paper gets, and what the host hears

BREAK_S = 0.25  # how long a finger holds the BREAK key
_TURN_S = 0.001  # of the distributor in a machine without pace
_LATE_S = 1e-9  # floating point


class Station:
    """The set at one end of a line. `chance` is for the garbage while the motor comes up."""

    def __init__(
        self, fitted: Fitted | None = None, *, chance: Chance, character_s: float = CHARACTER_S, fast_by: float = 0.0
    ) -> None:
        """`fast_by`: the line's clock may be fast by this share, and that is no haste of the driver's."""
        self.fitted = fitted = fitted or Fitted()
        profile = fitted.profile
        unit_s = character_s * (1.0 - fast_by)
        self.unit = Machine(
            character_s=unit_s,
            body=fitted.body,
            profile=profile,
            coded_levers=fitted.coded_levers,
            bells=fitted.bells,
        )
        self.keytops = Keytops(fitted.key_parity, fitted.alt_mode)
        self.drum = Drum(fitted.answer if profile.answerback else b"", every_other=fitted.every_other)
        self.reader = Reader(fitted.tape, lag=fitted.reader_lag)
        self.punch = Punch(auto=profile.auto_punch)
        self._switch: Switch = "line"
        self.unheard = 0  # characters from the line that never reached the selector
        self.keys_free_at = float("-inf")  # keys lock each other out until the last one is sent
        self._wiring = Wiring(half=profile.duplex == "half")
        self._chance = chance
        self._character_s = character_s
        self._motor = True
        self._steady_at = float("-inf")
        self._open_until = float("-inf")
        self._key: int | None = None  # pressed, and not yet taken by the distributor
        self._row: int | None = None  # from the tape, under way
        self._turn_ends: float | None = None  # of the distributor, while it turns
        self._coming = 0  # characters from the line that are not yet whole
        self._plan: list[tuple[float, int, Callable[[float], None]]] = []
        self._planned = 0
        self._happened: list[Happening] = []

    # Time.

    @property
    def due(self) -> float | None:
        """When something happens next, if nothing comes from outside."""
        return self._plan[0][0] if self._plan else None

    @property
    def hearing(self) -> bool:
        """Whether a character from the line is under way."""
        return self._coming > 0

    def advance(self, now: float) -> list[Happening]:
        """All that has happened up to now, in order."""
        while self._plan and self._plan[0][0] <= now + _LATE_S:
            moment, _, do = heapq.heappop(self._plan)
            do(moment)
        happened, self._happened = self._happened, []
        return happened

    @property
    def switch(self) -> Switch:
        """LINE, LOCAL or OFF. In LOCAL the keys print, and the line neither hears nor is heard."""
        return self._switch

    # What comes from outside; `now` is never before the last `advance`.

    def hear(self, byte: int, start: float) -> None:
        """A character from the far end begins."""
        taken: int | None = byte
        if start < self._steady_at and self._motor:
            taken = garbled(byte, self._chance)
        if taken is None or not self._motor or self._switch != "line" or start < self._open_until:
            self.unheard += 1
            return
        self._coming += 1
        self._send(Character(start, start + self._character_s, taken, local=False))

    def press(self, code: int, now: float) -> float:
        """A key whose code has 8 bits, not before `keys_free_at`; back with the moment at which it is sent."""
        if not self._powered:
            return now
        self._key = code
        self._go(now)
        begun = self._turn_ends or now  # taken at once, or at the end of a turn that drum or reader had begun
        self.keys_free_at = begun if self._key is None else begun + self._turn_s
        return self.keys_free_at

    def hold_break(self, now: float, lasting_s: float | None = None) -> float:
        """The BREAK key; back with the moment at which it is let go."""
        held = BREAK_S / CHARACTER_S * self._character_s if lasting_s is None else lasting_s
        if not self._powered:
            return now
        self.reader.halt()
        self._wiring.open(now, now + held)
        if self._switch == "local" or self._wiring.half:
            self._chatter(now, held)
        self._plan_at(now + min(held, self._character_s), lambda at: self._tell(_as_heard(held, self._character_s)))
        self.keys_free_at = now + held
        return now + held

    def open_loop(self, now: float, lasting_s: float) -> None:
        """The cable breaks, and is whole again later: no current either way, and the machine runs open."""
        self._open_until = now + lasting_s
        self._wiring.open(now, self._open_until)
        self._chatter(now, lasting_s)
        self._plan_at(now + self._character_s, lambda at: self._tell(Break()))

    def here_is(self, now: float) -> None:
        """The HERE IS key."""
        if self._powered and self.drum.trip():
            self._go(now)

    def start_reader(self, now: float) -> None:
        """The reader's lever to START."""
        if self._powered:
            self.reader.start()
            self._go(now)

    def turn_switch(self, to: Switch) -> None:
        """The knob at the right."""
        self._switch = to
        if to == "off":
            self.reader.halt()

    def switch_motor(self, on: bool, now: float) -> None:
        """The motor takes its time to come up, and until then the selector garbles and loses."""
        if on and not self._motor:
            self._steady_at = now + self.fitted.profile.spin_up_ms / 1000
        self._motor = on
        self._go(now)  # a reader that was running runs on

    # The distributor: one shaft for keyboard, reader and drum, their contacts in parallel - 574-122-100TC 4.127.

    @property
    def _powered(self) -> bool:
        return self._motor and self._switch != "off"

    @property
    def _turn_s(self) -> float:
        return self._character_s or (_TURN_S if self.drum.turning or self.reader.running else 0.0)

    def _go(self, now: float) -> None:
        """Begin a turn, if none is under way and there is something to send."""
        wanted = self.drum.turning or self.reader.running or self._key is not None
        if self._turn_ends is not None or not wanted or not self._powered:
            return
        end = now + self._turn_s
        self._turn_ends = end
        byte, silent = 0, False
        if self.drum.turning:
            row = self.drum.turn()
            byte, silent = row or 0, row is None
        if self.reader.running:
            self._row = self.reader.turn()
            byte |= self._row
        byte |= self._key or 0
        self._key = None
        if not silent:  # the suppression contact shunts whatever else is sent with it
            self._send(Character(now, end, byte, local=True))
        self._plan_at(end, self._turned)

    def _turned(self, now: float) -> None:
        self._turn_ends = self._row = None
        self._go(now)

    # The line.

    def _send(self, character: Character) -> None:
        self._wiring.begin(character)
        self._plan_at(character.end, lambda at: self._arrive(character))

    def _arrive(self, character: Character) -> None:
        self._coming -= not character.local
        if character.lost or self._switch == "off" or (self._switch == "local" and not character.local):
            return
        half = self._wiring.half
        if not character.local or half or self._switch == "local":
            self._receive(character)
        if character.local or half:
            self._tell(Frame(character.byte) if character.damaged else Byte(character.byte))

    def _receive(self, character: Character) -> None:
        """What the selector takes, and all who hear it from the typing unit's codebars."""
        byte, local = character.byte, character.local
        self._happened.append(self.unit.receive(byte, character.start, local=local, taping=self.punch.on))
        self.punch.take(byte)
        bits = byte & 0x7F
        if self.fitted.profile.auto_reader:
            if bits == DC1:
                self.reader.start()
            elif bits == DC3:
                self.reader.x_off(self._row if not local else None)
            elif bits == ENQ:
                self.reader.halt()
        self.drum.hear(bits, local=local)
        self._go(character.end)

    def _tell(self, heard: Byte | Break | Frame) -> None:
        if self._switch == "line":  # in LOCAL and OFF the line is shunted, and the host sees it idle
            self._happened.append(heard)

    def _chatter(self, now: float, lasting_s: float) -> None:
        cycle_s = self._character_s or CHARACTER_S
        for cycle in range(1, int(lasting_s / cycle_s + _LATE_S) + 1):
            self._plan_at(now + cycle * self._character_s, lambda at: self._run_open())

    def _run_open(self) -> None:
        self.unit.run_open()
        if self.punch.on:
            self.punch.take(0x00)

    def _plan_at(self, moment: float, do: Callable[[float], None]) -> None:
        self._planned += 1
        heapq.heappush(self._plan, (moment, self._planned, do))


def _as_heard(held_s: float, character_s: float) -> Byte | Break:
    """A line that is open for less than a character reads as one: the bits that it lasted are spacing."""
    units = int(held_s / character_s * 11) if character_s else 11
    return Break() if units >= 10 else Byte(0xFF << max(units - 1, 0) & 0xFF)
