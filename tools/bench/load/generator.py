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
from model.interface import CompletionRequest, Sampling
from model.openai_api.response import OpenAIRequest
from tools.bench.load import figures
from tools.bench.load.figures import ClientRecord, TimeSpan
from tools.bench.load.http_client import RequestFailed, ServerUnderTest
from tools.bench.load.user import SimulatedUser, UserTurn
from tools.bench.progress import BenchProgress

CHARS_PER_TOKEN = 4  # characters
RAMP_UP_S = 40.0  # two answers: one after the other, since what was said before must be read for each
ERROR_PAUSE_S = 1.0
TICK_S = 0.1
CHARS_PER_SECOND = 1 / CHARACTER_S

CpuMeter = Callable[[], tuple[float, float]]  # processor seconds so far: of this program, of the server


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How many lines, for how long, and who sits there. `context`: tokens of prompt and answer together."""

    clients: int
    seconds: float
    warm_up_s: float = 0.0
    is_continuous: bool = False
    context: int = 256
    seed: int = 33
    ramp_up_s: float = RAMP_UP_S
    has_prefill: bool = True  # the server takes a prompt that is still being typed
    alphabet: str = ""
    model: str = ""
    max_wait_s: float | None = None  # it ends when it is sure that this does not hold; None: not before its time


@dataclass(frozen=True, slots=True)
class LoadRun:
    """What happened. `spent` is the meter's in the time that counts; `late_s` the most that this program was late.

    `done` is what the server's engine did in that time, where it tells.
    """

    records: list[ClientRecord]
    span: TimeSpan
    cpu_s: tuple[float, float]
    late_s: float
    is_complete: bool  # nobody ended it before its time
    engine_counters: Mapping[str, float]


async def run_clients(
    server: ServerUnderTest,
    settings: LoadSettings,
    on_progress: BenchProgress,
    cpu_meter: CpuMeter,
    clock: Clock | None = None,
) -> LoadRun:
    """Run it to its end, or until ^C."""
    clock = clock or WallClock()
    stop = asyncio.Event()
    seats = [_LoadClient(server, settings, number, clock) for number in range(settings.clients)]
    with _stop_on_interrupt(stop):
        sitting = [asyncio.create_task(seat.run()) for seat in seats]
        try:
            watch = _RunMonitor(clock, sitting, stop, on_progress)
            await watch.wait(settings.warm_up_s, f"{settings.clients} lines, warming up")
            at_first = asyncio.create_task(server.fetch_counters())
            begun, before = clock.now(), cpu_meter()
            watch.late_s = 0.0
            whole = await watch.wait(
                settings.seconds, f"{settings.clients} lines", _make_failure_check(settings, seats, begun)
            )
            ended, after = clock.now(), cpu_meter()
            done = figures.subtract_counters(await at_first, await server.fetch_counters())
        finally:
            for task in sitting:
                task.cancel()
            await asyncio.gather(*sitting, return_exceptions=True)
    for seat in seats:
        seat.record.print_buffer.close(ended)
    span = TimeSpan(begun, max(ended, begun + 1e-9))
    spent = (after[0] - before[0], after[1] - before[1])
    return LoadRun([seat.record for seat in seats], span, spent, watch.late_s, whole, done)


def _make_failure_check(settings: LoadSettings, clients: Sequence[_LoadClient], begun: float) -> Callable[[], bool]:
    patience_s, lines = settings.max_wait_s, [seat.record for seat in clients]
    if patience_s is None:
        return bool
    return lambda: figures.is_limit_exceeded(lines, TimeSpan(begun, begun + settings.seconds), patience_s)


class _RunMonitor:
    """Sees to the time, to ^C, and to whether this program keeps up."""

    def __init__(
        self, clock: Clock, tasks: list[asyncio.Task[None]], stop: asyncio.Event, on_progress: BenchProgress
    ) -> None:
        self.late_s = 0.0
        self._clock, self._tasks, self._stop, self._on_progress = clock, tasks, stop, on_progress

    async def wait(self, seconds: float, label: str, has_failed: Callable[[], bool] = bool) -> bool:
        """Back after that time, or within a second when it is hopeless, or as soon as it is stopped: then False."""
        begun = due = self._clock.now()
        told = 0
        while due - begun < seconds and not self._stop.is_set():
            due += min(TICK_S, begun + seconds - due + 1e-9)
            await self._clock.sleep_until(due)
            self.late_s = max(self.late_s, self._clock.now() - due)
            for task in self._tasks:
                if task.done():
                    task.result()  # nobody leaves: it is an error of ours
            if int(due - begun) > told:
                self._on_progress(f"{label}: {round(due - begun)} s of {round(seconds)}", int(due - begun) - told)
                told = int(due - begun)
                if has_failed():
                    break
        return not self._stop.is_set()


class _LoadClient:
    """One typist at one wheel."""

    def __init__(self, server: ServerUnderTest, settings: LoadSettings, number: int, clock: Clock) -> None:
        self.record = ClientRecord()
        self._server, self._settings, self._number, self._clock = server, settings, number, clock
        self._rng = random.Random(f"{settings.seed} {number}")
        self._user = SimulatedUser(
            self._rng, context_chars=CHARS_PER_TOKEN * settings.context, is_continuous=settings.is_continuous
        )
        self._prefill_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        clock, asked = self._clock, self._settings
        await clock.sleep_until(clock.now() + asked.ramp_up_s * self._number / asked.clients)
        try:
            while True:
                turn = self._user.next_turn()
                await self._type_line(turn)
                last = await self._print_answer(turn)
                await clock.sleep_until(last + turn.read_s)
        finally:
            self._cancel_prefill()

    async def _type_line(self, turn: UserTurn) -> None:
        """Until RETURN; at the end of each word the server hears what is there."""
        begun = self._clock.now() + turn.think_s
        for after, heard in turn.typed_prefixes:
            await self._clock.sleep_until(begun + after)
            if self._settings.has_prefill and (self._prefill_task is None or self._prefill_task.done()):
                self._prefill_task = asyncio.create_task(self._send_prefill(heard))
        await self._clock.sleep_until(begun + turn.typing_s)
        self._cancel_prefill()

    async def _send_prefill(self, prompt: str) -> None:
        request = replace(self._build_request(prompt, 1), stream=False, prefill_only=True)
        with suppress(RequestFailed):  # whoever asks for the answer will hear of it
            await self._server.prefill(request)

    def _cancel_prefill(self) -> None:
        if self._prefill_task is not None:
            self._prefill_task.cancel()
            self._prefill_task = None

    async def _print_answer(self, turn: UserTurn) -> float:
        """The answer onto the wheel; when its last character is struck."""
        wheel, clock, parts = self.record.print_buffer, self._clock, list[str]()
        request = self._build_request(turn.prompt, turn.answer_chars)
        wheel.begin_answer(clock.now())
        try:
            async with aclosing(self._server.stream_completion(request)) as chunks:
                async for chunk in chunks:
                    tokens = len(chunk.tokens) or bool(chunk.text)
                    wheel.deliver(clock.now(), len(chunk.text), tokens)
                    parts.append(chunk.text)
        except RequestFailed as error:
            self.record.errors.append((clock.now(), error.kind))
            await clock.sleep_until(wheel.end_answer(clock.now()) + ERROR_PAUSE_S)
        self._user.record_answer(turn.prompt, "".join(parts))
        return wheel.end_answer(clock.now())

    def _build_request(self, prompt: str, characters: int) -> OpenAIRequest:
        asked = self._settings
        sampling = Sampling(seed=self._rng.randrange(2**31), max_tokens=math.ceil(characters / CHARS_PER_TOKEN))
        name = f"line-{asked.seed}-{self._number}"
        return OpenAIRequest(
            asked.model, CompletionRequest(prompt, sampling, (), asked.alphabet, CHARS_PER_SECOND, name)
        )


@contextmanager
def _stop_on_interrupt(stop: asyncio.Event) -> Iterator[None]:
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
