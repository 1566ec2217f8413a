"""The lines that wait to be sent, and when each may go: a server drops a client that sends too fast. Pure.

Twitch allows 20 lines in 30 seconds and drops a line equal to the last within 30 seconds [dev.twitch.tv/docs/chat].
Servers of IRC allow a burst of about five lines and then one every two seconds (RFC 1459 8.10).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MAX_WAITING = 64  # lines; then the oldest is dropped
MAX_AGE_S = 600.0  # an older line answers a question that the room has left behind


@dataclass(frozen=True, slots=True)
class SendLimits:
    """`burst` lines at once in a `window_s` of seconds; an equal line not again within `same_s`."""

    burst: int = 5
    window_s: float = 10.0
    same_s: float = 0.0


IRC_LIMITS = SendLimits()
TWITCH_LIMITS = SendLimits(18, 30.0, 30.0)  # two fewer than allowed: the server's clock is not ours


@dataclass(frozen=True, slots=True)
class _WaitingLine:
    channel: str
    line: bytes
    queued_at: float


class SendQueue:
    """Lines for the server. Urgent ones, such as PONG, go first and are not counted; chat waits for its channel."""

    def __init__(self, limits: SendLimits = IRC_LIMITS) -> None:
        self._limits = limits
        self._urgent: deque[bytes] = deque()
        self._waiting: deque[_WaitingLine] = deque()
        self._sent_at: deque[float] = deque(maxlen=limits.burst)
        self._same: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def drop_urgent(self) -> None:
        """Drops the urgent lines, at the end of a connection. Chat lines wait for the next one."""
        self._urgent.clear()

    def send_now(self, line: bytes) -> None:
        self._urgent.append(line)

    def send_later(self, channel: str, line: bytes, now: float) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
        self._waiting.append(_WaitingLine(channel, line, now))

    def take_urgent(self) -> bytes:
        """Returns the urgent lines that wait."""
        data = b"".join(self._urgent)
        self._urgent.clear()
        return data

    def take_due(self, now: float, is_joined: Callable[[str], bool]) -> bytes:
        """Returns the chat lines that may go now, and drops the expired ones."""
        self._waiting = deque(item for item in self._waiting if now - item.queued_at < MAX_AGE_S)
        data = b""
        while (item := self._next_item(is_joined)) and self.next_time(now, is_joined) <= now:
            self._waiting.remove(item)
            self._sent_at.append(now)
            if self._limits.same_s:
                self._same = {line: at for line, at in self._same.items() if now - at < self._limits.same_s}
                self._same[item.line] = now
            data += item.line
        return data

    def next_time(self, now: float, is_joined: Callable[[str], bool]) -> float:
        """Returns when the next chat line may go, in the time of `now`; infinity if none waits."""
        item = self._next_item(is_joined)
        if item is None:
            return float("inf")
        is_full = len(self._sent_at) == self._limits.burst
        free_at = self._sent_at[0] + self._limits.window_s if is_full else now
        same_at = self._same.get(item.line, float("-inf")) + self._limits.same_s
        return max(now, free_at, same_at)

    def _next_item(self, is_joined: Callable[[str], bool]) -> _WaitingLine | None:
        return next((item for item in self._waiting if is_joined(item.channel)), None)
