"""The start-up test: does this line send a character in a tenth of a second?

`verdict` weighs what was measured, what the speed reads back as, and what is known of the adapter; `measure` sends
NULs, which a Model 33 neither prints nor spaces for, and times them. The far end of a pty or of a serial server is
out of its reach. Knows no parity, no paper.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from drivers.adapter import ANOTHER, Adapter, adapter_at
from drivers.errors import LineLost, LineUnfit
from drivers.events import Byte, Heard
from drivers.wire import Wire

CHARACTERS = 10
_BITS = 11  # with two stop bits
_BAUD = 110
_CHARACTER_S = _BITS / _BAUD
_LEAD = 2  # characters sent before: what chip and kernel add to each burst then falls out
_SLACK = 0.05  # a selector bears 4 bits in 100 - Bulletin 310B 574-122-100TC; tcdrain is late by 3 in 100
_LYING_S = 0.05  # ten characters out in less by what the UART says: its clock has gone wild, or it lies
_SWALLOWED_S = 0.25  # a USB chip may swallow ten characters and be asked again this late, whatever it sends
_LIMIT_S = 3.0
_NEVER = math.inf
_GLANCE_S = 0.001
_TAIL_S = 0.2  # an echo in half duplex is a character late, and a USB chip's timer
_TCGETS2 = 0x802C542A  # linux/termbits.h: a speed that has no name is in c_ospeed alone

Outcome = Literal["ok", "unknown", "refused"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a line was seen to do; None is what could not be seen."""

    speed: int | None = None  # as it reads back, in baud
    drain_s: float | None = None  # that CHARACTERS took to go out; infinite if they did not
    exact: bool = False  # the UART itself said when: to two milliseconds. Else the kernel did, late
    echo_s: float | None = None  # from one character to the next, come back in half duplex


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the start-up test has found, in one sentence that names the adapter and, where needed, the cure."""

    outcome: Outcome
    sentence: str
    character_s: float | None = None  # measured well enough to be paced by


def verdict(name: str, adapter: Adapter | None, measured: Measured) -> Verdict:
    """What was timed counts most, then what the speed reads back as, then what is known of the chip."""
    who = f"{name}: {adapter.name if adapter else 'this adapter'}"
    cure = adapter.chip.cure if adapter else ANOTHER
    character_s = _timed(measured)
    if character_s is not None:
        return _paced(who, cure, character_s, well=measured.exact or character_s == measured.echo_s)
    if measured.drain_s == _NEVER:
        return Verdict("refused", f"{who} takes characters, and nothing goes out: pull it and put it back, else {cure}")
    if measured.speed is not None and abs(measured.speed / _BAUD - 1) > _SLACK:
        return Verdict("refused", f"{who} makes {measured.speed} baud of {_BAUD}: {cure}")
    if measured.exact and measured.drain_s is not None:
        said = f"says at once that {CHARACTERS} characters are out, which take a second"
        return Verdict("unknown", f"{who} {said}: if the machine prints garble, {cure}")
    if adapter is not None and adapter.chip.can_110 is not None:
        return Verdict("ok" if adapter.chip.can_110 else "refused", adapter.sentence)
    return Verdict("unknown", f"{who} cannot be timed: if the machine prints garble, {cure}")


def _paced(who: str, cure: str, character_s: float, *, well: bool) -> Verdict:
    if abs(character_s / _CHARACTER_S - 1) > _SLACK:
        return Verdict("refused", f"{who} sends at about {_BITS / character_s:.0f} baud, not at {_BAUD}: {cure}")
    said = f"{who} sends a character in {character_s * 1000:.1f} ms"
    return Verdict("ok", said, character_s if well else None)


async def try_out(wire: Wire, sys: Path = Path("/sys")) -> Verdict:
    """The whole test, some two seconds, before anyone listens. Raises LineUnfit when refused, and LineLost."""
    if wire.kind == "pty":
        return Verdict("unknown", f"{wire.name}: a pty has no speed that could be tested")
    if wire.kind == "socket":
        return Verdict("unknown", f"{wire.name}: the serial server sets the speed: see that it says 110 baud, 8N2")
    found = verdict(wire.name, adapter_at(wire.name, sys), await measure(wire))
    if found.outcome == "refused":
        raise LineUnfit(found.sentence)
    return found


async def measure(wire: Wire) -> Measured:
    """Sends NULs down a real tty and times them; takes their echo, and leaves what else was heard to be heard."""
    loop = asyncio.get_running_loop()
    came: list[tuple[float, Heard]] = []
    wire.listen(lambda heard: came.append((loop.time(), heard)))
    try:
        fd = _device(wire)
        speed, exact = _speed(fd), _is_out(fd) is not None
        if exact:
            drain_s = await timed(lambda: wire.write(0), lambda: not wire.waiting and bool(_is_out(_device(wire))))
        else:
            drain_s = await _drained(wire)
    finally:
        echo, others = _sifted(came)
        wire.unlisten(others)
    return Measured(speed, drain_s, exact, echo_s=between(echo))


async def timed(send: Callable[[], None], is_out: Callable[[], bool]) -> float:
    """What CHARACTERS take from first bit to last, by a UART that says when it is empty; infinite if it never is."""
    lead_s = await _burst(send, is_out, _LEAD)
    return lead_s if lead_s == _NEVER else await _burst(send, is_out, _LEAD + CHARACTERS) - lead_s


def between(echo: list[float]) -> float | None:
    """The time from one character to the next, from the moments when each came back; None if they came in heaps."""
    burst = echo[-CHARACTERS:]
    if len(burst) < CHARACTERS:
        return None
    mean = (burst[-1] - burst[0]) / (CHARACTERS - 1)
    # A 16550 hands its characters on by the eight, or four character times after the last.
    even = all(mean / 2 < later - sooner < mean * 3 / 2 for sooner, later in pairwise(burst))
    return mean if even else None


async def _burst(send: Callable[[], None], is_out: Callable[[], bool], count: int) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(count):
        send()
    await asyncio.sleep(_GLANCE_S)
    while not is_out():
        if loop.time() > begun + _LIMIT_S:
            return _NEVER
        await asyncio.sleep(_GLANCE_S)
    taken = loop.time() - begun
    await asyncio.sleep(max(_TAIL_S, count * _CHARACTER_S - taken))  # one that lied is sending still
    return taken


async def _drained(wire: Wire) -> float:
    """The same where only the kernel can be asked, in a thread: it does not answer before all is out."""
    loop = asyncio.get_running_loop()
    fd, begun = _device(wire), loop.time()
    for _ in range(CHARACTERS):
        wire.write(0)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await wire.drain()
            await asyncio.to_thread(_tcdrain, fd)
    except TimeoutError:
        return _NEVER
    finally:
        if wire.waiting:
            wire.discard()  # lets the thread go
    taken = loop.time() - begun
    await asyncio.sleep(max(0.0, CHARACTERS * _CHARACTER_S - taken) + _TAIL_S)
    return taken


def _tcdrain(fd: int) -> None:
    try:
        termios.tcdrain(fd)
    except termios.error:  # hung up meanwhile: whoever writes next is told
        return


def _timed(measured: Measured) -> float | None:
    """The time of one character, if anything was measured that can be believed."""
    least_s = _LYING_S if measured.exact else _SWALLOWED_S
    drain_s = measured.drain_s or 0.0
    drained = drain_s / CHARACTERS if least_s < drain_s < _NEVER else None
    return drained if drained and measured.exact else measured.echo_s or drained


def _sifted(came: list[tuple[float, Heard]]) -> tuple[list[float], list[Heard]]:
    """When our own NULs came back, whatever their parity bit; and all the rest."""
    ours = [isinstance(heard, Byte) and heard.value & 0x7F == 0 for _, heard in came]
    echo = [at for (at, _), own in zip(came, ours, strict=True) if own]
    return echo, [heard for (_, heard), own in zip(came, ours, strict=True) if not own]


def _device(wire: Wire) -> int:
    if (fd := wire.device) is None:
        raise LineLost(f"{wire.name}: the line hung up while it was tested: see that the cable is in")
    return fd


def _speed(fd: int) -> int | None:
    try:
        flags = struct.unpack("4I20B2I", fcntl.ioctl(fd, _TCGETS2, bytes(44)))
    except OSError:  # not every processor has this number for it
        return None
    return int(flags[-1])


def _is_out(fd: int) -> bool | None:
    """Whether the last bit has left the UART; None if it does not say."""
    try:
        status: int = struct.unpack("I", fcntl.ioctl(fd, termios.TIOCSERGETLSR, bytes(4)))[0]
    except OSError:
        return None
    return bool(status & 1)  # TIOCSER_TEMT - linux/serial.h
