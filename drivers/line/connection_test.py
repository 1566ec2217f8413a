"""The first moment of a connection: whether the line holds, and what a serial server says before its machine does.

A server may greet, negotiate, or say that its port is in use and hang up. None of that is a key.
"""

from __future__ import annotations

import asyncio

from drivers.errors import DriverError
from drivers.line.line_input import Byte, HangUp, LineInput
from drivers.line.line_transport import LineTransport
from drivers.line.telnet import is_negotiation

_POLL_S = 0.02
_QUIET_S = 0.3  # a greeting in several packets is over after so much silence
_MAX_GREETING_S = 5.0
_COM_PORT_S = 3.0  # for a server's answers by RFC 2217
_MAX_KEPT = 4096  # inputs of a greeting
_MAX_QUOTED = 200  # characters of a greeting in a message


async def await_greeting(line: LineTransport, hold_s: float) -> str:
    """Waits until the line has held for `hold_s` and is quiet; drops what came, and returns its printable part.

    Raises DriverError if the server hangs up, speaks telnet on a `socket://` line, or no RFC 2217 on an `rfc2217://`
    one. The caller closes the line.
    """
    received: list[LineInput] = []
    loop = asyncio.get_running_loop()
    start = changed_at = loop.time()

    def listen(line_input: LineInput) -> None:
        nonlocal changed_at
        if len(received) < _MAX_KEPT or isinstance(line_input, HangUp):
            received.append(line_input)
        changed_at = loop.time()

    line.listen(listen)
    try:
        while not _is_over(line, loop.time() - start, loop.time() - changed_at, hold_s):
            _check_input(line, received)
            await asyncio.sleep(_POLL_S)
        _check_input(line, received)
        _check_com_port(line)
    finally:
        line.stop_listening()
    return _printable_text(received)


def _is_over(line: LineTransport, elapsed_s: float, quiet_s: float, hold_s: float) -> bool:
    if elapsed_s > _MAX_GREETING_S + hold_s:
        return True
    is_setting_port = line.telnet is not None and (line.telnet.com_port == "asked" or _awaits_baud(line))
    if is_setting_port and elapsed_s < _COM_PORT_S:
        return False
    return elapsed_s >= hold_s and quiet_s >= min(_QUIET_S, hold_s)


def _awaits_baud(line: LineTransport) -> bool:
    return line.telnet is not None and line.telnet.com_port == "agreed" and line.telnet.baud is None


def _check_input(line: LineTransport, received: list[LineInput]) -> None:
    if isinstance(received[-1] if received else None, HangUp):
        text = _printable_text(received)
        said = f" and said {text!r}" if text else ""
        raise DriverError(
            f"{line.name}: the far end hung up at once{said}: see that its port is free and its machine is there",
            "busy",
        )
    start = bytes(signal.value for signal in received[:3] if isinstance(signal, Byte))
    if line.kind == "socket" and line.telnet is None and is_negotiation(start):
        address = line.name.partition("://")[2]
        raise DriverError(f"{line.name}: the serial server speaks telnet: write telnet://{address}")


def _check_com_port(line: LineTransport) -> None:
    if line.telnet is None or line.telnet.com_port == "unasked":
        return
    address = line.name.partition("://")[2]
    if line.telnet.com_port != "agreed":
        raise DriverError(
            f"{line.name}: the serial server does not let its port be set (RFC 2217): write telnet://{address}"
        )
    if line.telnet.baud not in (None, line.telnet.wanted_baud):
        raise DriverError(
            f"{line.name}: the serial server makes {line.telnet.baud} baud of {line.telnet.wanted_baud}: "
            "take another adapter there"
        )


def _printable_text(received: list[LineInput]) -> str:
    """Returns what came as one line of printable ASCII; empty if it is no text."""
    text = "".join(chr(signal.value & 0x7F) for signal in received if isinstance(signal, Byte))
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return words[:_MAX_QUOTED]
