"""The load generator: N simulated users on one server, in one event loop. It records the deliveries.

It knows the clock and the HTTP client. It does not know the users' habits, or the print buffer's timing.
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from drivers.clock import CHARACTER_S, Clock, WallClock
from model.interface import CompletionRequest, Sampling
from model.openai_api.request import OpenAIRequest
from tools.bench.load import figures
from tools.bench.load.figures import ClientRecord, TimeSpan
from tools.bench.load.http_client import RequestFailed, ServerUnderTest
from tools.bench.load.user import SimulatedUser, UserTurn
from tools.bench.progress import BenchProgress
from tools.cli.signals import handle_in_loop

CHARS_PER_TOKEN = 4
RAMP_UP_S = 40.0  # about two answers: clients that came together would need their prompts prefilled together
ERROR_PAUSE_S = 1.0
TICK_S = 0.1
CHARS_PER_SECOND = 1 / CHARACTER_S

CpuMeter = Callable[[], tuple[float, float]]  # processor seconds so far, of this program and of the server


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How many clients for how long, and their habits. `context` is the tokens of prompt and answer together."""

    clients: int
    seconds: float
    warm_up_s: float = 0.0
    is_continuous: bool = False  # users make no pauses
    context: int = 256
    seed: int = 33
    ramp_up_s: float = RAMP_UP_S
    has_prefill: bool = True  # the server prefills a prompt while it is typed
    alphabet: str = ""
    model: str = ""
    max_wait_s: float | None = None  # the run ends early once this limit is surely exceeded; None: it never does


@dataclass(frozen=True, slots=True)
class LoadRun:
    """The result of a run. `cpu_s` and `engine_counters` count the measured span, without the warm-up."""

    records: list[ClientRecord]
    span: TimeSpan
    cpu_s: tuple[float, float]
    late_s: float  # the longest delay of this program itself
    is_complete: bool  # the operator did not interrupt it
    engine_counters: Mapping[str, float]  # empty if the server does not give them


async def run_clients(
    server: ServerUnderTest, settings: LoadSettings, on_progress: BenchProgress, cpu_meter: CpuMeter
) -> LoadRun:
    """Runs all clients until the time is over, or until ^C."""
    clock, stop = WallClock(), asyncio.Event()
    clients = [_LoadClient(server, settings, number, clock) for number in range(settings.clients)]
    label = f"{settings.clients} clients"
    with handle_in_loop(lambda _: stop.set(), [signal.SIGINT], once=False):
        tasks = [asyncio.create_task(client.run()) for client in clients]
        try:
            monitor = _RunMonitor(clock, tasks, stop, on_progress)
            await monitor.wait(settings.warm_up_s, f"{label}, warming up")
            first_counters = asyncio.create_task(server.fetch_counters())
            started_at, cpu_before = clock.now(), cpu_meter()
            monitor.late_s = 0.0
            has_failed = _make_failure_check(settings, clients, started_at)
            is_complete = await monitor.wait(settings.seconds, label, has_failed)
            ended_at, cpu_after = clock.now(), cpu_meter()
            counters = figures.subtract_counters(await first_counters, await server.fetch_counters())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        client.record.print_buffer.close(ended_at)
    span = TimeSpan(started_at, max(ended_at, started_at + 1e-9))
    cpu_s = (cpu_after[0] - cpu_before[0], cpu_after[1] - cpu_before[1])
    return LoadRun([client.record for client in clients], span, cpu_s, monitor.late_s, is_complete, counters)


def _make_failure_check(
    settings: LoadSettings, clients: Sequence[_LoadClient], started_at: float
) -> Callable[[], bool]:
    max_wait_s, records = settings.max_wait_s, [client.record for client in clients]
    if max_wait_s is None:
        return bool
    return lambda: figures.is_limit_exceeded(records, TimeSpan(started_at, started_at + settings.seconds), max_wait_s)


class _RunMonitor:
    """Watches the time, ^C, and whether this program itself is late."""

    def __init__(
        self, clock: Clock, tasks: list[asyncio.Task[None]], stop: asyncio.Event, on_progress: BenchProgress
    ) -> None:
        self.late_s = 0.0
        self._clock, self._tasks, self._stop, self._on_progress = clock, tasks, stop, on_progress

    async def wait(self, seconds: float, label: str, has_failed: Callable[[], bool] = bool) -> bool:
        """Waits for this time, or until `has_failed`, checked each second. Returns False at once after ^C."""
        started_at = due = self._clock.now()
        shown_s = 0
        while due - started_at < seconds and not self._stop.is_set():
            due += min(TICK_S, started_at + seconds - due + 1e-9)
            await self._clock.sleep_until(due)
            self.late_s = max(self.late_s, self._clock.now() - due)
            for task in self._tasks:
                if task.done():
                    task.result()  # a client never ends by itself: this raises its error
            elapsed_s = int(due - started_at)
            if elapsed_s > shown_s:
                self._on_progress(f"{label}: {round(due - started_at)} s of {round(seconds)}", elapsed_s - shown_s)
                shown_s = elapsed_s
                if has_failed():
                    break
        return not self._stop.is_set()


class _LoadClient:
    """One simulated user with one print buffer."""

    def __init__(self, server: ServerUnderTest, settings: LoadSettings, number: int, clock: Clock) -> None:
        self.record = ClientRecord()
        self._server, self._settings, self._number, self._clock = server, settings, number, clock
        self._rng = random.Random(f"{settings.seed} {number}")
        context_chars = CHARS_PER_TOKEN * settings.context
        self._user = SimulatedUser(self._rng, context_chars=context_chars, is_continuous=settings.is_continuous)
        self._prefill_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        clock, settings = self._clock, self._settings
        await clock.sleep_until(clock.now() + settings.ramp_up_s * self._number / settings.clients)
        try:
            while True:
                turn = self._user.next_turn()
                await self._type_line(turn)
                printed_at = await self._print_answer(turn)
                await clock.sleep_until(printed_at + turn.read_s)
        finally:
            self._cancel_prefill()

    async def _type_line(self, turn: UserTurn) -> None:
        """Types until RETURN. After each word it sends the prompt so far to be prefilled, one at a time."""
        started_at = self._clock.now() + turn.think_s
        for after_s, prompt in turn.typed_prefixes:
            await self._clock.sleep_until(started_at + after_s)
            if self._settings.has_prefill and (self._prefill_task is None or self._prefill_task.done()):
                self._prefill_task = asyncio.create_task(self._send_prefill(prompt))
        await self._clock.sleep_until(started_at + turn.typing_s)
        self._cancel_prefill()

    async def _send_prefill(self, prompt: str) -> None:
        request = replace(self._build_request(prompt, 1), stream=False, prefill_only=True)
        with suppress(RequestFailed):  # the request for the answer will fail too, and be counted
            await self._server.prefill(request)

    def _cancel_prefill(self) -> None:
        if self._prefill_task is not None:
            self._prefill_task.cancel()
            self._prefill_task = None

    async def _print_answer(self, turn: UserTurn) -> float:
        """Receives the answer; returns when its last character is printed."""
        buffer, clock, parts = self.record.print_buffer, self._clock, list[str]()
        request = self._build_request(turn.prompt, turn.answer_chars)
        buffer.begin_answer(clock.now())
        try:
            async with aclosing(self._server.stream_completion(request)) as chunks:
                async for chunk in chunks:
                    buffer.deliver(clock.now(), len(chunk.text), len(chunk.tokens) or bool(chunk.text))
                    parts.append(chunk.text)
        except RequestFailed as error:
            self.record.errors.append((clock.now(), error.kind))
            await clock.sleep_until(buffer.end_answer(clock.now()) + ERROR_PAUSE_S)
        self._user.record_answer(turn.prompt, "".join(parts))
        return buffer.end_answer(clock.now())

    def _build_request(self, prompt: str, characters: int) -> OpenAIRequest:
        settings = self._settings
        sampling = Sampling(seed=self._rng.randrange(2**31), max_tokens=math.ceil(characters / CHARS_PER_TOKEN))
        name = f"line-{settings.seed}-{self._number}"
        request = CompletionRequest(prompt, sampling, (), settings.alphabet, CHARS_PER_SECOND, name)
        return OpenAIRequest(settings.model, request)
