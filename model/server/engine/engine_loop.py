"""Runs one engine for many answers, pass by pass, in the caller's thread. The caller empties `outputs`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from model.generate.prefix_cache import common_prefix_length
from model.interface import TextChunk
from model.server.engine import scheduler
from model.server.engine.counters import EngineCounters
from model.server.engine.scheduler import Idle, Prefill, ScheduledSequence, SchedulingPolicy
from model.server.engine.sequence import BatchSequence
from model.server.engine.timed_engine import Logits, SlotSession, TimedEngine

STALLED_CLIENT_S = 2.0  # a client that takes no text for so long loses its row to a waiting answer

SequenceOutput = TextChunk | Exception | None  # None after the last chunk


@dataclass(eq=False, slots=True)
class PrefillJob:
    """A prompt to prefill while nothing is more urgent. `on_done` gets the number of tokens that were prefilled."""

    token_ids: list[int]
    conversation: str
    on_done: Callable[[int], None]
    prefilled: int = 0
    slot: int = -1  # of the last pass


class EngineLoop:
    """Holds the active answers, the answers that wait for a row, and the prompts to prefill ahead."""

    def __init__(
        self, session: SlotSession, *, batch_size: int, clock: Callable[[], float], policy: SchedulingPolicy = "paper"
    ) -> None:
        self.batch_size = min(batch_size, session.count)
        self.outputs: list[tuple[BatchSequence, SequenceOutput]] = []
        self._engine = TimedEngine(session, clock)
        self._allocator, self.totals = self._engine.allocator, self._engine.totals
        self._clock, self._policy = clock, policy
        self._active: dict[ScheduledSequence, BatchSequence] = {}
        self._waiting: deque[BatchSequence] = deque()
        self._parked: set[BatchSequence] = set()  # lost their row because their client stalled
        self._prefill_jobs: list[PrefillJob] = []
        self._may_prefill = True  # the last pass was no prefill
        self.failure: Exception | None = None

    def counters(self) -> EngineCounters:
        active, waiting = len(self._active), len(self._waiting)
        return replace(self.totals, active=active, waiting=waiting, caches=self._allocator.idle_count)

    # Commands of the caller:

    def add_sequence(self, sequence: BatchSequence) -> None:
        if self.failure:
            self._emit_end(sequence, self.failure)
        elif chunk := sequence.final_chunk(self._clock()):
            self.outputs.append((sequence, chunk))
            self._emit_end(sequence, None)
        else:
            self._remove_prefills_of(sequence.conversation)
            self._waiting.append(sequence)

    def mark_delivered(self, sequence: BatchSequence, at: float, characters: int) -> None:
        """Notes that the client has received these characters."""
        stall_s = sequence.scheduled.buffer.mark_delivered(at, characters)
        self.totals.stalls += stall_s > 0
        self.totals.stall_s += stall_s
        if sequence in self._parked:
            self._parked.remove(sequence)
            self._waiting.append(sequence)

    def cancel(self, sequence: BatchSequence) -> None:
        """Takes an open answer out of all further passes. Its cache stays idle for the next turn."""
        if sequence.scheduled in self._active:
            self._release_slot(sequence, keep_cache=not sequence.scheduled.gives_way)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        elif sequence in self._parked:
            self._parked.remove(sequence)
        else:
            return
        self.totals.cut += 1

    def add_prefill(self, job: PrefillJob) -> None:
        """Queues a prompt that is still being typed. The job replaces the conversation's earlier job."""
        self._remove_prefills_of(job.conversation)
        self._prefill_jobs.append(job)

    def remove_prefill(self, job: PrefillJob) -> None:
        if job in self._prefill_jobs:
            self._prefill_jobs.remove(job)
            job.on_done(job.prefilled)

    def end_all(self, error: Exception | None = None) -> None:
        for sequence in [*self._active.values(), *self._waiting, *self._parked]:
            self._emit_end(sequence, error)
        self._active, self._waiting, self._parked = {}, deque(), set()
        for job in list(self._prefill_jobs):
            self.remove_prefill(job)

    # Passes:

    def run_pass(self) -> float:
        """Runs one pass or none. Returns the time of the next call, if no command comes before; it may be now."""
        try:
            return self._run_scheduled_pass()
        except Exception as error:  # of the engine, so it ends all answers
            self.failure = error
            self.end_all(error)
            return inf

    @property
    def has_undelivered(self) -> bool:
        """Whether a client has not yet taken all of its text."""
        return bool(self._parked) or any(scheduled.buffer.undelivered_chars for scheduled in self._active)

    def _run_scheduled_pass(self) -> float:
        self._admit_waiting()
        now = self._clock()
        action = scheduler.schedule(now, self._active, self._engine.costs, self._policy, self._may_prefill)
        if isinstance(action, Prefill):
            if not (action.sequence.gives_way and self._prefill_ahead()):
                self._prefill(self._active[action.sequence], action.token_count)
        elif isinstance(action, Idle):
            until = min(action.until, now + STALLED_CLIENT_S) if self._waiting else action.until
            return now if self._prefill_ahead() else until
        elif not ((action.is_early and self._prefill_ahead()) or self._compact_slots()):
            self._decode_step([self._active[scheduled] for scheduled in action.sequences])
        return now

    def _admit_waiting(self) -> None:
        """Gives free rows to waiting answers, the one with the earliest deadline first."""
        if self._waiting and len(self._active) >= self.batch_size:
            self._park_stalled(self._clock())
        if self._waiting and len(self._active) >= self.batch_size:
            self._preempt_for_waiting()
        while self._waiting and len(self._active) < self.batch_size:
            first = self._waiting_first()
            sequence = first[0]
            if self._policy == "paper":
                now = self._clock()
                keys = scheduler.keys_with_fewest_rows({waiting.key_name for waiting in first}, self._rows_by_key())
                candidates = [waiting for waiting in first if waiting.key_name in keys]
                sequence = min(candidates, key=lambda waiting: waiting.scheduled.buffer.next_deadline(now))
            self._waiting.remove(sequence)
            self._active[sequence.scheduled] = sequence
            copies = self._allocator.acquire(sequence.scheduled, sequence.window, sequence.conversation)
            self._engine.copy_caches(copies)
            self.totals.reused += self._rewind_to_window(sequence)

    def _rows_by_key(self) -> Counter[str]:
        return Counter(sequence.key_name for sequence in self._active.values())

    def _waiting_first(self) -> list[BatchSequence]:
        """The waiting answers that come first: those that give way only if no other waits."""
        return [waiting for waiting in self._waiting if not waiting.scheduled.gives_way] or list(self._waiting)

    def _preempt_for_waiting(self) -> None:
        """Takes a row from each answer that must give it up; that answer waits, and its cache stays idle.

        All rows are busy. Answers that give way leave first. Else the latest of the key with too many rows does.
        """
        waiting = [waiting for waiting in self._waiting if not waiting.scheduled.gives_way]
        yielding = [sequence for sequence in self._active.values() if sequence.scheduled.gives_way]
        if waiting and yielding:
            leaving = sorted(yielding, key=_arrived_at)[-len(waiting) :]
        else:
            key = scheduler.key_to_preempt(self._rows_by_key(), {sequence.key_name for sequence in waiting})
            answers = (sequence for sequence in self._active.values() if sequence.key_name == key)
            leaving = [] if key is None else [max(answers, key=_arrived_at)]
        for sequence in leaving:
            self._release_slot(sequence)
            self._waiting.append(sequence)

    def _park_stalled(self, now: float) -> None:
        """Takes the rows of stalled clients until they read again. The caches stay idle."""
        for sequence in list(self._active.values()):
            buffer = sequence.scheduled.buffer
            if buffer.undelivered_chars and (buffer.last_token_at or now) + STALLED_CLIENT_S <= now:
                self._parked.add(sequence)
                self._release_slot(sequence)

    def _rewind_to_window(self, sequence: BatchSequence) -> int:
        """Truncates the cache to its common prefix with the window less the last token. Returns the cache's length.

        A token computed alone gives slightly different logits than among others. Therefore the last token of a prompt
        is never computed alone, so that the text does not depend on what was cached.
        """
        cached = self._allocator.token_ids(sequence.scheduled.slot)
        length = min(common_prefix_length(cached, sequence.window), len(sequence.window) - 1)
        length -= sequence.prefill_length - length == 1 < sequence.prefill_length
        self._allocator.truncate(sequence.scheduled.slot, length)
        sequence.scheduled.pending_tokens = max(1, sequence.prefill_length - length)
        return length

    def _prefill(self, sequence: BatchSequence, count: int) -> None:
        """Prefills a chunk of the prompt, or copies the cache of an answer with the same prompt, if one has more."""
        scheduled = sequence.scheduled
        cached = len(self._allocator.token_ids(scheduled.slot))
        prompt = sequence.window[: len(sequence.window) - 1]
        if copies := self._allocator.find_longer_prefix(scheduled.slot, prompt, cached):
            self._engine.copy_caches(copies)
            self.totals.reused += self._rewind_to_window(sequence) - cached
            return
        logits = self._engine.prefill(scheduled.slot, sequence.window[cached : cached + count])
        self._may_prefill = False
        scheduled.pending_tokens = max(1, scheduled.pending_tokens - count)
        if cached + count == len(sequence.window):
            self._emit_token(sequence, logits)

    def _decode_step(self, sequences: list[BatchSequence]) -> None:
        """Computes a token of each sequence. A resumed answer computes one resume token in each step, then new ones."""
        slots, started_at = [sequence.scheduled.slot for sequence in sequences], self._clock()
        cached = [len(self._allocator.token_ids(slot)) for slot in slots]
        tokens = [sequence.window[length] for sequence, length in zip(sequences, cached, strict=True)]
        logits = self._engine.decode_step(slots, tokens)
        self._may_prefill = True
        for sequence, length, row in zip(sequences, cached, logits, strict=True):
            if length + 1 == len(sequence.window):
                self._emit_token(sequence, row)
        self._engine.record_step(slots, started_at)

    def _emit_token(self, sequence: BatchSequence, logits: Logits) -> None:
        """Samples a token. An error while sampling ends only this answer."""
        window = sequence.window
        try:
            chunk = sequence.generate_token(logits, self._clock())
        except Exception as error:
            self._release_slot(sequence, keep_cache=False)
            self._emit_end(sequence, error)
            return
        self.totals.tokens += 1
        if chunk:
            self.outputs.append((sequence, chunk))
        if chunk and chunk.finish_reason:
            self._release_slot(sequence, keep_cache=not sequence.scheduled.gives_way)  # it has no next turn
            self._emit_end(sequence, None)
        elif sequence.window is not window:  # the context was full, and the oldest text was dropped
            self._rewind_to_window(sequence)

    def _release_slot(self, sequence: BatchSequence, keep_cache: bool = True) -> None:
        del self._active[sequence.scheduled]
        self._allocator.release(sequence.scheduled, keep_cache)

    def _remove_prefills_of(self, conversation: str) -> None:
        for job in [job for job in self._prefill_jobs if conversation and job.conversation == conversation]:
            self.remove_prefill(job)

    def _emit_end(self, sequence: BatchSequence, error: Exception | None) -> None:
        self.totals.failed += error is not None
        self.totals.finished += error is None
        self.outputs.append((sequence, error))

    def _prefill_ahead(self) -> bool:
        """Prefills a chunk of the latest job. Returns False if no job is left or no slot is free."""
        while self._prefill_jobs:
            job = self._prefill_jobs[-1]
            if not self._allocator.can_continue_prefill(job.slot, job.token_ids):
                if self._allocator.is_cached(job.token_ids, job.conversation):
                    self.remove_prefill(job)
                    continue
                if (slot_and_copies := self._allocator.find_for_prefill(job.token_ids, job.conversation)) is None:
                    return False
                job.slot, copies = slot_and_copies
                self._engine.copy_caches(copies)
            if self._prefill_chunk(job):
                return True
            self.remove_prefill(job)
        return False

    def _prefill_chunk(self, job: PrefillJob) -> bool:
        """Prefills the next chunk of a job in its slot. Returns False if all its tokens are there."""
        total, cached = len(job.token_ids), len(self._allocator.token_ids(job.slot))
        if not (remaining := total - cached):
            return False
        if remaining == 1 < total:
            self._allocator.truncate(job.slot, cached := cached - 1)
        chunk_end = cached + scheduler.prefill_chunk_size(total - cached)
        self._engine.prefill(job.slot, job.token_ids[cached:chunk_end])
        job.prefilled += len(self._allocator.token_ids(job.slot)) - total + remaining
        return True

    def _compact_slots(self) -> bool:
        """Moves caches together. Returns True if this took time: then the commands run before the next step."""
        copies = self._allocator.compact()
        self._engine.copy_caches(copies)
        return bool(copies)


def _arrived_at(sequence: BatchSequence) -> float:
    return sequence.scheduled.buffer.arrived_at
