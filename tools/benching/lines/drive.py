"""N typists at N wheels against one server, in one event loop: what each got, and when.

Knows the clock and the server's front; what a person does and what a wheel does others know, and what it comes to.
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace

from drivers.clock import CHARACTER_S, Clock, WallClock
from model.base import Ask, Sampling
from model.far.wire import Request
from tools.benching.lines import figures
from tools.benching.lines.call import CallFailed, Server
from tools.benching.lines.figures import Line, Span
from tools.benching.lines.typist import Turn, Typist
from tools.benching.progress import Tell

A_TOKEN = 4  # characters
SITTING_DOWN_S = 40.0  # two answers: one after the other, since what was said before must be read for each
AFTER_ERROR_S = 1.0
TICK_S = 0.1
PACE = 1 / CHARACTER_S

Meter = Callable[[], tuple[float, float]]  # processor seconds so far: of this program, of the server


@dataclass(frozen=True, slots=True)
class Asked:
    """How many lines, for how long, and who sits there. `context`: tokens of prompt and answer together."""

    lines: int
    seconds: float
    warm_up_s: float = 0.0
    turning: bool = False
    context: int = 256
    seed: int = 33
    sitting_s: float = SITTING_DOWN_S
    listening: bool = True  # the server takes a prompt that is still being typed
    alphabet: str = ""
    model: str = ""
    patience_s: float | None = None  # it ends when it is sure that this does not hold; None: not before its time


@dataclass(frozen=True, slots=True)
class Driven:
    """What happened. `spent` is the meter's in the time that counts; `late_s` the most that this program was late.

    `done` is what the server's engine did in that time, where it tells.
    """

    lines: list[Line]
    span: Span
    spent: tuple[float, float]
    late_s: float
    whole: bool  # nobody ended it before its time
    done: Mapping[str, float]


async def drive(server: Server, asked: Asked, tell: Tell, meter: Meter, clock: Clock | None = None) -> Driven:
    """Run it to its end, or until ^C."""
    clock = clock or WallClock()
    stop = asyncio.Event()
    seats = [_Seat(server, asked, number, clock) for number in range(asked.lines)]
    with _interrupted(stop):
        sitting = [asyncio.create_task(seat.sit()) for seat in seats]
        try:
            watch = _Watch(clock, sitting, stop, tell)
            await watch.keep(asked.warm_up_s, f"{asked.lines} lines, warming up")
            at_first = asyncio.create_task(server.counters())
            begun, before = clock.now(), meter()
            watch.late_s = 0.0
            whole = await watch.keep(asked.seconds, f"{asked.lines} lines", _hopeless(asked, seats, begun))
            ended, after = clock.now(), meter()
            done = figures.grown(await at_first, await server.counters())
        finally:
            for task in sitting:
                task.cancel()
            await asyncio.gather(*sitting, return_exceptions=True)
    for seat in seats:
        seat.line.wheel.leave(ended)
    span = Span(begun, max(ended, begun + 1e-9))
    spent = (after[0] - before[0], after[1] - before[1])
    return Driven([seat.line for seat in seats], span, spent, watch.late_s, whole, done)


def _hopeless(asked: Asked, seats: Sequence[_Seat], begun: float) -> Callable[[], bool]:
    patience_s, lines = asked.patience_s, [seat.line for seat in seats]
    if patience_s is None:
        return bool
    return lambda: figures.hopeless(lines, Span(begun, begun + asked.seconds), patience_s)


class _Watch:
    """Sees to the time, to ^C, and to whether this program keeps up."""

    def __init__(self, clock: Clock, sitting: list[asyncio.Task[None]], stop: asyncio.Event, tell: Tell) -> None:
        self.late_s = 0.0
        self._clock, self._sitting, self._stop, self._tell = clock, sitting, stop, tell

    async def keep(self, seconds: float, what: str, hopeless: Callable[[], bool] = bool) -> bool:
        """Back after that time, or within a second when it is hopeless, or as soon as it is stopped: then False."""
        begun = due = self._clock.now()
        told = 0
        while due - begun < seconds and not self._stop.is_set():
            due += min(TICK_S, begun + seconds - due + 1e-9)
            await self._clock.sleep_until(due)
            self.late_s = max(self.late_s, self._clock.now() - due)
            for task in self._sitting:
                if task.done():
                    task.result()  # nobody leaves: it is an error of ours
            if int(due - begun) > told:
                self._tell(f"{what}: {round(due - begun)} s of {round(seconds)}", int(due - begun) - told)
                told = int(due - begun)
                if hopeless():
                    break
        return not self._stop.is_set()


class _Seat:
    """One typist at one wheel."""

    def __init__(self, server: Server, asked: Asked, number: int, clock: Clock) -> None:
        self.line = Line()
        self._server, self._asked, self._number, self._clock = server, asked, number, clock
        self._chance = random.Random(f"{asked.seed} {number}")
        self._typist = Typist(self._chance, room=A_TOKEN * asked.context, turning=asked.turning)
        self._reading: asyncio.Task[None] | None = None

    async def sit(self) -> None:
        clock, asked = self._clock, self._asked
        await clock.sleep_until(clock.now() + asked.sitting_s * self._number / asked.lines)
        try:
            while True:
                turn = self._typist.turn()
                await self._type(turn)
                last = await self._answered(turn)
                await clock.sleep_until(last + turn.read_s)
        finally:
            self._stop_reading()

    async def _type(self, turn: Turn) -> None:
        """Until RETURN; at the end of each word the server hears what is there."""
        begun = self._clock.now() + turn.think_s
        for after, heard in turn.heard:
            await self._clock.sleep_until(begun + after)
            if self._asked.listening and (self._reading is None or self._reading.done()):
                self._reading = asyncio.create_task(self._read(heard))
        await self._clock.sleep_until(begun + turn.typing_s)
        self._stop_reading()

    async def _read(self, heard: str) -> None:
        request = replace(self._request(heard, 1), stream=False, read=True)
        with suppress(CallFailed):  # whoever asks for the answer will hear of it
            await self._server.read(request)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _answered(self, turn: Turn) -> float:
        """The answer onto the wheel; when its last character is struck."""
        wheel, clock, parts = self.line.wheel, self._clock, list[str]()
        request = self._request(turn.prompt, turn.answer)
        wheel.ask(clock.now())
        try:
            async with aclosing(self._server.stream(request)) as chunks:
                async for chunk in chunks:
                    tokens = len(chunk.tokens) or bool(chunk.text)
                    wheel.hand(clock.now(), len(chunk.text), tokens)
                    parts.append(chunk.text)
        except CallFailed as error:
            self.line.errors.append((clock.now(), error.kind))
            await clock.sleep_until(wheel.end(clock.now()) + AFTER_ERROR_S)
        self._typist.answered(turn.prompt, "".join(parts))
        return wheel.end(clock.now())

    def _request(self, prompt: str, characters: int) -> Request:
        asked = self._asked
        sampling = Sampling(seed=self._chance.randrange(2**31), max_tokens=math.ceil(characters / A_TOKEN))
        name = f"line-{asked.seed}-{self._number}"
        return Request(asked.model, Ask(prompt, sampling, (), asked.alphabet, PACE, name))


@contextmanager
def _interrupted(stop: asyncio.Event) -> Iterator[None]:
    """^C sets it; elsewhere than in the main thread it means what it meant."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    except (ValueError, RuntimeError, NotImplementedError):  # the last on Windows
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
