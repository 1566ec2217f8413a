"""The echo canceller: separates the driver's own characters from the operator's keys in half duplex.

Both arrive on the same line. Each sent byte is expected back once; its time shows whether a key was pressed over it or
before it. The duplex is detected if the profile leaves it open. Data in, data out; knows no keys, no paper, no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.profile import Duplex
from drivers.text.charset import strip_parity

# garbled: a sent byte with a key pressed over it; break: a sent byte over which the line was held open.
EchoVerdict = Literal["echo", "key", "garbled", "break"]

ECHO_WINDOW_S = 1.0  # from the earliest time of an echo to the time it is given up: UART, USB, network
_JITTER_S = 0.02  # of a line without pacing
_MATCHES_AT_START = 2  # consecutive echoes: a CR and an LF
_MATCHES_LATER = 6  # after the machine was taken for full duplex: an operator may repeat what was printed
_MATCHES_AGAINST = 16  # against the profile: a machine that types what it prints would not stop by itself
_MISSES_AT_START = 2
_MISSES_LATER = 8
_CERTAIN_ECHOES = 32  # a machine that is then switched to LOCAL for a while still counts as half duplex
_MAX_AWAITED = 4096  # bytes; a line without pacing may be sent so many within the window
_MAX_LAGS = 5


@dataclass(slots=True, eq=False)
class _SentByte:
    byte: int
    due_at: float
    is_spoilt: bool = False  # no longer expected, but it may come late

    def is_echoed_by(self, byte: int) -> bool:
        return byte in (self.byte, strip_parity(self.byte))  # some adapters strip the parity


class EchoCanceller:
    """`duplex` is None while it is unknown. `missing` counts echoes that never came: the loop is open or loses bytes.

    `expected` is the byte that should have come in place of the last garbled one.
    """

    def __init__(self, duplex: Duplex = "auto", *, character_s: float = CHARACTER_S) -> None:
        self.duplex: Literal["full", "half"] | None = None if duplex == "auto" else duplex
        self.missing = 0
        self.expected = 0
        self._is_configured = duplex != "auto"
        self._is_certain = duplex == "full" and not character_s  # no more detection: see _decide_duplex
        self._character_s = character_s
        self._slack_s = max(character_s / 2, _JITTER_S)  # half a character time: keys and echoes never overlap
        self._awaited: deque[_SentByte] = deque(maxlen=_MAX_AWAITED)
        self._lags: deque[float] = deque(maxlen=_MAX_LAGS)  # of the last echoes, beyond their minimum time
        self._matches = 0  # consecutive
        self._misses = 0  # consecutive
        self._echoes = 0  # since the duplex was decided
        self._has_typed = False  # full duplex: the machine is on, whether it echoes or not
        self._assumed_echoes = bytearray()

    @property
    def is_half_duplex(self) -> bool:
        return self.duplex == "half"

    def note_sent(self, byte: int, at: float) -> None:
        """Records a sent byte of 8 bits; its character time begins at `at`."""
        self.expire(at)
        if not self._is_certain:
            self._awaited.append(_SentByte(byte, at + self._character_s))

    def classify(self, byte: int, at: float) -> EchoVerdict:
        """Classifies a byte received at `at`. While the duplex is unknown, the first sent byte is an echo."""
        self.expire(at)
        if self.is_half_duplex:
            return self._classify_half_duplex(byte, at)
        if self.duplex is None:
            return self._classify_undecided(byte, at)
        if not self._is_certain:
            self._reconsider_full_duplex(byte, at)
        return "echo" if self.is_half_duplex else "key"

    def classify_damaged(self, byte: int, at: float) -> EchoVerdict:
        """Classifies a byte without its stop bits; it is a key if it does not belong to a sent byte."""
        self.expire(at)
        if not self.is_half_duplex:
            return "key"
        verdict = self._classify_half_duplex(byte, at)
        if verdict != "key" or not (due := self._first_due(at)):
            return verdict
        return self._mark_garbled(due)

    def take_misjudged_keys(self) -> bytes:
        """Returns the keys that were taken for echoes while the duplex was unknown, once it is known to be full."""
        keys = bytes(self._assumed_echoes) if self.duplex == "full" else b""
        if self.duplex is not None:
            self._assumed_echoes.clear()
        return keys

    def expire(self, at: float) -> None:
        """Gives up the echoes that are overdue. The caller calls it after `ECHO_WINDOW_S` of silence."""
        while self._awaited and self._awaited[0].due_at + ECHO_WINDOW_S < at:
            self._record_miss(self._awaited.popleft())

    # Half duplex.

    def _classify_half_duplex(self, byte: int, at: float) -> EchoVerdict:
        if echoed := self._find_echoed(byte, at):
            self._record_match(echoed, at)
            return "echo"
        if byte == 0x00 and (due := self._first_due(at)):
            self._mark_garbled(due)
            return "break"
        slot = self._sent_in_slot(at)
        return self._mark_garbled(slot) if slot else "key"

    def _find_echoed(self, byte: int, at: float) -> _SentByte | None:
        """Returns the echoed byte: the first expected one at any time, or a later one not before its time."""
        early = self._slack_s - (self._steady_lag_s or 0.0)
        for index, sent in enumerate(self._awaited):
            if index and at < sent.due_at - early:
                return None
            if sent.is_echoed_by(byte):
                return sent
        return None

    def _mark_garbled(self, sent: _SentByte) -> Literal["garbled"]:
        self.expected, sent.is_spoilt = sent.byte, True
        return "garbled"

    def _first_due(self, at: float) -> _SentByte | None:
        """Returns the first sent byte whose echo could be here by now."""
        first = next((sent for sent in self._awaited if not sent.is_spoilt), None)
        return first if first and first.due_at - self._slack_s <= at else None

    def _sent_in_slot(self, at: float) -> _SentByte | None:
        """Returns the sent byte whose echo is due at this moment; None on a line whose echoes are not evenly late."""
        lag = self._steady_lag_s
        if lag is None or not self._character_s:
            return None
        slots = (sent for sent in self._awaited if not sent.is_spoilt and abs(at - sent.due_at - lag) < self._slack_s)
        return next(slots, None)

    @property
    def _steady_lag_s(self) -> float | None:
        """The usual delay of the echoes on this line; None while they are not about equally late."""
        lags = sorted(self._lags)
        steady = len(lags) > 1 and lags[-1] - lags[0] < self._slack_s
        return lags[len(lags) // 2] if steady else None

    # Detecting the duplex.

    def _classify_undecided(self, byte: int, at: float) -> EchoVerdict:
        if not self._awaited:
            return "key"
        first = self._awaited[0]
        if first.is_echoed_by(byte) and not first.is_spoilt:
            self._record_match(first, at)
            self._assumed_echoes.append(byte)
            steady = self._steady_lag_s is not None and self._matches >= _MATCHES_AT_START
            if steady or self._matches >= _MATCHES_LATER:
                self._decide_duplex("half")
            return "echo"
        if first.is_echoed_by(byte):
            self._awaited.popleft()
            return "key"
        for sent in self._awaited:  # a key came between: bytes already sent prove nothing any more
            sent.is_spoilt = True
        self._matches = 0
        return "key"

    def _reconsider_full_duplex(self, byte: int, at: float) -> None:
        """Looks for echoes of a machine that seemed full duplex: it was off at the start, or the profile says so."""
        echoed = self._find_echoed(byte, at)
        if echoed is None:
            self._matches = 0
            if not self._has_typed:
                self._has_typed, self._misses = True, 0
            return
        self._record_match(echoed, at)
        enough = _MATCHES_AGAINST if self._is_configured else _MATCHES_LATER
        if self._matches >= enough and self._steady_lag_s is not None:
            self._decide_duplex("half")

    def _record_match(self, sent: _SentByte, at: float) -> None:
        self._awaited.remove(sent)
        self._lags.append(max(0.0, at - sent.due_at))
        self._matches += 1
        self._echoes += 1
        self._misses = 0

    def _record_miss(self, sent: _SentByte) -> None:
        self._matches = 0
        self._misses += 1
        if self.is_half_duplex:
            self.missing += not sent.is_spoilt
            if not self._is_configured and self._echoes < _CERTAIN_ECHOES and self._misses >= _MISSES_LATER:
                self._decide_duplex("full")
        elif self.duplex is None and self._misses >= _MISSES_AT_START:
            self._decide_duplex("full")
        elif (self._has_typed or self._is_configured) and self._misses >= _MISSES_LATER:
            self._stop_detecting()  # the machine is on, and echoes nothing

    def _decide_duplex(self, duplex: Literal["full", "half"]) -> None:
        self.duplex = duplex
        self._matches = self._misses = self._echoes = 0
        self._has_typed = False
        if duplex == "full" and not self._character_s:
            # Without pacing a line typed twice looks like its own echo, and a simulated machine is never off.
            self._stop_detecting()

    def _stop_detecting(self) -> None:
        self._is_certain = True
        self._awaited.clear()
