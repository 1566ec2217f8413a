"""Plays a recorded sheet in time onto a target: at a speed, with shorter silences, and controlled by keys.

It knows neither the terminal nor the machine; the clock is an argument.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from drivers.clock import CHARACTER_S, Clock

KEY_HELP = "space pauses, . strikes once, + and - change the speed, 1 is normal, [ and ] go to answers, Ctrl-C leaves"
MIN_SPEED, MAX_SPEED = 0.1, 100.0
_LAG_S = 0.5  # a machine that is so late has no time to make up: the silence after it stays
_WATCH_S = 5.0  # a target is called at least so often, since its operator may have pressed BREAK
_EPSILON_S = 1e-9  # floating point, no early stroke
_RESTART_S = 2.0  # so soon after the start of an answer, [ goes to the answer before


class PlaybackTarget(Protocol):
    """Shows or strikes the strokes of a recording."""

    is_instant: bool  # it strikes any number of strokes at once

    def batch_size(self) -> int:
        """Returns how many strokes it takes at most in one call."""
        ...

    async def strike(self, first: int, end: int) -> None:
        """Strikes strokes[first:end] and returns when they are struck; an empty range only checks the operator."""
        ...

    async def begin_line(self) -> None:
        """Moves to the margin of a clean line."""
        ...


def shorten_silences(times: Sequence[float], idle_s: float) -> list[float]:
    """Returns the times with each silence between two strokes cut to `idle_s`; the first is 0."""
    shortened = [0.0] * min(1, len(times))
    for before, after in pairwise(times):
        shortened.append(shortened[-1] + min(max(0.0, after - before), idle_s))
    return shortened


class Playback:
    """The position on the sheet, which runs with the clock; `times` are those of the strokes, from 0 on.

    `marks`: numbers of the strokes with which answers begin. `next`: the stroke that is struck next.
    """

    def __init__(
        self, times: Sequence[float], marks: Sequence[int], target: PlaybackTarget, clock: Clock, *, speed: float = 1.0
    ) -> None:
        self.next, self.speed, self.is_paused = 0, speed, False
        self._times, self._marks, self._target, self._clock = times, sorted(set(marks)), target, clock
        self._position, self._since = 0.0, clock.now()  # seconds of the sheet, and the time when it was there
        self._changed = asyncio.Event()
        self._steps = 0  # strokes that . has asked for
        self._jump_to: int | None = None

    async def play(self) -> None:
        """Plays to the end. Raises the errors of the target."""
        self._move_to(0.0)
        while self.next < len(self._times):
            self._changed.clear()
            if self._jump_to is not None:
                await self._jump(self._jump_to)
            elif end := self._due_end():
                await self._strike(end)
            else:
                await self._wait()

    def press(self, key: str) -> None:
        """Obeys a key; another key does nothing."""
        match key:
            case " ":
                self._pause(not self.is_paused)
            case ".":
                self._pause(True)
                self._steps += 1
            case "+":
                self._set_speed(self.speed * 2)
            case "-":
                self._set_speed(self.speed / 2)
            case "1":
                self._set_speed(1.0)
            case "[":
                before = self._now() - _RESTART_S * self.speed
                self._jump_to = next((mark for mark in reversed(self._marks) if self._times[mark] < before), 0)
            case "]":
                after = self._now() + _EPSILON_S
                self._jump_to = next((mark for mark in self._marks if self._times[mark] > after), len(self._times))
        self._changed.set()

    def _now(self) -> float:
        """Returns the position now, in seconds of the sheet."""
        return self._position + (0.0 if self.is_paused else (self._clock.now() - self._since) * self.speed)

    def _move_to(self, position: float) -> None:
        self._position, self._since = position, self._clock.now()

    def _pause(self, is_paused: bool) -> None:
        self._move_to(self._now())
        self.is_paused = is_paused

    def _set_speed(self, speed: float) -> None:
        self._move_to(self._now())
        self.speed = min(max(speed, MIN_SPEED), MAX_SPEED)

    def _due_end(self) -> int:
        """Returns the end of the strokes that are due, together with those that follow without a pause; 0 if none."""
        if self._steps:
            self._steps -= 1
            self._move_to(self._times[self.next])
            return self.next + 1
        if self.is_paused or self._times[self.next] > self._now() + _EPSILON_S:
            return 0
        end, limit = self.next + 1, min(len(self._times), self.next + self._target.batch_size())
        while end < limit and self._times[end] - self._times[end - 1] < 2 * CHARACTER_S:
            end += 1
        return end

    async def _strike(self, end: int) -> None:
        first, self.next = self.next, end
        await self._target.strike(first, end)
        struck_to = self._times[end - 1] + CHARACTER_S
        if self._now() - struck_to > _LAG_S * self.speed:
            self._move_to(struck_to)

    async def _wait(self) -> None:
        """Waits until the next stroke is due or a key comes, and calls the target now and then."""
        due = float("inf")
        if not self.is_paused:
            due = self._clock.now() + (self._times[self.next] - self._now()) / self.speed
        watch = self._clock.now() + _WATCH_S
        waits: list[asyncio.Future[object]] = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._clock.sleep_until(min(due, watch))),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._clock.now() >= watch:
            await self._target.strike(self.next, self.next)

    async def _jump(self, to: int) -> None:
        """Goes to a stroke. Strokes before it are struck at once where that is possible, otherwise left out."""
        self._jump_to = None
        if self._target.is_instant and to > self.next:
            await self._target.strike(self.next, to)
        elif to != self.next:
            await self._target.begin_line()
        self.next = to
        self._move_to(self._times[to] if to < len(self._times) else self._times[-1])


def marked_strokes(times: Sequence[float], marker_times: Sequence[float]) -> list[int]:
    """Returns the number of the first stroke at or after each marker; markers after the last stroke are left out."""
    numbers = [bisect_left(times, at) for at in marker_times]
    return [number for number in numbers if number < len(times)]
