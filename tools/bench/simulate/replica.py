"""A replica on a clock that jumps: the server's real engine loop with a session that only takes time.

Scheduler, cache slots and prefill are the server's own (`model.server.engine`). The passes last as long as a cost table
says, and every token is the same word. It does not know the network, the users, or other replicas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from drivers.clock import CHARACTER_S
from model.interface import TextChunk
from model.server.engine.counters import EngineCounters
from model.server.engine.engine_loop import EngineLoop, PrefillJob
from model.server.engine.scheduler import PlayoutBuffer, ScheduledSequence
from model.server.engine.sequence import BatchSequence
from tools.bench.simulate.engine_costs import EngineCostTable
from tools.bench.simulate.scenario import NoisyNeighbours, Scenario

WORD = " and"  # every token of an answer: four characters
COPY_S_PER_BYTE = 1e-10  # of a cache from slot to slot: 20 MB in 2 ms
_WORDS = re.compile(r"\s?\S+")

_ids_of_words: dict[str, int] = {}
_CHUNK, _LAST_CHUNK = TextChunk(WORD, (1,), 0.0), TextChunk(WORD, (1,), 0.0, "length")


def word_ids(text: str) -> list[int]:
    """Returns the id of the end of text, then an id for each word with its leading blank."""
    return [0, *(_ids_of_words.setdefault(word, len(_ids_of_words) + 1) for word in _WORDS.findall(text))]


class SimulatedSequence(BatchSequence):
    """An answer of a given number of words for a client."""

    def __init__(
        self,
        prompt: str,
        words: int,
        *,
        conversation: str,
        arrived_at: float,
        client: object,
        resume_words: int = 0,
    ) -> None:
        """`resume_words`: how many words another replica has sent; they are prefilled and not sent again."""
        self.conversation, self.client = conversation, client
        self.scheduled = ScheduledSequence(PlayoutBuffer(1 / CHARACTER_S, arrived_at), 0)
        self.generated_tokens = 0
        self.window = word_ids(prompt)
        self.prefill_length = len(self.window)
        self.window += word_ids(resume_words * WORD)[1:]
        self._words_left = words - resume_words

    def final_chunk(self, now: float) -> TextChunk | None:
        return _LAST_CHUNK if self._words_left <= 0 else None

    def generate_token(self, logits: NDArray[np.float32], now: float) -> TextChunk | None:
        self.generated_tokens += 1
        self._words_left -= 1
        self.scheduled.buffer.add_generated(now, len(WORD))
        self.window.append(_ids_of_words.setdefault(WORD, len(_ids_of_words) + 1))
        return _CHUNK if self._words_left else _LAST_CHUNK


@dataclass(slots=True)
class _TimedSlots:
    """Replaces the batched session. A pass, with the sampling of its tokens, only moves the clock."""

    costs: EngineCostTable
    count: int
    context: int
    now: float
    neighbours: NoisyNeighbours | None
    busy_s: float = 0.0

    def prefill(self, slot: int, past_length: int, token_ids: Sequence[int]) -> NDArray[np.float32]:
        self.advance(self.costs.prefill_s(len(token_ids)) + self.costs.draw_ms / 1000)
        return np.zeros(1, np.float32)

    def decode_step(
        self, first_slot: int, past_lengths: Sequence[int], token_ids: Sequence[int], wanted: Sequence[int]
    ) -> NDArray[np.float32]:
        step_s = self.costs.step_s(len(token_ids), sum(past_lengths) / len(past_lengths))
        self.advance(step_s + len(wanted) * self.costs.draw_ms / 1000)
        return np.zeros((len(wanted), 1), np.float32)

    def copy_cache(self, source: int, target: int, length: int) -> None:
        self.advance(COPY_S_PER_BYTE * length * self.costs.a_token)

    def advance(self, seconds: float) -> None:
        if self.neighbours:
            seconds *= self.neighbours.slowdown_at(self.now)
        self.now += seconds
        self.busy_s += seconds


Command = Callable[[EngineLoop], object]


class SimulatedReplica:
    """`wakes_at` is the time of its next pass. Commands wait for the end of the pass that is running."""

    def __init__(
        self, name: str, costs: EngineCostTable, scenario: Scenario, now: float, neighbours: NoisyNeighbours | None
    ) -> None:
        self.name, self.wakes_at = name, inf
        self.sequences: set[SimulatedSequence] = set()
        self._slots = slots = _TimedSlots(costs, scenario.cache_slots, scenario.context, now, neighbours)
        size, policy = scenario.batch_size, scenario.policy
        self._engine_loop = EngineLoop(slots, batch_size=size, clock=lambda: slots.now, policy=policy)
        self._commands: list[Command] = []

    @property
    def busy_s(self) -> float:
        """The seconds that its passes have taken so far."""
        return self._slots.busy_s

    def counters(self) -> EngineCounters:
        return self._engine_loop.counters()

    def add_sequence(self, now: float, sequence: SimulatedSequence) -> None:
        self.sequences.add(sequence)
        self._queue_command(now, lambda loop: loop.add_sequence(sequence))

    def add_prefill(self, now: float, job: PrefillJob) -> None:
        self._queue_command(now, lambda loop: loop.add_prefill(job))

    def cancel_prefill(self, now: float, job: PrefillJob) -> None:
        self._queue_command(now, lambda loop: loop.remove_prefill(job))

    def _queue_command(self, now: float, command: Command) -> None:
        self._commands.append(command)
        self.wakes_at = min(self.wakes_at, max(now, self._slots.now))

    def run_pass(self, now: float) -> tuple[float, list[tuple[SimulatedSequence, TextChunk]]]:
        """Runs one pass that starts now; returns the moment of its end, and the chunks that it made."""
        slots, loop = self._slots, self._engine_loop
        slots.now = max(now, slots.now)
        commands, self._commands = self._commands, []
        for command in commands:
            command(loop)
        next_at = loop.run_pass()
        slots.advance(sum(output is not None for _, output in loop.outputs) * slots.costs.front_ms / 1000)
        outputs, loop.outputs = loop.outputs, []
        chunks: list[tuple[SimulatedSequence, TextChunk]] = []
        for sequence, output in outputs:
            assert isinstance(sequence, SimulatedSequence)
            if isinstance(output, Exception):
                raise output
            if output is not None:
                loop.mark_delivered(sequence, slots.now, len(output.text))
                chunks.append((sequence, output))
                if output.finish_reason:
                    self.sequences.discard(sequence)
        self.wakes_at = max(next_at, slots.now)
        return slots.now, chunks
