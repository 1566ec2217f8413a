"""Telnet (RFC 854), and the serial port behind it (RFC 2217): from the bytes of a connection to input, and back.

Data in, data out: `feed` takes what the server sent, `encode_byte` gives what to send for a character, `take_replies`
what to send because of the server. Asks for 8-bit characters (RFC 856). Knows no socket and no moment.
"""

from __future__ import annotations

import struct
from enum import Enum, auto
from typing import Final, Literal

from drivers.line.line_input import Break, Byte, FramingError, LineSignal

IAC: Final = 0xFF
DONT, DO, WONT, WILL, SB, BREAK, SE = 254, 253, 252, 251, 250, 243, 240  # RFC 854
BINARY, ECHO, SUPPRESS_GO_AHEAD, COM_PORT = 0, 1, 3, 44  # RFC 856, 857, 858, 2217
_INTERRUPT_PROCESS = 244
_CR, _LF, _NUL = 0x0D, 0x0A, 0x00

# RFC 2217: a client's commands; the server's answer is the number and 100.
_SET_BAUD, _SET_DATA_BITS, _SET_PARITY, _SET_STOP_BITS, _SET_CONTROL = 1, 2, 3, 4, 5
_SET_LINE_STATE_MASK, _SET_MODEM_STATE_MASK = 10, 11
_FROM_SERVER, _NOTIFY_LINE_STATE = 100, 106
_NO_PARITY, _TWO_STOP_BITS, _NO_FLOW_CONTROL, _RTS_ON, _RTS_OFF = 1, 2, 1, 11, 12
_LINE_BREAK, _LINE_FRAMING, _LINE_PARITY = 16, 8, 4

_MAX_SUBNEGOTIATION = 64  # bytes of one; RFC 2217 needs seven
_OURS_WANTED = {BINARY, SUPPRESS_GO_AHEAD}  # options that this end offers or accepts for itself
_THEIRS_WANTED = {BINARY, SUPPRESS_GO_AHEAD}

ComPort = Literal["unasked", "asked", "agreed", "refused"]


def is_negotiation(start: bytes) -> bool:
    """Whether the first bytes of a connection are a telnet server's offer."""
    return len(start) > 1 and start[0] == IAC and start[1] in (WILL, WONT, DO, DONT, SB)


class _State(Enum):
    DATA = auto()
    COMMAND = auto()  # after IAC
    OPTION = auto()  # after WILL, WONT, DO, DONT
    SUBNEGOTIATION = auto()
    SUBNEGOTIATION_COMMAND = auto()  # after IAC in it


class TelnetCodec:
    """One connection. `com_port` says whether the server lets its serial port be set; `baud` is what it answered."""

    def __init__(self, *, baud: int | None = None) -> None:
        """`baud`: sets the server's port to this speed, 8 bits, no parity, 2 stop bits; None: telnet alone."""
        self.com_port: ComPort = "unasked"
        self.baud: int | None = None
        self.wanted_baud = baud
        self._state = _State.DATA
        self._verb = 0
        self._subnegotiation = bytearray()
        self._after_cr = False
        self._ours: set[int] = set()  # options in force for what this end sends
        self._theirs: set[int] = set()
        self._asked_ours, self._asked_theirs = set(_OURS_WANTED), set(_THEIRS_WANTED)  # an answer is still due
        self._replies = bytearray()
        for option in sorted(_OURS_WANTED):
            self._reply(WILL, option)
        for option in sorted(_THEIRS_WANTED):
            self._reply(DO, option)
        if baud is not None:
            self.com_port = "asked"
            self._asked_ours.add(COM_PORT)
            self._reply(WILL, COM_PORT)

    def take_replies(self) -> bytes:
        """Returns the bytes that are due to the server; the first call has the opening of the negotiation."""
        replies = bytes(self._replies)
        self._replies.clear()
        return replies

    def encode_byte(self, byte: int) -> bytes:
        """Returns the bytes for one character: FF is doubled; a CR of a connection of 7 bits has a NUL behind it."""
        if byte == IAC:
            return b"\xff\xff"
        if byte == _CR and BINARY not in self._ours:
            return b"\r\x00"
        return bytes((byte,))

    def set_rts(self, on: bool) -> None:
        """Sets the RTS line of the server's port, where it may be set."""
        if self.com_port == "agreed":
            self._command(_SET_CONTROL, _RTS_ON if on else _RTS_OFF)

    def feed(self, data: bytes) -> list[LineSignal]:
        """Returns the input in these bytes, which may be cut anywhere."""
        signals: list[LineSignal] = []
        for value in data:
            signals += self._decode_byte(value)
        return signals

    def _decode_byte(self, value: int) -> list[LineSignal]:
        match self._state:
            case _State.DATA:
                return self._decode_data(value)
            case _State.COMMAND:
                return self._decode_command(value)
            case _State.OPTION:
                self._state = _State.DATA
                self._negotiate(self._verb, value)
            case _State.SUBNEGOTIATION:
                if value == IAC:
                    self._state = _State.SUBNEGOTIATION_COMMAND
                elif len(self._subnegotiation) < _MAX_SUBNEGOTIATION:
                    self._subnegotiation.append(value)
            case _State.SUBNEGOTIATION_COMMAND:
                return self._decode_subnegotiation_command(value)
        return []

    def _decode_data(self, value: int) -> list[LineSignal]:
        after_cr, self._after_cr = self._after_cr, value == _CR and BINARY not in self._theirs
        if value == IAC:
            self._state = _State.COMMAND
            self._after_cr = after_cr
            return []
        if after_cr and value == _NUL:
            return []  # RFC 854: a CR alone is sent as CR NUL
        return [Byte(value)]

    def _decode_command(self, value: int) -> list[LineSignal]:
        self._state = _State.DATA
        if value == IAC:
            self._after_cr = False
            return [Byte(IAC)]
        if value in (BREAK, _INTERRUPT_PROCESS):
            return [Break()]
        if value in (WILL, WONT, DO, DONT):
            self._verb, self._state = value, _State.OPTION
        elif value == SB:
            self._subnegotiation.clear()
            self._state = _State.SUBNEGOTIATION
        return []  # no other command means anything to a typewriter

    def _decode_subnegotiation_command(self, value: int) -> list[LineSignal]:
        if value == IAC:
            self._state = _State.SUBNEGOTIATION
            if len(self._subnegotiation) < _MAX_SUBNEGOTIATION:
                self._subnegotiation.append(value)
            return []
        self._state = _State.DATA
        if value == SE:
            return self._obey_com_port(bytes(self._subnegotiation))
        return self._decode_command(value)  # its end was lost

    # Options.

    def _negotiate(self, verb: int, option: int) -> None:
        """Answers an offer or a request, and never an answer: two ends that answer answers would never stop."""
        if verb in (WILL, WONT):
            yes, no, in_force, asked, wanted = DO, DONT, self._theirs, self._asked_theirs, option in _THEIRS_WANTED
        else:
            is_wanted = option in _OURS_WANTED or (option == COM_PORT and self.wanted_baud is not None)
            yes, no, in_force, asked, wanted = WILL, WONT, self._ours, self._asked_ours, is_wanted
        was_asked = option in asked
        asked.discard(option)
        if verb in (WONT, DONT):
            if option in in_force and not was_asked:
                self._reply(no, option)
            in_force.discard(option)
            if option == COM_PORT and verb == DONT and self.wanted_baud is not None:
                self.com_port = "refused"
        elif not wanted:
            self._reply(no, option)
        elif option not in in_force:
            in_force.add(option)
            if not was_asked:
                self._reply(yes, option)
            if option == COM_PORT:
                self._set_port()

    def _reply(self, verb: int, option: int) -> None:
        self._replies += bytes((IAC, verb, option))

    # RFC 2217.

    def _set_port(self) -> None:
        assert self.wanted_baud is not None  # the option is accepted only then
        self.com_port = "agreed"
        self._command(_SET_BAUD, *struct.pack(">I", self.wanted_baud))
        self._command(_SET_DATA_BITS, 8)
        self._command(_SET_PARITY, _NO_PARITY)
        self._command(_SET_STOP_BITS, _TWO_STOP_BITS)
        self._command(_SET_CONTROL, _NO_FLOW_CONTROL)
        self._command(_SET_LINE_STATE_MASK, _LINE_BREAK | _LINE_FRAMING | _LINE_PARITY)
        self._command(_SET_MODEM_STATE_MASK, 0)

    def _command(self, number: int, *values: int) -> None:
        content = bytes(values).replace(b"\xff", b"\xff\xff")
        self._replies += bytes((IAC, SB, COM_PORT, number)) + content + bytes((IAC, SE))

    def _obey_com_port(self, content: bytes) -> list[LineSignal]:
        if len(content) < 3 or content[0] != COM_PORT:
            return []
        number, values = content[1], content[2:]
        if number == _FROM_SERVER + _SET_BAUD and len(values) >= 4:
            self.baud = struct.unpack(">I", values[:4])[0]
        if number == _NOTIFY_LINE_STATE and values[0] & _LINE_BREAK:
            return [Break()]
        if number == _NOTIFY_LINE_STATE and values[0] & (_LINE_FRAMING | _LINE_PARITY):
            return [FramingError(_NUL)]  # the server does not say which character it was
        return []
