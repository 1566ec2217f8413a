"""The host's own characters, told from the operator's keys in half duplex, where both come up the same wire.

By content, not by silence: each byte sent is awaited back once, and its moment tells a key pressed over it from one
pressed before. Finds out the duplex if nobody has said. Data in, data out; knows no keys, no paper, and no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from drivers.clock import CHARACTER_S
from drivers.profile import Duplex
from drivers.text.charset import strip_parity

# garbled: ours, with a key pressed over it; break: ours, with the line held open over it.
EchoVerdict = Literal["echo", "key", "garbled", "break"]

ECHO_WINDOW_S = 1.0  # from when an echo could be here to when it is given up: UART, USB, network
_JITTER_S = 0.02  # of a wire that has no pace
_MATCHES_AT_START = 2  # a CR and an LF
_MATCHES_LATER = 6  # once the machine has been taken for full duplex: an operator may repeat what was printed
_MATCHES_AGAINST = 16  # against what the profile says: a machine that types what it prints would not end by itself
_MISSES_AT_START = 2
_MISSES_LATER = 8
_CERTAIN_ECHOES = 32  # echoes; a machine that is switched to LOCAL for a while then still counts as half duplex
_MAX_AWAITED = 4096  # bytes; a wire without pace may be sent that many in its window
_MAX_LAGS = 5


@dataclass(slots=True, eq=False)
class _SentByte:
    byte: int
    due_at: float
    is_spoilt: bool = False  # is not waited for any more, but may come late

    def is_echoed_by(self, byte: int) -> bool:
        return byte in (self.byte, strip_parity(self.byte))  # some adapters strip the parity


class EchoCanceller:
    """`duplex` is None while it is not known. `missing` echoes never came: the loop is open, or loses characters.

    `expected` is what should have come in place of the last one that was garbled.
    """

    def __init__(
        self, duplex: Duplex = "auto", *, character_s: float = CHARACTER_S, window_s: float = ECHO_WINDOW_S
    ) -> None:
        self.duplex: Literal["full", "half"] | None = None if duplex == "auto" else duplex
        self.missing = 0
        self.expected = 0
        self._is_configured = duplex != "auto"
        self._is_certain = duplex == "full" and not character_s  # no longer looking: see _decide
        self._character_s = character_s
        self._window_s = window_s
        self._slack_s = max(character_s / 2, _JITTER_S)  # keys and echoes never overlap: half a character tells
        self._awaited: deque[_SentByte] = deque(maxlen=_MAX_AWAITED)
        self._lags: deque[float] = deque(maxlen=_MAX_LAGS)  # of the last echoes, beyond the time they must take
        self._matches = 0  # in a row
        self._misses = 0  # in a row
        self._echoes = 0  # since the duplex was decided
        self._has_typed = False  # full duplex: the machine is there, whether it echoes or not
        self._assumed_echoes = bytearray()

    @property
    def is_half_duplex(self) -> bool:
        return self.duplex == "half"

    def note_sent(self, byte: int, at: float) -> None:
        """This byte, of 8 bits, starts on its way at `at`."""
        self.expire(at)
        if not self._is_certain:
            self._awaited.append(_SentByte(byte, at + self._character_s))

    def classify(self, byte: int, at: float) -> EchoVerdict:
        """What this byte, which came at `at`, is. While nobody knows, it is an echo if it is what was sent first."""
        self.expire(at)
        if self.is_half_duplex:
            return self._classify_half_duplex(byte, at)
        if self.duplex is None:
            return self._classify_undecided(byte, at)
        if not self._is_certain:
            self._reconsider_full_duplex(byte, at)
        return "echo" if self.is_half_duplex else "key"

    def classify_damaged(self, byte: int, at: float) -> EchoVerdict:
        """The same of a byte without its stop bits; a key if it has nothing to do with ours."""
        self.expire(at)
        if not self.is_half_duplex:
            return "key"
        verdict = self._classify_half_duplex(byte, at)
        if verdict != "key" or not (due := self._first_due(at)):
            return verdict
        return self._mark_garbled(due)

    def take_misjudged_keys(self) -> bytes:
        """What was taken for echoes while nobody knew, and was typed after all; to be looked at before a verdict."""
        taken = bytes(self._assumed_echoes) if self.duplex == "full" else b""
        if self.duplex is not None:
            self._assumed_echoes.clear()
        return taken

    def expire(self, at: float) -> None:
        """Gives up what should have come by now; worth calling when `WINDOW_S` passed in silence."""
        while self._awaited and self._awaited[0].due_at + self._window_s < at:
            self._record_miss(self._awaited.popleft())

    # Half duplex.

    def _classify_half_duplex(self, byte: int, at: float) -> EchoVerdict:
        if own := self._find_echoed(byte, at):
            self._record_match(own, at)
            return "echo"
        if byte == 0x00 and (due := self._first_due(at)):
            self._mark_garbled(due)
            return "break"
        slot = self._sent_in_slot(at)
        return self._mark_garbled(slot) if slot else "key"

    def _find_echoed(self, byte: int, at: float) -> _SentByte | None:
        """What this is the echo of: the first that is awaited, at any moment, or a later one not before its time."""
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
        """The first whose echo could be here by now."""
        waiting = (sent for sent in self._awaited if not sent.is_spoilt)
        first = next(waiting, None)
        return first if first and first.due_at - self._slack_s <= at else None

    def _sent_in_slot(self, at: float) -> _SentByte | None:
        """The one whose echo belongs at this very moment; nothing on a wire that is not steady enough to tell."""
        lag = self._steady_lag_s
        if lag is None or not self._character_s:
            return None
        slots = (sent for sent in self._awaited if not sent.is_spoilt and abs(at - sent.due_at - lag) < self._slack_s)
        return next(slots, None)

    @property
    def _steady_lag_s(self) -> float | None:
        """How late echoes are on this wire, if they are about equally late."""
        lags = sorted(self._lags)
        steady = len(lags) > 1 and lags[-1] - lags[0] < self._slack_s
        return lags[len(lags) // 2] if steady else None

    # Which duplex it is.

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
        for sent in self._awaited:  # a key has come between: what is already under way proves nothing any more
            sent.is_spoilt = True
        self._matches = 0
        return "key"

    def _reconsider_full_duplex(self, byte: int, at: float) -> None:
        """A machine that was off when we began echoed nothing, and looked like full duplex; or it was said to be."""
        own = self._find_echoed(byte, at)
        if own is None:
            self._matches = 0
            if not self._has_typed:
                self._has_typed, self._misses = True, 0
            return
        self._record_match(own, at)
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
        elif (
            self._has_typed or self._is_configured
        ) and self._misses >= _MISSES_LATER:  # it types, and still echoes nothing
            self._is_certain = True
            self._awaited.clear()

    def _decide_duplex(self, duplex: Literal["full", "half"]) -> None:
        self.duplex = duplex
        self._matches = self._misses = self._echoes = 0
        self._has_typed = False
        if duplex == "full" and not self._character_s:
            # Without a pace a line typed twice looks like its own echo; and a machine without steel is never off.
            self._is_certain = True
            self._awaited.clear()
