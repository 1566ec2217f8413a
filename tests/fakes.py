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
from drivers.charset import even_parity
from drivers.clock import CHARACTER_S
from drivers.events import Break, Byte, Frame, HangUp, Heard, Marking
from drivers.paper import Paper
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.virtual import Fitted, Machine, Station
from drivers.virtual.adapter import wire_bytes

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


async def until(met: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for what another process, a thread or the kernel does; fails by the clock, succeeds by the fact."""
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 - no event of this loop could tell
            await asyncio.sleep(0.005)


async def rounds(count: int = 20) -> None:
    """So many rounds of the event loop, however fast they go: what is ready in this process gets done."""
    for _ in range(count):
        await asyncio.sleep(0.001)


def jump(main: Coroutine[Any, Any, T], grace_s: float = 0.0) -> T:
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


def shown_until(master: int, pattern: str, seconds: float = 30.0) -> str:
    """What a terminal was sent, up to this."""
    shown, end = "", time.monotonic() + seconds
    while not re.search(pattern, shown, re.DOTALL):
        assert select.select([master], [], [], max(0.0, end - time.monotonic()))[0], shown
        shown += os.read(master, 65536).decode()
    return shown


class MachineLine:
    """A `Line` in memory: a UART that starts the next byte when the last is out, and a Machine behind it.

    `deepest` is the most bytes that were ever below the writer, the one being struck among them. `uart_s` is the
    UART's own character time, where it is not the machine's. In half duplex each byte comes back when it is out.
    """

    name = "memory"
    is_pty = True

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        character_s: float = CHARACTER_S,
        uart_s: float | None = None,
        half_duplex: bool = False,
    ) -> None:
        self.machine = machine or Machine(character_s=character_s)
        self.wire = bytearray()
        self.deepest = 0
        self.lost = False
        self.rts = False
        self.open_loop = False  # half duplex: nothing comes back
        self._character_s = character_s if uart_s is None else uart_s
        self._half_duplex = half_duplex
        self._starts: list[float] = []
        self._listener: Callable[[Heard], None] = lambda heard: None

    @property
    def waiting(self) -> int:
        now = asyncio.get_running_loop().time()
        return sum(start > now + 1e-9 for start in self._starts)

    def set_rts(self, on: bool) -> None:
        self.rts = on

    def listen(self, listener: Callable[[Heard], None]) -> None:
        self._listener = listener

    def write(self, byte: int) -> None:
        if self.lost:
            raise errors.LineLost("memory: the line hung up")
        loop = asyncio.get_running_loop()
        now, lasting = loop.time(), self._character_s
        start = max([now, *(begun + lasting for begun in self._starts)])
        self._starts = [begun for begun in self._starts if begun + lasting > now + 1e-9] + [start]
        self.deepest = max(self.deepest, len(self._starts))
        self.wire.append(byte)
        self.machine.receive(byte, start)
        if self._half_duplex and not self.open_loop:
            loop.call_at(start + lasting, self._listener, Byte(byte))

    def plugged_in_again(self) -> MachineLine:
        """Another line to the same machine, which is still striking what the old one had handed over."""
        line = MachineLine(self.machine, character_s=self._character_s)
        line._starts = self._starts
        return line

    async def drain(self) -> None:
        pass

    async def close(self) -> None:
        self.lost = True

    # The far end.

    def key(self, text: str) -> None:
        for char in text:
            self.come(Byte(even_parity(ord(char))))

    def come(self, heard: Heard) -> None:
        self._listener(heard)

    def damage(self, byte: int) -> None:
        self._listener(Frame(byte))

    def press_break(self) -> None:
        self._listener(Break())

    def hang_up(self) -> None:
        self.lost = True
        self._listener(HangUp("memory: the line hung up"))


class StationLine:
    """A `Line` in memory with a whole machine behind it: keys, drum, reader and punch, in either duplex."""

    name = "station"
    is_pty = True
    waiting = 0

    def __init__(self, fitted: Fitted, *, seed: int = 33) -> None:
        self.station = Station(fitted, chance=random.Random(seed))
        self.lost = False
        self.rts = False
        self.heard: list[Heard] = []
        self._mode = fitted.break_mode
        self._marking = Marking() if fitted.break_mode == "marked" else None
        self._free_at = float("-inf")
        self._listener: Callable[[Heard], None] = self.heard.append

    @property
    def machine(self) -> Machine:
        return self.station.unit

    def set_rts(self, on: bool) -> None:
        self.rts = on

    def listen(self, listener: Callable[[Heard], None]) -> None:
        self._listener = listener

    def write(self, byte: int) -> None:
        if self.lost:
            raise errors.LineLost("station: the line hung up")
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._free_at)
        self._free_at = start + CHARACTER_S
        loop.call_at(start, self._hear, byte, start)

    async def drain(self) -> None:
        pass

    async def close(self) -> None:
        self.lost = True

    # The far end.

    async def type(self, text: str, *, every_s: float = CHARACTER_S) -> None:
        for key in text:
            await self._until(self.station.keys_free_at - CHARACTER_S + every_s)
            self.station.press(self.station.keytops.code(key), asyncio.get_running_loop().time())
            self._happen()
        await self._until(self.station.keys_free_at)

    def here_is(self) -> None:
        self.station.here_is(asyncio.get_running_loop().time())
        self._happen()

    async def press_break(self) -> None:
        await self._until(self.station.keys_free_at)
        self.station.hold_break(asyncio.get_running_loop().time())
        self._happen()

    def _hear(self, byte: int, start: float) -> None:
        self._happen()
        self.station.hear(byte, start)
        self._happen()

    def _happen(self) -> None:
        loop = asyncio.get_running_loop()
        for one in self.station.advance(loop.time()):
            if isinstance(one, Byte | Break | Frame):
                data = wire_bytes(one, self._mode)
                for heard in self._marking.feed(data) if self._marking else map(Byte, data):
                    self._listener(heard)
        if self.station.due is not None:
            loop.call_at(self.station.due, self._happen)

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))


def overstruck(paper: Paper) -> list[str]:
    """The cells with more than one glyph in them."""
    return [cell for line in paper.lines for cell in line if len(cell.replace(" ", "")) > 1]


class Bench:
    """A Teletype on a line in memory, and all that its tap was told. Wants a running loop that jumps."""

    def __init__(
        self,
        character_s: float = 0.1,
        *,
        profile: Profile | None = None,
        line: MachineLine | None = None,
        limit: int = 50,
        patient: bool = False,
    ) -> None:
        # Full duplex is said, not found out: a line in memory has no first second in which to listen.
        profile = profile or Profile(duplex="full")
        self.line = line or MachineLine(Machine(profile.columns, character_s=character_s), character_s=character_s)
        self.machine = self.line.machine
        self.clock = JumpingClock()
        self.seen: list[events.Event] = []
        self.tty = Teletype(
            self.line, self.clock, profile, tap=self.seen.append, character_s=character_s, limit=limit, patient=patient
        )

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.seen if isinstance(event, kind)]

    def assert_clean(self) -> None:
        assert self.machine.faults == []
        assert overstruck(self.machine.paper) == []
        assert self.line.deepest <= 2
