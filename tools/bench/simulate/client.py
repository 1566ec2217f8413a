"""One typist at one wheel, on the clock that jumps: what `lines.drive` does in earnest, and what the daemon does after.

Who is asked, and what the time is, the hall says. A stream that breaks off is asked for again as `model.client.server_health`
has it, with what was said before, and the sentence goes on. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol

from drivers.clock import CHARACTER_S
from model.client.server_health import ServerHealth
from model.errors import ServerLost
from model.generate.prefix_cache import stable_prefix
from model.interface import TextChunk
from model.server.engine.engine_loop import PrefillJob
from tools.bench.load.figures import ClientRecord
from tools.bench.load.user import SimulatedUser, UserTurn
from tools.bench.simulate.replica import WORD, SimulatedReplica, SimulatedSequence, word_ids
from tools.bench.simulate.scenario import Scenario, SimulationRandom


class SimulationHost(Protocol):
    """Where a seat stands."""

    scenario: Scenario
    now: float

    def schedule(self, at: float, action: Callable[[], None]) -> None: ...

    def choose_replica(self, conversation: str) -> SimulatedReplica | None: ...

    def failure_known_at(self, replica: SimulatedReplica) -> float | None:
        """When it is known that it is dead; None where it lives."""
        ...

    def wake(self, replica: SimulatedReplica) -> None: ...


class SimulatedClient:
    def __init__(self, host: SimulationHost, name: str, rng: SimulationRandom) -> None:
        self.record, self.interruptions = ClientRecord(), 0
        self.name = name
        self._host, self._rng, self._health = host, rng, ServerHealth()
        self._user = SimulatedUser(
            rng, context_chars=len(WORD) * host.scenario.context, is_continuous=host.scenario.is_continuous
        )
        self._turn: UserTurn
        self._prefill: tuple[SimulatedReplica, PrefillJob] | None = None
        self._answer_words = self._received_words = 0
        self._last_arrival = 0.0

    def start_turn(self) -> None:
        """Think, type, press RETURN."""
        hall, turn = self._host, self._user.next_turn()
        self._turn = turn
        begun = hall.now + turn.think_s
        for after, text in turn.typed_prefixes if hall.scenario.has_prefill else ():
            hall.schedule(begun + after, partial(self._send_prefill, text))
        hall.schedule(begun + turn.typing_s, self._press_return)

    def _send_prefill(self, text: str) -> None:
        """One at a time: while one is read, the next word waits for the one after it."""
        if self._prefill is None and (replica := self._host.choose_replica(self.name)):
            self._prefill = replica, PrefillJob(word_ids(stable_prefix(text)), self.name, self._finish_prefill)
            replica.add_prefill(self._host.now + self._host.scenario.latency_s, self._prefill[1])
            self._host.wake(replica)

    def _finish_prefill(self, tokens: int) -> None:
        self._prefill = None

    def _press_return(self) -> None:
        if self._prefill is not None:
            replica, heard = self._prefill
            replica.cancel_prefill(self._host.now, heard)
            self._host.wake(replica)
            self._prefill = None
        self._answer_words, self._received_words = ceil(self._turn.answer_chars / len(WORD)), 0
        self.record.print_buffer.begin_answer(self._host.now)
        self._send_request()

    def _send_request(self) -> None:
        if (replica := self._host.choose_replica(self.name)) is None:
            self._schedule_retry(0.0)
        else:
            self._host.schedule(self._host.now + self._host.scenario.latency_s, lambda: self._arrive(replica))

    def _arrive(self, replica: SimulatedReplica) -> None:
        hall = self._host
        if (noticed := hall.failure_known_at(replica)) is not None:
            hall.schedule(max(noticed, hall.now), lambda: self._schedule_retry(0.0))
        elif len(replica.sequences) >= hall.scenario.max_answers:
            self.record.errors.append((hall.now, "429"))
            self._schedule_retry(1.0)
        else:
            replica.add_sequence(hall.now, self._make_sequence())
            hall.wake(replica)

    def _make_sequence(self) -> SimulatedSequence:
        prompt, words, before = self._turn.prompt, self._answer_words, self._received_words
        pace, now = 1 / CHARACTER_S, self._host.now
        return SimulatedSequence(
            prompt, words, pace=pace, conversation=self.name, arrived_at=now, client=self, resume_words=before
        )

    def receive(self, chunk: TextChunk, at: float) -> None:
        """What was made by then comes here, some moments later."""
        case, wheel = self._host.scenario, self.record.print_buffer
        came = max(self._last_arrival, at + case.latency_s + case.jitter_s * self._rng.random())
        self._last_arrival = came
        self._received_words += 1
        self._health.record_success()
        wheel.deliver(came, len(chunk.text), 1)
        if chunk.finish_reason:
            self._user.record_answer(self._turn.prompt, self._answer_words * WORD)
            self._host.schedule(wheel.end_answer(came) + self._turn.read_s, self.start_turn)

    def interrupt(self) -> None:
        """The stream ends before the answer does."""
        self.interruptions += 1
        self._schedule_retry(0.0)

    def _schedule_retry(self, retry_after_s: float) -> None:
        error = ServerLost("it does not answer")
        error.retry_after_s = retry_after_s
        self._health.record_failure(error, self._host.now, self._rng.random())
        self._host.schedule(self._health.retry_at, self._send_request)
