"""The start-up test: does this line send a character in a tenth of a second?

`measure_speed` sends NULs, which a Model 33 neither prints nor spaces for, and times them. `judge_speed` weighs the
time, the speed that the kernel reads back, and what is known of the chip. The far end of a pty or of a serial server
cannot be tested. Knows no parity, no paper.
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

from drivers.errors import DriverError, LineLost
from drivers.line.line_input import Byte, LineInput
from drivers.line.line_transport import LineTransport
from drivers.line.serial_chip import OTHER_ADAPTER, Adapter, adapter_at

CHARACTERS = 10
_BITS = 11  # with two stop bits
_BAUD = 110
_CHARACTER_S = _BITS / _BAUD
_LEAD_CHARACTERS = 2  # characters sent before: they cancel the constant delay that chip and kernel add to each burst
_TOLERANCE = 0.05  # a selector tolerates 4 bits in 100 - Bulletin 310B 574-122-100TC; tcdrain is late by 3 in 100
_MIN_EXACT_S = 0.05  # if the UART reports ten characters sent in less time, its clock or its report is wrong
_MIN_DRAIN_S = 0.25  # a USB chip may swallow ten characters and report only after this time, at any speed
_TIMEOUT_S = 3.0
_NEVER = math.inf
_POLL_S = 0.001
_TAIL_S = 0.2  # an echo in half duplex is a character late, plus the timer of a USB chip
_TCGETS2 = 0x802C542A  # linux/termbits.h: only c_ospeed holds a speed without a name

SpeedOutcome = Literal["ok", "unknown", "refused"]


@dataclass(frozen=True, slots=True)
class SpeedMeasurement:
    """The measurement of a line; None: could not be measured."""

    speed: int | None = None  # as the kernel reads it back, in baud
    drain_s: float | None = None  # time that CHARACTERS took to be sent; infinite if they were not sent
    exact: bool = False  # the time is the UART's, to two milliseconds; otherwise the kernel's, which is late
    echo_s: float | None = None  # time between two characters, by their echoes in half duplex


@dataclass(frozen=True, slots=True)
class SpeedVerdict:
    """The result of the start-up test. The sentence names the adapter and, if needed, the cure."""

    outcome: SpeedOutcome
    sentence: str
    character_s: float | None = None  # measured precisely enough for pacing


def judge_speed(name: str, adapter: Adapter | None, measurement: SpeedMeasurement) -> SpeedVerdict:
    """Judges a line by the measured time first, then by the speed read back, then by what is known of the chip."""
    subject = f"{name}: {adapter.name if adapter else 'this adapter'}"
    cure = adapter.chip.cure if adapter else OTHER_ADAPTER
    character_s = _measured_character_s(measurement)
    if character_s is not None:
        is_precise = measurement.exact or character_s == measurement.echo_s
        return _judge_character_time(subject, cure, character_s, is_precise)
    if measurement.drain_s == _NEVER:
        return SpeedVerdict(
            "refused", f"{subject} takes characters, and nothing goes out: pull it and put it back, else {cure}"
        )
    if measurement.speed is not None and abs(measurement.speed / _BAUD - 1) > _TOLERANCE:
        return SpeedVerdict("refused", f"{subject} makes {measurement.speed} baud of {_BAUD}: {cure}")
    if measurement.exact and measurement.drain_s is not None:
        report = f"says at once that {CHARACTERS} characters are out, which take a second"
        return SpeedVerdict("unknown", f"{subject} {report}: if the machine prints garble, {cure}")
    if adapter is not None and adapter.chip.can_110 is not None:
        return SpeedVerdict("ok" if adapter.chip.can_110 else "refused", adapter.sentence)
    return SpeedVerdict("unknown", f"{subject} cannot be timed: if the machine prints garble, {cure}")


def _judge_character_time(subject: str, cure: str, character_s: float, is_precise: bool) -> SpeedVerdict:
    if abs(character_s / _CHARACTER_S - 1) > _TOLERANCE:
        baud = round(_BITS / character_s)
        return SpeedVerdict("refused", f"{subject} sends at about {baud} baud, not at {_BAUD}: {cure}")
    sentence = f"{subject} sends a character in {character_s * 1000:.1f} ms"
    return SpeedVerdict("ok", sentence, character_s if is_precise else None)


async def run_speed_test(line: LineTransport, sys: Path = Path("/sys")) -> SpeedVerdict:
    """Runs the whole test, about two seconds, before anyone listens. Raises DriverError if refused, and LineLost."""
    if line.kind == "pty":
        return SpeedVerdict("unknown", f"{line.name}: a pty has no speed that could be tested")
    if line.telnet is not None and line.telnet.baud is not None:
        return SpeedVerdict("unknown", f"{line.name}: the serial server says {line.telnet.baud} baud")
    if line.kind == "socket":
        return SpeedVerdict("unknown", f"{line.name}: the serial server sets the speed: see that it says 110 baud, 8N2")
    verdict = judge_speed(line.name, adapter_at(line.name, sys), await measure_speed(line))
    if verdict.outcome == "refused":
        raise DriverError(verdict.sentence)
    return verdict


async def measure_speed(line: LineTransport) -> SpeedMeasurement:
    """Sends NULs to a real tty and times them; consumes their echo and keeps all other input for the next listener."""
    loop = asyncio.get_running_loop()
    received: list[tuple[float, LineInput]] = []

    def is_empty() -> bool:
        return not line.out_waiting and bool(_is_transmitter_empty(_require_tty_fd(line)))

    line.listen(lambda line_input: received.append((loop.time(), line_input)))
    try:
        fd = _require_tty_fd(line)
        speed, exact = _read_baud(fd), _is_transmitter_empty(fd) is not None
        drain_s = await (time_characters(lambda: line.write(0), is_empty) if exact else _time_drain(line))
    finally:
        echo, others = _split_echo(received)
        line.stop_listening(others)
    return SpeedMeasurement(speed, drain_s, exact, echo_s=character_interval(echo))


async def time_characters(send: Callable[[], None], is_empty: Callable[[], bool]) -> float:
    """Returns the time of CHARACTERS from first bit to last, by a UART that reports when it is empty; or infinity."""
    lead_s = await _time_burst(send, is_empty, _LEAD_CHARACTERS)
    return lead_s if lead_s == _NEVER else await _time_burst(send, is_empty, _LEAD_CHARACTERS + CHARACTERS) - lead_s


def character_interval(echo: list[float]) -> float | None:
    """Returns the time between two characters from the times of their echoes; None if the echoes came in bursts."""
    burst = echo[-CHARACTERS:]
    if len(burst) < CHARACTERS:
        return None
    mean_s = (burst[-1] - burst[0]) / (CHARACTERS - 1)
    # A 16550 reports its characters in groups of eight, or four character times after the last.
    is_even = all(mean_s / 2 < later - sooner < mean_s * 3 / 2 for sooner, later in pairwise(burst))
    return mean_s if is_even else None


async def _time_burst(send: Callable[[], None], is_empty: Callable[[], bool], count: int) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for _ in range(count):
        send()
    await asyncio.sleep(_POLL_S)
    while not is_empty():
        if loop.time() > start + _TIMEOUT_S:
            return _NEVER
        await asyncio.sleep(_POLL_S)
    elapsed = loop.time() - start
    # A UART whose report is wrong may still be sending.
    await asyncio.sleep(max(_TAIL_S, count * _CHARACTER_S - elapsed))
    return elapsed


async def _time_drain(line: LineTransport) -> float:
    """Returns the time of CHARACTERS by tcdrain, in a thread: the kernel answers only when all is sent."""
    loop = asyncio.get_running_loop()
    fd, start = _require_tty_fd(line), loop.time()
    for _ in range(CHARACTERS):
        line.write(0)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await line.drain()
            await asyncio.to_thread(_tcdrain, fd)
    except TimeoutError:
        return _NEVER
    finally:
        if line.out_waiting:
            line.discard_output()  # wakes the thread
    elapsed = loop.time() - start
    await asyncio.sleep(max(0.0, CHARACTERS * _CHARACTER_S - elapsed) + _TAIL_S)
    return elapsed


def _tcdrain(fd: int) -> None:
    try:
        termios.tcdrain(fd)
    except termios.error:  # hung up meanwhile: the next write raises LineLost
        return


def _measured_character_s(measurement: SpeedMeasurement) -> float | None:
    """Returns the time of one character from the plausible measurements; None if there is none."""
    least_s = _MIN_EXACT_S if measurement.exact else _MIN_DRAIN_S
    drain_s = measurement.drain_s or 0.0
    by_drain = drain_s / CHARACTERS if least_s < drain_s < _NEVER else None
    return by_drain if by_drain and measurement.exact else measurement.echo_s or by_drain


def _split_echo(received: list[tuple[float, LineInput]]) -> tuple[list[float], list[LineInput]]:
    """Returns the times at which the sent NULs came back, with any parity bit, and all other input."""
    echo_times: list[float] = []
    others: list[LineInput] = []
    for at, line_input in received:
        if isinstance(line_input, Byte) and line_input.value & 0x7F == 0:
            echo_times.append(at)
        else:
            others.append(line_input)
    return echo_times, others


def _require_tty_fd(line: LineTransport) -> int:
    if (fd := line.tty_fd) is None:
        raise LineLost(f"{line.name}: the line hung up while it was tested: see that the cable is in")
    return fd


def _read_baud(fd: int) -> int | None:
    try:
        flags = struct.unpack("4I20B2I", fcntl.ioctl(fd, _TCGETS2, bytes(44)))
    except OSError:  # not every processor uses this number
        return None
    return int(flags[-1])


def _is_transmitter_empty(fd: int) -> bool | None:
    """Whether the last bit has left the UART; None if the UART does not report it."""
    try:
        status: int = struct.unpack("I", fcntl.ioctl(fd, termios.TIOCSERGETLSR, bytes(4)))[0]
    except OSError:
        return None
    return bool(status & 1)  # TIOCSER_TEMT - linux/serial.h
