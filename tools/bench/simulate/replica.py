"""One replica of the real scheduler on a clock that jumps: `model.server.engine.engine_loop`, an engine that only takes time.

Its caches, its rows, its plan and its reading ahead are the server's own; the engine's passes last as long as a table
says, and every token is the same word. Knows no network, no typists and no other replicas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from model.interface import TextChunk
from model.server.engine.counters import EngineCounters
from model.server.engine.engine_loop import EngineLoop, PrefillJob
from model.server.engine.scheduler import PlayoutBuffer, ScheduledSequence, SchedulingPolicy
from model.server.engine.sequence import BatchSequence
from tools.bench.simulate.engines import EngineCostTable
from tools.bench.simulate.noisy_neighbours import NoisyNeighbours

WORD = " and"  # the one that all answers are made of: four characters, a token
COPY_S_PER_BYTE = 1e-10  # a byte of a cache from slot to slot: 20 MB in 2 ms
_WORDS = re.compile(r"\s?\S+")

_ids_of_words: dict[str, int] = {}
_CHUNK, _LAST_CHUNK = TextChunk(WORD, (1,), 0.0), TextChunk(WORD, (1,), 0.0, "length")


def word_ids(text: str) -> list[int]:
    """A token for a word with the blank before it, and one for the end of text before all."""
    return [0, *(_ids_of_words.setdefault(word, len(_ids_of_words) + 1) for word in _WORDS.findall(text))]


class SimulatedSequence(BatchSequence):
    """An answer of so many words; `whose` is for whoever asked."""

    def __init__(
        self,
        prompt: str,
        words: int,
        *,
        pace: float,
        conversation: str,
        arrived_at: float,
        client: object,
        resume_words: int = 0,
    ) -> None:
        """`before` words of it were said elsewhere: they are taken again one by one, and not said."""
        self.conversation, self.client = conversation, client
        self.scheduled = ScheduledSequence(PlayoutBuffer(pace, arrived_at), 0)
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
    """As `distributor.Slots`; a pass, with the tokens drawn from it, moves the clock and does nothing else."""

    costs: EngineCostTable
    count: int
    context: int
    now: float = 0.0
    neighbours: NoisyNeighbours | None = None
    busy_s: float = 0.0

    def prefill(self, slot: int, past_length: int, token_ids: Sequence[int]) -> NDArray[np.float32]:
        self.advance(self.costs.prefill_s(len(token_ids)) + self.costs.draw_ms / 1000)
        return np.zeros(1, np.float32)

    def decode_step(
        self, first_slot: int, past_lengths: Sequence[int], token_ids: Sequence[int], wanted: Sequence[int]
    ) -> NDArray[np.float32]:
        self.advance(
            self.costs.step_s(len(token_ids), sum(past_lengths) / len(past_lengths))
            + len(wanted) * self.costs.draw_ms / 1000
        )
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
    """`wakes` is when it next does something by itself; what it is told before the end of a pass waits for that."""

    def __init__(
        self,
        name: str,
        costs: EngineCostTable,
        *,
        batch_size: int,
        cache_slots: int,
        context: int,
        now: float = 0.0,
        policy: SchedulingPolicy = "paper",
        neighbours: NoisyNeighbours | None = None,
    ) -> None:
        self.name, self.wakes_at = name, inf
        self.sequences: set[SimulatedSequence] = set()
        self._slots = _TimedSlots(costs, cache_slots, context, now, neighbours)
        self._engine_loop = EngineLoop(self._slots, batch_size=batch_size, clock=lambda: self._slots.now, policy=policy)
        self._commands: list[Command] = []

    @property
    def busy_s(self) -> float:
        """How long it has been at work so far."""
        return self._slots.busy_s

    def counters(self) -> EngineCounters:
        return self._engine_loop.counters()

    def add_sequence(self, now: float, sequence: SimulatedSequence) -> None:
        self.sequences.add(sequence)
        self._queue_command(now, lambda distributor: distributor.add(sequence))

    def cancel_sequence(self, now: float, sequence: SimulatedSequence) -> None:
        self.sequences.discard(sequence)
        self._queue_command(now, lambda distributor: distributor.cancel(sequence))

    def add_prefill(self, now: float, job: PrefillJob) -> None:
        self._queue_command(now, lambda distributor: distributor.add_prefill(job))

    def cancel_prefill(self, now: float, job: PrefillJob) -> None:
        self._queue_command(now, lambda distributor: distributor.remove_prefill(job))

    def _queue_command(self, now: float, command: Command) -> None:
        self._commands.append(command)
        self.wakes_at = min(self.wakes_at, max(now, self._slots.now))

    def run_pass(self, now: float) -> tuple[float, list[tuple[SimulatedSequence, TextChunk]]]:
        """One pass, begun now: when it is over, and what was made by then."""
        slots, distributor = self._slots, self._engine_loop
        slots.now = max(now, slots.now)
        told, self._commands = self._commands, []
        for what in told:
            what(distributor)
        until = distributor.run_pass()
        slots.advance(sum(load is not None for _, load in distributor.outputs) * slots.costs.front_ms / 1000)
        made, distributor.outputs = distributor.outputs, []
        handed: list[tuple[SimulatedSequence, TextChunk]] = []
        for turn, load in made:
            assert isinstance(turn, SimulatedSequence)
            if isinstance(load, Exception):
                raise load
            if load is not None:
                distributor.mark_delivered(turn, slots.now, len(load.text))
                handed.append((turn, load))
                if load.finish_reason:
                    self.sequences.discard(turn)
        self.wakes_at = max(until, slots.now)
        return slots.now, handed
