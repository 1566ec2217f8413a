"""The tests that open a line or use the machine, on request alone: the loopback and the print test.

To open a line switches DTR and RTS on, which may start a motor, and a machine prints their texts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from daemon.config import Config
from daemon.control.client import acquire_machine
from daemon.control.protocol import PrintJob
from daemon.errors import DaemonError
from drivers.clock import CHARACTER_S
from drivers.errors import DriverError
from drivers.line.line import open_line
from drivers.line.line_input import Byte, LineInput
from drivers.line.speed_test import run_speed_test
from tools.doctor.finding import Examination, conclude, make_finding, not_examined

LOOPBACK_TEXT = b"RYRYRYRYU*U*"  # R and Y, U and * alternate all levels of the code
PRINT_TEXT = "RYRYRYRYRYRYRYRYRYRYRYRYRYRYRYRYRYRY\nTHE QUICK BROWN FOX JUMPS OVER THE LAZY DOG 0123456789\n"
_TAIL_CHARACTERS = 5  # for the last character, and the timer of a USB chip
_OPENING = "it opens the line, which may start a motor"


@dataclass(frozen=True, slots=True)
class LoopbackReading:
    """What came back of LOOPBACK_TEXT; `error`: why the line cannot be used; `speed`: of the speed test."""

    received: bytes = b""
    error: str = ""
    speed: str = ""


async def read_loopback(port: str, character_s: float = CHARACTER_S) -> LoopbackReading:
    """Opens the line, tests its speed, sends the text, and returns what came back. `character_s`: of a real machine."""
    received: list[int] = []

    def collect(line_input: LineInput) -> None:
        if isinstance(line_input, Byte):
            received.append(line_input.value)

    try:
        line = await open_line(port)
    except DriverError as error:
        return LoopbackReading(error=str(error))
    try:
        verdict = await run_speed_test(line)
        line.listen(collect)
        received.clear()  # what a machine sent before
        for byte in LOOPBACK_TEXT:
            line.write(byte)
            await asyncio.sleep(character_s)
        await asyncio.sleep(_TAIL_CHARACTERS * character_s)
    except DriverError as error:
        return LoopbackReading(bytes(received), str(error))
    finally:
        await line.close()
    return LoopbackReading(bytes(received), speed=verdict.sentence)


def examine_loopback(port: str, reading: LoopbackReading) -> Examination:
    sent, received = LOOPBACK_TEXT.decode(), reading.received
    examined = f"sent {sent}, received {received.decode('ascii', 'replace') or 'nothing'}"
    if reading.error:
        finding = make_finding("line-refused", reading.error, f"asr33 doctor --line {port}")
    elif received == LOOPBACK_TEXT:
        return conclude("loopback", port, f"{examined}; {reading.speed}")
    elif received:
        sentence = f"{port}: {len(received)} characters came back of {len(sent)} that were sent, and not the same"
        finding = make_finding("loopback-damaged", sentence, "take another adapter, or mend the plug, and ask again")
    else:
        sentence = f"{port}: nothing came back of {len(sent)} characters"
        cure = f"join TXD and RXD of the adapter, then asr33 doctor --line {port} --loopback"
        finding = make_finding("loopback-silent", sentence, cure)
    return conclude("loopback", port, examined, [finding])


def examine_no_loopback(port: str, why: str = "") -> Examination:
    return not_examined("loopback", port, why or f"{_OPENING}: ask for it with --line PORT --loopback")


async def print_test_page(config: Config, character_s: float = CHARACTER_S) -> Examination:
    """Prints two lines through the daemon, or on a line that is opened for it."""
    examined = f"{len(PRINT_TEXT)} characters were sent; whether the paper has them is for you to see"
    try:
        async with acquire_machine(config, character_s=character_s) as machine:
            await machine.run_job(PrintJob(PRINT_TEXT), lambda done, total: None)
    except (DaemonError, DriverError) as error:
        if error.kind == "busy":
            return examine_no_print("the machine is busy: ask again when the operator has ended the line")
        port = config.line.port or "PORT"
        return conclude(
            "print test", "", examined, [make_finding("print-failed", str(error), f"asr33 doctor --line {port}")]
        )
    return conclude("print test", "", examined)


def examine_no_print(why: str = "") -> Examination:
    return not_examined("print test", "", why or "it prints two lines on the paper: ask for it with --print")
