"""A Model 33 at the far end of a pty: `Machine` is the mechanism, `VirtualTeletype` its wires and its keys.

It takes one byte per character time as a UART would, throws its carriage, piles up in the last column, prints in
flight if it is made to, and its keyboard is no faster than the real one. It speaks the kernel's marking of BREAK,
because a pty cannot carry the real thing. Full duplex: what is typed is printed only if the far end echoes it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios
import tty
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from drivers.charset import even_parity
from drivers.clock import CHARACTER_S, Clock
from drivers.errors import LineBusy, LineNotFound, NoSuchKey
from drivers.paper import BEL, COLUMNS, CR, LF, RUBOUT, Paper, glyph_of

STRIKE_S = 0.130  # from the start bit to the type wheel on the paper: ten bits, then half a function cycle
FLIGHT_S = 0.020  # the carriage lets go ...
FLIGHT_PER_COLUMN_S = 0.0026  # ... and flies: 207 ms from column 72, a healthy machine with its dashpot set
_GLANCE_S = 0.01  # how often to look whether the wire is empty; the kernel carries a byte over in far less
_EARLY_S = 1e-6  # floating point, not haste
_LOG = 100_000  # strikes kept: nearly three hours of paper


@dataclass(frozen=True, slots=True)
class Strike:
    """A byte (7 bits) that the mechanism has taken, and where it found the carriage."""

    start: float
    byte: int
    column: int
    smeared: bool = False
    piled_up: bool = False


class Machine:
    """The typing unit: bytes and their start times in, ink out. What a driver must never make it do is counted."""

    def __init__(self, columns: int = COLUMNS, *, character_s: float = CHARACTER_S) -> None:
        self.paper = Paper(columns)
        self.column = 0
        self.struck = 0  # bytes taken in all its life
        self.strikes: deque[Strike] = deque(maxlen=_LOG)
        self.smeared: list[Strike] = []
        self.piled_up: list[Strike] = []
        self.forbidden: list[Strike] = []
        self.overspeed: list[Strike] = []
        self._character_s = character_s
        self._pace = character_s / CHARACTER_S  # a machine without pace has a carriage without mass
        self._last_start = float("-inf")
        self._left_at = float("-inf")  # the last CR: when, from where
        self._left_from = 0

    @property
    def faults(self) -> list[Strike]:
        """All that a driver should not have done; empty is clean."""
        return self.smeared + self.piled_up + self.forbidden + self.overspeed

    def receive(self, byte: int, start: float) -> Strike:
        """One byte whose start bit came at `start`, in seconds."""
        byte &= 0x7F
        if byte == CR:
            strike = self._return(start)
        elif glyph := glyph_of(byte):
            strike = self._print(glyph, byte, start)
        else:
            strike = self._function(byte, start)
        if start < self._last_start + self._character_s - _EARLY_S:
            self.overspeed.append(strike)
        self._last_start = start
        self.strikes.append(strike)
        self.struck += 1
        return strike

    def _return(self, start: float) -> Strike:
        strike = Strike(start, CR, self.column)
        struck_at = start + STRIKE_S * self._pace
        if struck_at >= self._arrival():  # a second CR in flight changes nothing
            self._left_at, self._left_from = struck_at, self.column
        self.column = self.paper.column = 0
        return strike

    def _print(self, glyph: str, byte: int, start: float) -> Strike:
        struck_at = start + STRIKE_S * self._pace
        to_go = self._arrival() - struck_at
        if to_go > _EARLY_S:  # it spaces only once the carriage is home, so a strike in flight advances nothing
            column = round(self._left_from * min(1.0, to_go / (self._arrival() - self._left_at)))
            strike = Strike(start, byte, column, smeared=True)
            self.smeared.append(strike)
        else:
            full = self.column >= self.paper.columns
            strike = Strike(start, byte, min(self.column, self.paper.columns - 1), piled_up=full)
            self.column = self.paper.column = min(self.column + 1, self.paper.columns)
            if full:
                self.piled_up.append(strike)
        self.paper.strike(glyph, strike.column)
        return strike

    def _function(self, byte: int, start: float) -> Strike:
        strike = Strike(start, byte, self.column)
        if byte == LF:
            self.paper.line_feed()
        elif byte == BEL:
            self.paper.bells += 1
        elif byte not in (0x00, RUBOUT):
            self.forbidden.append(strike)
        return strike

    def _arrival(self) -> float:
        return self._left_at + (FLIGHT_S + FLIGHT_PER_COLUMN_S * self._left_from) * self._pace


class VirtualTeletype:
    """A machine on a pty. `async with` it; `path` is what a driver opens, `link` a name for it that lasts."""

    def __init__(
        self,
        clock: Clock,
        *,
        link: Path | None = None,
        columns: int = COLUMNS,
        character_s: float = CHARACTER_S,
        on_strike: Callable[[Strike], None] | None = None,
    ) -> None:
        """`character_s` 0: as fast as it comes. `on_strike` is told each byte as the mechanism takes it."""
        self.machine = Machine(columns, character_s=character_s)
        self.path = ""
        self.backlog = 0  # the most bytes that ever lay at the wire, the one about to be struck among them
        self.overrun = 0  # typed bytes that the far end had no room for
        self._clock = clock
        self._link = link
        self._character_s = character_s
        self._on_strike = on_strike or (lambda strike: None)
        self._key_at = float("-inf")
        self._free_at = float("-inf")

    async def __aenter__(self) -> Self:
        # Our own hold on the far end: without it each close of the driver would be a hang-up here.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        try:
            self._make_link()
        except BaseException:
            self._close_pty()
            raise
        self._motor = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._motor.cancel()
        await asyncio.wait([self._motor])
        asyncio.get_running_loop().remove_reader(self._master)
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self.path:
            self._link.unlink()
        self._close_pty()
        if not self._motor.cancelled() and (stopped := self._motor.exception()) and error is None:
            raise stopped

    async def running(self) -> None:
        """Never back; raises what stopped the machine, which is what `on_strike` raised. Whoever waits watches this."""
        await asyncio.wait([self._motor])
        self._motor.result()

    # The keyboard.

    async def type(self, text: str) -> None:
        """Each character as a key, no faster than the machine can: `\\r` is RETURN, `\\n` LINE FEED, `\\x7f` RUBOUT.

        A small letter is its key. Raises NoSuchKey, before anything is typed.
        """
        codes = [_key_code(key) for key in text]
        for code in codes:
            await self._press(bytes((code,)), self._character_s)

    async def press_break(self) -> None:
        """The BREAK key, held for a quarter of a second."""
        await self._press(b"", 2.5 * self._character_s, mark=b"\xff\x00\x00")

    async def _press(self, codes: bytes, lasting_s: float, mark: bytes = b"") -> None:
        await self._clock.sleep_until(self._key_at)  # keys lock each other out until the last one is sent
        self._key_at = max(self._key_at, self._clock.now()) + lasting_s
        data = bytes(map(even_parity, codes)).replace(b"\xff", b"\xff\xff") + mark
        try:
            os.write(self._master, data)
        except BlockingIOError:
            self.overrun += len(data)

    # The typing unit.

    async def idle(self) -> None:
        """Back when nothing waits at the wire and the last character is struck."""
        await self._clock.sleep_until(self._clock.now() + _GLANCE_S)
        while _waiting(self._master) or self._clock.now() < self._free_at:
            await self._clock.sleep_until(max(self._free_at, self._clock.now() + _GLANCE_S))

    async def _run(self) -> None:
        while True:
            # The moment of arrival is taken while the machine is still busy: a late wake-up then shifts nothing.
            start = max(await self._arrival(), self._free_at)
            await self._clock.sleep_until(start)
            self.backlog = max(self.backlog, _waiting(self._master))
            for byte in os.read(self._master, 1 if self._character_s else 4096):
                self._on_strike(self.machine.receive(byte, start))
            self._free_at = start + self._character_s

    async def _arrival(self) -> float:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[float] = loop.create_future()

        def readable() -> None:
            loop.remove_reader(self._master)
            if not arrived.done():
                arrived.set_result(self._clock.now())

        loop.add_reader(self._master, readable)
        return await arrived

    # The pty.

    def _make_link(self) -> None:
        if self._link is None:
            return
        left = _pty_behind(self._link)
        # A pty has a name only as long as its master lives. The name of a dead one may have become ours.
        if left is not None and str(left) != self.path and left.exists():
            raise LineBusy(f"{self._link} leads to {left}, which lives: remove it, or name another --link")
        try:
            if left is not None:  # by a machine that was killed
                self._link.unlink()
            self._link.symlink_to(self.path)
        except FileExistsError:
            raise LineBusy(f"{self._link} is there and no link of ours: remove it, or name another --link") from None
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "?")
            raise LineNotFound(f"{self._link} cannot be made ({reason}): name a --link in a folder of yours") from None

    def _close_pty(self) -> None:
        os.close(self._master)
        os.close(self._slave)


def _key_code(key: str) -> int:
    """The code that the key for a character sends; 0x60-0x7C and 0x7E have no key."""
    code = ord(key.upper() if key.islower() and len(key.upper()) == 1 else key)
    if code < 0x60 or code in (0x7D, RUBOUT):
        return code
    raise NoSuchKey(f"{key!r} has no key on a Model 33: type SP to _, RETURN (\\r), LINE FEED (\\n), RUBOUT (\\x7f)")


def _pty_behind(link: Path) -> Path | None:
    try:
        target = link.readlink()
    except OSError:
        return None
    return target if target.is_relative_to("/dev/pts") else None


def _waiting(fd: int) -> int:
    count: int = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
    return count
