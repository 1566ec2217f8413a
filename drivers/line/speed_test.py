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

from drivers.errors import LineLost, LineUnfit
from drivers.events import Byte, LineInput
from drivers.line.line_transport import LineTransport
from drivers.line.serial_chip import OTHER_ADAPTER, Adapter, adapter_at

CHARACTERS = 10
_BITS = 11  # with two stop bits
_BAUD = 110
_CHARACTER_S = _BITS / _BAUD
_LEAD_CHARACTERS = 2  # characters sent before: what chip and kernel add to each burst then falls out
_TOLERANCE = 0.05  # a selector bears 4 bits in 100 - Bulletin 310B 574-122-100TC; tcdrain is late by 3 in 100
_MIN_EXACT_S = 0.05  # ten characters out in less by what the UART says: its clock has gone wild, or it lies
_MIN_DRAIN_S = 0.25  # a USB chip may swallow ten characters and be asked again this late, whatever it sends
_TIMEOUT_S = 3.0
_NEVER = math.inf
_POLL_S = 0.001
_TAIL_S = 0.2  # an echo in half duplex is a character late, and a USB chip's timer
_TCGETS2 = 0x802C542A  # linux/termbits.h: a speed that has no name is in c_ospeed alone

SpeedOutcome = Literal["ok", "unknown", "refused"]


@dataclass(frozen=True, slots=True)
class SpeedMeasurement:
    """What a line was seen to do; None is what could not be seen."""

    speed: int | None = None  # as it reads back, in baud
    drain_s: float | None = None  # that CHARACTERS took to go out; infinite if they did not
    exact: bool = False  # the UART itself said when: to two milliseconds. Else the kernel did, late
    echo_s: float | None = None  # from one character to the next, come back in half duplex


@dataclass(frozen=True, slots=True)
class SpeedVerdict:
    """What the start-up test has found, in one sentence that names the adapter and, where needed, the cure."""

    outcome: SpeedOutcome
    sentence: str
    character_s: float | None = None  # measured well enough to be paced by


def judge_speed(name: str, adapter: Adapter | None, measurement: SpeedMeasurement) -> SpeedVerdict:
    """What was timed counts most, then what the speed reads back as, then what is known of the chip."""
    who = f"{name}: {adapter.name if adapter else 'this adapter'}"
    cure = adapter.chip.cure if adapter else OTHER_ADAPTER
    character_s = _measured_character_s(measurement)
    if character_s is not None:
        return _judge_character_time(
            who, cure, character_s, well=measurement.exact or character_s == measurement.echo_s
        )
    if measurement.drain_s == _NEVER:
        return SpeedVerdict(
            "refused", f"{who} takes characters, and nothing goes out: pull it and put it back, else {cure}"
        )
    if measurement.speed is not None and abs(measurement.speed / _BAUD - 1) > _TOLERANCE:
        return SpeedVerdict("refused", f"{who} makes {measurement.speed} baud of {_BAUD}: {cure}")
    if measurement.exact and measurement.drain_s is not None:
        said = f"says at once that {CHARACTERS} characters are out, which take a second"
        return SpeedVerdict("unknown", f"{who} {said}: if the machine prints garble, {cure}")
    if adapter is not None and adapter.chip.can_110 is not None:
        return SpeedVerdict("ok" if adapter.chip.can_110 else "refused", adapter.sentence)
    return SpeedVerdict("unknown", f"{who} cannot be timed: if the machine prints garble, {cure}")


def _judge_character_time(who: str, cure: str, character_s: float, *, well: bool) -> SpeedVerdict:
    if abs(character_s / _CHARACTER_S - 1) > _TOLERANCE:
        return SpeedVerdict("refused", f"{who} sends at about {_BITS / character_s:.0f} baud, not at {_BAUD}: {cure}")
    said = f"{who} sends a character in {character_s * 1000:.1f} ms"
    return SpeedVerdict("ok", said, character_s if well else None)


async def run_speed_test(wire: LineTransport, sys: Path = Path("/sys")) -> SpeedVerdict:
    """The whole test, some two seconds, before anyone listens. Raises LineUnfit when refused, and LineLost."""
    if wire.kind == "pty":
        return SpeedVerdict("unknown", f"{wire.name}: a pty has no speed that could be tested")
    if wire.kind == "socket":
        return SpeedVerdict("unknown", f"{wire.name}: the serial server sets the speed: see that it says 110 baud, 8N2")
    found = judge_speed(wire.name, adapter_at(wire.name, sys), await measure_speed(wire))
    if found.outcome == "refused":
        raise LineUnfit(found.sentence)
    return found


async def measure_speed(wire: LineTransport) -> SpeedMeasurement:
    """Sends NULs down a real tty and times them; takes their echo, and leaves what else was heard to be heard."""
    loop = asyncio.get_running_loop()
    came: list[tuple[float, LineInput]] = []
    wire.listen(lambda heard: came.append((loop.time(), heard)))
    try:
        fd = _require_tty_fd(wire)
        speed, exact = _read_baud(fd), _is_transmitter_empty(fd) is not None
        if exact:
            drain_s = await time_characters(
                lambda: wire.write(0),
                lambda: not wire.out_waiting and bool(_is_transmitter_empty(_require_tty_fd(wire))),
            )
        else:
            drain_s = await _time_drain(wire)
    finally:
        echo, others = _split_echo(came)
        wire.stop_listening(others)
    return SpeedMeasurement(speed, drain_s, exact, echo_s=character_interval(echo))


async def time_characters(send: Callable[[], None], is_empty: Callable[[], bool]) -> float:
    """What CHARACTERS take from first bit to last, by a UART that says when it is empty; infinite if it never is."""
    lead_s = await _time_burst(send, is_empty, _LEAD_CHARACTERS)
    return lead_s if lead_s == _NEVER else await _time_burst(send, is_empty, _LEAD_CHARACTERS + CHARACTERS) - lead_s


def character_interval(echo: list[float]) -> float | None:
    """The time from one character to the next, from the moments when each came back; None if they came in heaps."""
    burst = echo[-CHARACTERS:]
    if len(burst) < CHARACTERS:
        return None
    mean = (burst[-1] - burst[0]) / (CHARACTERS - 1)
    # A 16550 hands its characters on by the eight, or four character times after the last.
    even = all(mean / 2 < later - sooner < mean * 3 / 2 for sooner, later in pairwise(burst))
    return mean if even else None


async def _time_burst(send: Callable[[], None], is_empty: Callable[[], bool], count: int) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(count):
        send()
    await asyncio.sleep(_POLL_S)
    while not is_empty():
        if loop.time() > begun + _TIMEOUT_S:
            return _NEVER
        await asyncio.sleep(_POLL_S)
    taken = loop.time() - begun
    await asyncio.sleep(max(_TAIL_S, count * _CHARACTER_S - taken))  # one that lied is sending still
    return taken


async def _time_drain(wire: LineTransport) -> float:
    """The same where only the kernel can be asked, in a thread: it does not answer before all is out."""
    loop = asyncio.get_running_loop()
    fd, begun = _require_tty_fd(wire), loop.time()
    for _ in range(CHARACTERS):
        wire.write(0)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await wire.drain()
            await asyncio.to_thread(_tcdrain, fd)
    except TimeoutError:
        return _NEVER
    finally:
        if wire.out_waiting:
            wire.discard_output()  # lets the thread go
    taken = loop.time() - begun
    await asyncio.sleep(max(0.0, CHARACTERS * _CHARACTER_S - taken) + _TAIL_S)
    return taken


def _tcdrain(fd: int) -> None:
    try:
        termios.tcdrain(fd)
    except termios.error:  # hung up meanwhile: whoever writes next is told
        return


def _measured_character_s(measurement: SpeedMeasurement) -> float | None:
    """The time of one character, if anything was measured that can be believed."""
    least_s = _MIN_EXACT_S if measurement.exact else _MIN_DRAIN_S
    drain_s = measurement.drain_s or 0.0
    drained = drain_s / CHARACTERS if least_s < drain_s < _NEVER else None
    return drained if drained and measurement.exact else measurement.echo_s or drained


def _split_echo(received: list[tuple[float, LineInput]]) -> tuple[list[float], list[LineInput]]:
    """When our own NULs came back, whatever their parity bit; and all the rest."""
    ours = [isinstance(heard, Byte) and heard.value & 0x7F == 0 for _, heard in received]
    echo = [at for (at, _), own in zip(received, ours, strict=True) if own]
    return echo, [heard for (_, heard), own in zip(received, ours, strict=True) if not own]


def _require_tty_fd(wire: LineTransport) -> int:
    if (fd := wire.tty_fd) is None:
        raise LineLost(f"{wire.name}: the line hung up while it was tested: see that the cable is in")
    return fd


def _read_baud(fd: int) -> int | None:
    try:
        flags = struct.unpack("4I20B2I", fcntl.ioctl(fd, _TCGETS2, bytes(44)))
    except OSError:  # not every processor has this number for it
        return None
    return int(flags[-1])


def _is_transmitter_empty(fd: int) -> bool | None:
    """Whether the last bit has left the UART; None if it does not say."""
    try:
        status: int = struct.unpack("I", fcntl.ioctl(fd, termios.TIOCSERGETLSR, bytes(4)))[0]
    except OSError:
        return None
    return bool(status & 1)  # TIOCSER_TEMT - linux/serial.h
