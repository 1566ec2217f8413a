"""Fakes with behaviour for the machine and its time: a loop whose clock jumps, and a line that ends in a Machine."""

from __future__ import annotations

import asyncio
import os
import random
import re
import select
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from drivers import errors, events
from drivers.clock import CHARACTER_S
from drivers.events import Break, Byte, FramingError, HangUp, LineInput, ParmrkDecoder
from drivers.paper.paper import Paper
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.text.charset import even_parity
from drivers.virtual import Equipment, TeletypeSim, TypingUnit
from drivers.virtual.break_encoding import encode_line_input

T = TypeVar("T")
E = TypeVar("E", bound=events.Event)

GLANCES = 4  # that the grace before a jump is divided into
PROSE = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 4


class _JumpingSelector(selectors.PollSelector):
    """Never waits for time to pass: if no descriptor is ready it says how far to jump.

    It polls: poll(2) makes a pty hand on what was written to it (n_tty_poll), which epoll leaves to the kernel.
    """

    def __init__(self, grace_s: float) -> None:
        super().__init__()
        self._grace_s = grace_s
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)  # only a descriptor or a thread can wake us
        glances = GLANCES if self._grace_s else 1
        for _ in range(glances):  # a computer that stood still in one of them has the others
            if ready := super().select(min(self._grace_s, timeout) / glances):
                break
        if not ready and timeout > 0:
            self.elapsed += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour passes in the time that its work takes.

    `grace_s` is real time given to descriptors before each jump: a pty hands its bytes on a moment later.
    """

    def __init__(self, grace_s: float = 0.0) -> None:
        self._jumping = _JumpingSelector(grace_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.elapsed


async def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for what another process, a thread or the kernel does; fails by the clock, succeeds by the fact."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - no event of this loop could tell
            await asyncio.sleep(0.005)


async def spin_loop(count: int = 20) -> None:
    """So many rounds of the event loop, however fast they go: what is ready in this process gets done."""
    for _ in range(count):
        await asyncio.sleep(0.001)


def run_jumping(main: Coroutine[Any, Any, T], grace_s: float = 0.0) -> T:
    """`asyncio.run` on a loop whose time jumps; for tests that are no coroutines themselves."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(grace_s)) as runner:
        return runner.run(main)


class JumpingClock:
    """The running loop's time: a `Clock` that jumps where the loop does."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - self.now()))


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal as a pty: whoever sits at it, and what a program has as its standard streams."""
    master, slave = os.openpty()
    try:
        yield master, slave
    finally:
        for fd in (slave, master):
            os.close(fd)


def read_terminal_until(master: int, pattern: str, seconds: float = 30.0) -> str:
    """What a terminal was sent, up to this."""
    shown, end = "", time.monotonic() + seconds
    while not re.search(pattern, shown, re.DOTALL):
        assert select.select([master], [], [], max(0.0, end - time.monotonic()))[0], shown
        shown += os.read(master, 65536).decode()
    return shown


class TypingUnitLine:
    """A `Line` in memory: a UART that starts the next byte when the last is out, and a Machine behind it.

    `deepest` is the most bytes that were ever below the writer, the one being struck among them. `uart_s` is the
    UART's own character time, where it is not the machine's. In half duplex each byte comes back when it is out.
    """

    name = "memory"
    is_pty = True

    def __init__(
        self,
        typing_unit: TypingUnit | None = None,
        *,
        character_s: float = CHARACTER_S,
        uart_s: float | None = None,
        half_duplex: bool = False,
    ) -> None:
        self.typing_unit = typing_unit or TypingUnit(character_s=character_s)
        self.wire = bytearray()
        self.max_in_flight = 0
        self.lost = False
        self.rts = False
        self.open_loop = False  # half duplex: nothing comes back
        self._character_s = character_s if uart_s is None else uart_s
        self._half_duplex = half_duplex
        self._starts: list[float] = []
        self._listener: Callable[[LineInput], None] = lambda heard: None

    @property
    def out_waiting(self) -> int:
        now = asyncio.get_running_loop().time()
        return sum(start > now + 1e-9 for start in self._starts)

    def set_rts(self, on: bool) -> None:
        self.rts = on

    def listen(self, listener: Callable[[LineInput], None]) -> None:
        self._listener = listener

    def write(self, byte: int) -> None:
        if self.lost:
            raise errors.LineLost("memory: the line hung up")
        loop = asyncio.get_running_loop()
        now, lasting = loop.time(), self._character_s
        start = max([now, *(begun + lasting for begun in self._starts)])
        self._starts = [begun for begun in self._starts if begun + lasting > now + 1e-9] + [start]
        self.max_in_flight = max(self.max_in_flight, len(self._starts))
        self.wire.append(byte)
        self.typing_unit.receive(byte, start)
        if self._half_duplex and not self.open_loop:
            loop.call_at(start + lasting, self._listener, Byte(byte))

    def reconnect(self) -> TypingUnitLine:
        """Another line to the same machine, which is still striking what the old one had handed over."""
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
            await self._until(self.sim.keys_free_at - CHARACTER_S + every_s)
            self.sim.press_key(self.sim.keyboard.encode_key(key), asyncio.get_running_loop().time())
            self._handle_events()
        await self._until(self.sim.keys_free_at)

    def here_is(self) -> None:
        self.sim.here_is(asyncio.get_running_loop().time())
        self._handle_events()

    async def press_break(self) -> None:
        await self._until(self.sim.keys_free_at)
        self.sim.hold_break(asyncio.get_running_loop().time())
        self._handle_events()

    def _receive(self, byte: int, start: float) -> None:
        self._handle_events()
        self.sim.receive(byte, start)
        self._handle_events()

    def _handle_events(self) -> None:
        loop = asyncio.get_running_loop()
        for one in self.sim.advance(loop.time()):
            if isinstance(one, Byte | Break | FramingError):
                data = encode_line_input(one, self._mode)
                for heard in self._decoder.feed(data) if self._decoder else map(Byte, data):
                    self._listener(heard)
        if self.sim.next_event_at is not None:
            loop.call_at(self.sim.next_event_at, self._handle_events)

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))


def overstruck_cells(paper: Paper) -> list[str]:
    """The cells with more than one glyph in them."""
    return [cell for line in paper.lines for cell in line if len(cell.replace(" ", "")) > 1]


class TeletypeBench:
    """A Teletype on a line in memory, and all that its tap was told. Wants a running loop that jumps."""

    def __init__(
        self,
        character_s: float = 0.1,
        *,
        profile: Profile | None = None,
        line: TypingUnitLine | None = None,
        max_line_characters: int = 50,
        wait_for_line: bool = False,
    ) -> None:
        # Full duplex is said, not found out: a line in memory has no first second in which to listen.
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

    def assert_clean(self) -> None:
        assert self.typing_unit.faults == []
        assert overstruck_cells(self.typing_unit.paper) == []
        assert self.line.max_in_flight <= 2
