"""An event loop whose clock jumps, lines in memory with a virtual machine, and a Teletype on such a line."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import re
import select
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from drivers import errors, events
from drivers.clock import CHARACTER_S
from drivers.errors import DriverError
from drivers.line.line_input import Break, Byte, FramingError, HangUp, LineInput, ParmrkDecoder, encode_line_input
from drivers.paper.paper import Paper
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.text.charset import even_parity
from drivers.virtual import Equipment, TeletypeSim, TypingUnit

T = TypeVar("T")
E = TypeVar("E", bound=events.Event)

POLLS_PER_GRACE = 4  # of the descriptors, before a jump
PROSE = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 4


class _JumpingSelector(selectors.PollSelector):
    """Never waits for time to pass: if no descriptor is ready, it tells the loop how far to jump.

    It uses poll(2), which makes a pty pass on its bytes (n_tty_poll); epoll does not.
    """

    def __init__(self, grace_s: float) -> None:
        super().__init__()
        self._grace_s = grace_s
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)  # only a descriptor or a thread can wake the loop
        polls = POLLS_PER_GRACE if self._grace_s else 1
        for _ in range(polls):  # if the computer stalls during one poll, the others remain
            if ready := super().select(min(self._grace_s, timeout) / polls):
                break
        if not ready and timeout > 0:
            self.elapsed += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that skips the time in which nothing happens.

    `grace_s` is the real time that descriptors get before each jump: a pty passes on its bytes with a delay.
    """

    def __init__(self, grace_s: float = 0.0) -> None:
        self._jumping = _JumpingSelector(grace_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.elapsed


async def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits for another process, a thread or the kernel; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def spin_loop(count: int = 20) -> None:
    """Runs `count` rounds of the event loop, so that the tasks of this process make progress."""
    for _ in range(count):
        await asyncio.sleep(0.001)


def run_jumping(main: Coroutine[Any, Any, T], grace_s: float = 0.0) -> T:
    """Runs a coroutine on a loop whose time jumps."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(grace_s)) as runner:
        return runner.run(main)


def on_jumping_loop(test: Callable[..., Coroutine[Any, Any, None]], grace_s: float = 0.0) -> Callable[..., None]:
    """Makes an async test an ordinary one, which runs on a loop whose time jumps."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        run_jumping(test(*args, **options), grace_s)

    return run


class JumpingClock:
    """A `Clock` with the running loop's time, which jumps with the loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - self.now()))


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Yields both ends of a terminal's pty: the user's, and the one for a program's standard streams."""
    master, slave = os.openpty()
    try:
        yield master, slave
    finally:
        for fd in (slave, master):
            os.close(fd)


def read_terminal_until(master: int, pattern: str, seconds: float = 30.0) -> str:
    """Returns the text that a terminal received, up to this pattern."""
    screen, end = "", time.monotonic() + seconds
    while not re.search(pattern, screen, re.DOTALL):
        assert select.select([master], [], [], max(0.0, end - time.monotonic()))[0], screen
        screen += os.read(master, 65536).decode()
    return screen


def read_screen_until(master: int, received: str, *shown: str, seconds: float = 30.0) -> str:
    """Reads on until the screen of a terminal of 80 x 24 shows these texts at the same time; returns all it received.

    Each text is a part of one row. A busy computer writes it to the terminal in several pieces.
    """
    end = time.monotonic() + seconds
    while not all(any(text in row for row in render_screen(received)) for text in shown):
        assert select.select([master], [], [], max(0.0, end - time.monotonic()))[0], received
        received += os.read(master, 65536).decode()
    return received


def render_screen(received: str, columns: int = 80, rows: int = 24) -> list[str]:
    """Returns the rows that a terminal shows after what it received since its other screen began (ECMA-48)."""
    cells, row, column, bottom = [[" "] * columns for _ in range(rows)], 0, 0, rows
    screen = received.rpartition("\x1b[?1049h")[2]
    for codes, function, char in re.findall(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])", screen):
        if function == "H":
            row, column = (int(number) - 1 for number in (codes or "1;1").split(";"))
        elif function == "J":
            cells = [[" "] * columns for _ in range(rows)]
        elif function == "r":
            row, column, bottom = 0, 0, int(codes.split(";")[1]) if codes else rows
        elif char == "\n" and row == bottom - 1:
            cells = [*cells[1:bottom], [" "] * columns, *cells[bottom:]]
        elif char.isprintable() and char and row < rows and column < columns:
            cells[row][column] = char
            column += 1
    return ["".join(line) for line in cells]


class TypingUnitLine:
    """A `Line` in memory: a UART that sends the next byte when the last is out, and a typing unit behind it.

    `max_in_flight` is the largest number of bytes that were in the UART or being struck. `uart_s` is the UART's own
    character time, if it is not the machine's. In half duplex each byte comes back when it is out.
    """

    name = "memory"
    is_pty = True
    is_serial = False

    def __init__(
        self,
        typing_unit: TypingUnit | None = None,
        *,
        character_s: float = CHARACTER_S,
        uart_s: float | None = None,
        half_duplex: bool = False,
    ) -> None:
        self.typing_unit = typing_unit or TypingUnit(character_s=character_s)
        self.written = bytearray()
        self.max_in_flight = 0
        self.lost = False
        self.rts = False
        self.open_loop = False  # half duplex: no byte comes back
        self._character_s = character_s if uart_s is None else uart_s
        self._half_duplex = half_duplex
        self._starts: list[float] = []
        self._listener: Callable[[LineInput], None] = lambda line_input: None

    @property
    def out_waiting(self) -> int:
        now = asyncio.get_running_loop().time()
        return sum(start > now + 1e-9 for start in self._starts)

    def set_rts(self, on: bool) -> None:
        self.rts = on

    def restore_settings(self) -> bool:
        return False

    def listen(self, listener: Callable[[LineInput], None]) -> None:
        self._listener = listener

    def write(self, byte: int) -> None:
        if self.lost:
            raise errors.LineLost("memory: the line hung up")
        loop = asyncio.get_running_loop()
        now, character_s = loop.time(), self._character_s
        start = max([now, *(begin + character_s for begin in self._starts)])
        self._starts = [begin for begin in self._starts if begin + character_s > now + 1e-9] + [start]
        self.max_in_flight = max(self.max_in_flight, len(self._starts))
        self.written.append(byte)
        self.typing_unit.receive(byte, start)
        if self._half_duplex and not self.open_loop:
            loop.call_at(start + character_s, self._listener, Byte(byte))

    def reconnect(self) -> TypingUnitLine:
        """Returns another line to the same machine, which still strikes the bytes of the old line."""
        line = TypingUnitLine(self.typing_unit, character_s=self._character_s)
        line._starts = self._starts
        return line

    async def drain(self) -> None:
        pass

    async def close(self) -> None:
        self.lost = True

    # The far end.

    def press_keys(self, text: str) -> None:
        for char in text:
            self.receive(Byte(even_parity(ord(char))))

    def receive(self, line_input: LineInput) -> None:
        self._listener(line_input)

    def receive_damaged(self, byte: int) -> None:
        self._listener(FramingError(byte))

    def press_break(self) -> None:
        self._listener(Break())

    def hang_up(self) -> None:
        self.lost = True
        self._listener(HangUp("memory: the line hung up"))


class SimLine:
    """A `Line` in memory with a whole machine behind it: keys, drum, reader and punch, in either duplex."""

    name = "station"
    is_pty = True
    is_serial = False
    out_waiting = 0

    def __init__(self, equipment: Equipment, *, seed: int = 33) -> None:
        self.sim = TeletypeSim(equipment, rng=random.Random(seed))
        self.lost = False
        self.rts = False
        self.unread: list[LineInput] = []
        self._mode = equipment.break_mode
        self._decoder = ParmrkDecoder() if equipment.break_mode == "marked" else None
        self._free_at = float("-inf")
        self._listener: Callable[[LineInput], None] = self.unread.append

    @property
    def typing_unit(self) -> TypingUnit:
        return self.sim.typing_unit

    def set_rts(self, on: bool) -> None:
        self.rts = on

    def restore_settings(self) -> bool:
        return False

    def listen(self, listener: Callable[[LineInput], None]) -> None:
        self._listener = listener

    def write(self, byte: int) -> None:
        if self.lost:
            raise errors.LineLost("station: the line hung up")
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._free_at)
        self._free_at = start + CHARACTER_S
        loop.call_at(start, self._receive, byte, start)

    async def drain(self) -> None:
        pass

    async def close(self) -> None:
        self.lost = True

    # The far end.

    async def type(self, text: str, *, every_s: float = CHARACTER_S) -> None:
        for key in text:
            await self._sleep_until(self.sim.keys_free_at - CHARACTER_S + every_s)
            self.sim.press_key(self.sim.keyboard.encode_key(key), asyncio.get_running_loop().time())
            self._handle_events()
        await self._sleep_until(self.sim.keys_free_at)

    def here_is(self) -> None:
        self.sim.here_is(asyncio.get_running_loop().time())
        self._handle_events()

    async def press_break(self) -> None:
        await self._sleep_until(self.sim.keys_free_at)
        self.sim.hold_break(asyncio.get_running_loop().time())
        self._handle_events()

    def _receive(self, byte: int, start: float) -> None:
        self._handle_events()
        self.sim.receive(byte, start)
        self._handle_events()

    def _handle_events(self) -> None:
        loop = asyncio.get_running_loop()
        for event in self.sim.advance(loop.time()):
            if isinstance(event, Byte | Break | FramingError):
                data = encode_line_input(event, self._mode)
                for line_input in self._decoder.feed(data) if self._decoder else map(Byte, data):
                    self._listener(line_input)
        if self.sim.next_event_at is not None:
            loop.call_at(self.sim.next_event_at, self._handle_events)

    async def _sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))


def raises_driver_error(kind: errors.Kind, match: str | None = None) -> pytest.RaisesExc[DriverError]:
    """Expects a DriverError of this kind, and none of its subclasses."""
    return pytest.raises(DriverError, match=match, check=lambda error: (type(error), error.kind) == (DriverError, kind))


def overstruck_cells(paper: Paper) -> list[str]:
    """Returns the cells with more than one glyph."""
    return [cell for line in paper.lines for cell in line if len(cell.replace(" ", "")) > 1]


class TeletypeBench:
    """A Teletype on a line in memory, and all its events. Needs a running loop whose time jumps."""

    def __init__(
        self,
        character_s: float = 0.1,
        *,
        profile: Profile | None = None,
        line: TypingUnitLine | None = None,
        max_line_characters: int = 50,
        wait_for_line: bool = False,
    ) -> None:
        # The duplex is given, as a line in memory cannot detect it.
        profile = profile or Profile(duplex="full")
        self.line = line or TypingUnitLine(
            TypingUnit(profile.columns, character_s=character_s), character_s=character_s
        )
        self.typing_unit = self.line.typing_unit
        self.clock = JumpingClock()
        self.events: list[events.Event] = []
        self.tty = Teletype(
            self.line,
            self.clock,
            profile,
            on_event=self.events.append,
            character_s=character_s,
            max_line_characters=max_line_characters,
            wait_for_line=wait_for_line,
        )

    def events_of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def reconnect(self) -> None:
        """Attaches another line to the same machine."""
        self.line = self.line.reconnect()
        self.tty.attach(self.line)

    def assert_clean(self) -> None:
        assert self.typing_unit.driver_errors == []
        assert overstruck_cells(self.typing_unit.paper) == []
        assert self.line.max_in_flight <= 2
