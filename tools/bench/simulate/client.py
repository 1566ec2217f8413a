"""A simulated client on the jumping clock: `tools.bench.load.generator` in simulated time, with the daemon's failover.

The host gives the time and chooses the replica. After a broken stream the client retries with the text so far, when
`model.client.server_health` says, and the answer continues. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol

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
    """The simulation that a client is part of."""

    scenario: Scenario
    now: float

    def schedule(self, at: float, action: Callable[[], None]) -> None: ...

    def choose_replica(self, conversation: str) -> SimulatedReplica | None: ...

    def failure_known_at(self, replica: SimulatedReplica) -> float | None:
        """Returns when the failure of a replica becomes known; None if it lives."""
        ...

    def wake(self, replica: SimulatedReplica) -> None: ...


class SimulatedClient:
    def __init__(self, host: SimulationHost, name: str, rng: SimulationRandom) -> None:
        scenario = host.scenario
        self.record, self.interruptions = ClientRecord(), 0
        self.name = name
        self._host, self._rng, self._health = host, rng, ServerHealth()
        context_chars = len(WORD) * scenario.context
        self._user = SimulatedUser(rng, context_chars=context_chars, is_continuous=scenario.is_continuous)
        self._turn: UserTurn
        self._prefill: tuple[SimulatedReplica, PrefillJob] | None = None
        self._answer_words = self._received_words = 0
        self._last_arrival = 0.0

    def start_turn(self) -> None:
        """Schedules the turn of a user who thinks, types, and presses RETURN."""
        host, turn = self._host, self._user.next_turn()
        self._turn = turn
        typing_from = host.now + turn.think_s
        for after_s, text in turn.typed_prefixes if host.scenario.has_prefill else ():
            host.schedule(typing_from + after_s, partial(self._send_prefill, text))
        host.schedule(typing_from + turn.typing_s, self._press_return)

    def _send_prefill(self, text: str) -> None:
        """Sends the text for prefill, unless a prefill is in progress: then the next one has these words too."""
        if self._prefill is None and (replica := self._host.choose_replica(self.name)):
            self._prefill = replica, PrefillJob(word_ids(stable_prefix(text)), self.name, self._finish_prefill)
            replica.add_prefill(self._host.now + self._host.scenario.latency_s, self._prefill[1])
            self._host.wake(replica)

    def _finish_prefill(self, tokens: int) -> None:
        self._prefill = None

    def _press_return(self) -> None:
        if self._prefill is not None:
            replica, job = self._prefill
            replica.cancel_prefill(self._host.now, job)
            self._host.wake(replica)
            self._prefill = None
        self._answer_words, self._received_words = ceil(self._turn.answer_chars / len(WORD)), 0
        self.record.print_buffer.begin_answer(self._host.now)
        self._send_request()

    def _send_request(self) -> None:
        if (replica := self._host.choose_replica(self.name)) is None:
            self._schedule_retry()
        else:
            self._host.schedule(self._host.now + self._host.scenario.latency_s, partial(self._deliver_request, replica))

    def _deliver_request(self, replica: SimulatedReplica) -> None:
        """Gives the request to the replica, unless the replica has failed or is full."""
        host = self._host
        if (known_at := host.failure_known_at(replica)) is not None:
            host.schedule(max(known_at, host.now), self._schedule_retry)
        elif len(replica.sequences) >= host.scenario.max_answers:
            self.record.errors.append((host.now, "429"))
            self._schedule_retry(1.0)
        else:
            replica.add_sequence(host.now, self._make_sequence())
            host.wake(replica)

    def _make_sequence(self) -> SimulatedSequence:
        return SimulatedSequence(
            self._turn.prompt,
            self._answer_words,
            conversation=self.name,
            arrived_at=self._host.now,
            client=self,
            resume_words=self._received_words,
        )

    def receive(self, chunk: TextChunk, at: float) -> None:
        """Receives a chunk that the replica finished at this moment; the chunk arrives after the latency."""
        scenario, buffer = self._host.scenario, self.record.print_buffer
        arrival = max(self._last_arrival, at + scenario.latency_s + scenario.jitter_s * self._rng.random())
        self._last_arrival = arrival
        self._received_words += 1
        self._health.record_success()
        buffer.deliver(arrival, len(chunk.text), 1)
        if chunk.finish_reason:
            self._user.record_answer(self._turn.prompt, self._answer_words * WORD)
            self._host.schedule(buffer.end_answer(arrival) + self._turn.read_s, self.start_turn)

    def interrupt(self) -> None:
        """Breaks off the stream in the middle of an answer."""
        self.interruptions += 1
        self._schedule_retry()

    def _schedule_retry(self, retry_after_s: float = 0.0) -> None:
        error = ServerLost("it does not answer")
        error.retry_after_s = retry_after_s
        self._health.record_failure(error, self._host.now, self._rng.random())
        self._host.schedule(self._health.retry_at, self._send_request)
