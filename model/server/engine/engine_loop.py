"""One engine for many answers: a pass at a time, for those whose paper runs out first.

Does what `deadlines` decides, in the thread of whoever calls it; the clock is given. Knows no event loop: what
was made lies in `made` until it is fetched.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from model.generate.prefix_cache import common_prefix_length
from model.interface import TextChunk
from model.server.engine import fair_share
from model.server.engine.counters import EngineCounters
from model.server.engine.scheduler import (
    Idle,
    Prefill,
    ScheduledSequence,
    SchedulingPolicy,
    prefill_chunk_size,
    schedule,
)
from model.server.engine.sequence import BatchSequence
from model.server.engine.timed_engine import Logits, SlotSession, TimedEngine

STALLED_CLIENT_S = 2.0  # without taking anything, and others wait for a row

SequenceOutput = TextChunk | Exception | None  # None after the last


@dataclass(eq=False, slots=True)
class PrefillJob:
    """A prompt to be read ahead when there is nothing better to do; `told` how many of its tokens were read."""

    token_ids: list[int]
    conversation: str
    on_done: Callable[[int], None]
    prefilled: int = field(default=0)


class EngineLoop:
    """The answers that are being made, those that wait for a row, and the caches of those that were."""

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
        self._parked: set[BatchSequence] = set()  # whose readers have stopped, and others wanted the row
        self._prefill_jobs: list[PrefillJob] = []
        self._may_prefill = True  # the last pass was no piece of a prompt
        self.failure: Exception | None = None

    def counters(self) -> EngineCounters:
        return self.totals.counters(
            active=len(self._active), waiting=len(self._waiting), caches=self._allocator.idle_count
        )

    # What it is told:

    def add(self, sequence: BatchSequence) -> None:
        """One more answer is wanted."""
        if self.failure:
            self._emit_end(sequence, self.failure)
        elif last := sequence.final_chunk(self._clock()):
            self.outputs.append((sequence, last))
            self._emit_end(sequence, None)
        else:
            self._remove_prefills_of(sequence.conversation)
            self._waiting.append(sequence)

    def mark_delivered(self, sequence: BatchSequence, at: float, characters: int) -> None:
        """Its reader has these characters now."""
        still = sequence.scheduled.buffer.mark_delivered(at, characters)
        self.totals.stalls += still > 0
        self.totals.stall_s += still
        if sequence in self._parked:
            self._parked.remove(sequence)
            self._waiting.append(sequence)

    def cancel(self, sequence: BatchSequence) -> None:
        """Its reader is gone: it is in no pass from here on, and its cache waits for the next turn."""
        if sequence.scheduled in self._active:
            self.totals.cut += 1
            self._release_slot(sequence)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
            self.totals.cut += 1
        elif sequence in self._parked:
            self._parked.remove(sequence)
            self.totals.cut += 1

    def add_prefill(self, job: PrefillJob) -> None:
        """So far has a prompt been typed; what was heard of this conversation before is forgotten."""
        self._remove_prefills_of(job.conversation)
        self._prefill_jobs.append(job)

    def remove_prefill(self, job: PrefillJob) -> None:
        """It is read no further."""
        if job in self._prefill_jobs:
            self._prefill_jobs.remove(job)
            job.on_done(job.prefilled)

    def finish_all(self) -> None:
        """All that is being made ends here."""
        self._end_all(None)

    # What it does:

    def run_pass(self) -> float:
        """One pass, or none: the moment at which to come back if nothing is told before, which may be now."""
        try:
            return self._run_scheduled_pass()
        except Exception as error:  # of the engine, and so of everybody
            self.failure = error
            self._end_all(error)
            return inf

    @property
    def has_undelivered(self) -> bool:
        """Whether somebody has not taken all that was made."""
        return bool(self._parked) or any(line.buffer.undelivered_chars for line in self._active)

    def _run_scheduled_pass(self) -> float:
        self._admit_waiting()
        now = self._clock()
        todo = schedule(now, self._active, self._engine.costs, self._policy, self._may_prefill)
        if isinstance(todo, Prefill):
            self._prefill(self._active[todo.sequence], todo.token_count)
        elif isinstance(todo, Idle):
            until = min(todo.until, now + STALLED_CLIENT_S) if self._waiting else todo.until
            return now if self._prefill_ahead() else until
        elif not ((todo.is_early and self._prefill_ahead()) or self._compact_slots()):
            self._decode_step([self._active[line] for line in todo.sequences])
        return now

    def _admit_waiting(self) -> None:
        """Rows for those who have waited for one, the most pressing first."""
        if self._waiting and len(self._active) >= self.batch_size:
            self._park_stalled(self._clock())
        if self._waiting and len(self._active) >= self.batch_size:
            self._preempt_for_fairness()
        while self._waiting and len(self._active) < self.batch_size:
            turn = self._waiting[0]
            if self._policy == "paper":
                now = self._clock()
                next_ = fair_share.keys_with_fewest_rows({one.key_name for one in self._waiting}, self._rows_by_key())
                due = [one for one in self._waiting if one.key_name in next_]
                turn = min(due, key=lambda one: one.scheduled.buffer.next_deadline(now))
            self._waiting.remove(turn)
            self._active[turn.scheduled] = turn
            self._engine.copy_caches(self._allocator.acquire(turn.scheduled, turn.window, turn.conversation))
            self.totals.reused += self._rewind_to_window(turn)

    def _rows_by_key(self) -> Counter[str]:
        return Counter(turn.key_name for turn in self._active.values())

    def _preempt_for_fairness(self) -> None:
        """The answer that came last of the key with too many rows waits for another, and its cache rests."""
        who = fair_share.key_to_preempt(self._rows_by_key(), {one.key_name for one in self._waiting})
        if who is not None:
            turn = max(
                (one for one in self._active.values() if one.key_name == who),
                key=lambda one: one.scheduled.buffer.arrived_at,
            )
            del self._active[turn.scheduled]
            self._allocator.release(turn.scheduled)
            self._waiting.append(turn)

    def _park_stalled(self, now: float) -> None:
        """Take their rows from those whose readers have stopped, until they read again; their caches rest."""
        for turn in list(self._active.values()):
            paper = turn.scheduled.buffer
            if paper.undelivered_chars and (paper.last_token_at or now) + STALLED_CLIENT_S <= now:
                self._parked.add(turn)
                del self._active[turn.scheduled]
                self._allocator.release(turn.scheduled)

    def _rewind_to_window(self, sequence: BatchSequence) -> int:
        """Forget what the window does not begin with, and what comes last in it; how much of it is known.

        A token that is read alone comes out a little otherwise than as one of several: so that a text does not depend
        on what was known of it, none ever is.
        """
        known = self._allocator.token_ids(sequence.scheduled.slot)
        kept = min(common_prefix_length(known, sequence.window), len(sequence.window) - 1)
        kept -= sequence.prefill_length - kept == 1 < sequence.prefill_length
        self._allocator.truncate(sequence.scheduled.slot, kept)
        sequence.scheduled.pending_tokens = max(1, sequence.prefill_length - kept)
        return kept

    def _prefill(self, sequence: BatchSequence, count: int) -> None:
        known = len(self._allocator.token_ids(sequence.scheduled.slot))
        logits = self._engine.prefill(sequence.scheduled.slot, sequence.window[known : known + count])
        self._may_prefill = False
        sequence.scheduled.pending_tokens = max(1, sequence.scheduled.pending_tokens - count)
        if known + count == len(sequence.window):
            self._emit_token(sequence, logits)

    def _decode_step(self, sequences: list[BatchSequence]) -> None:
        """A token for each; of an answer that goes on, those that it had come to are taken again one by one."""
        at, begun = [turn.scheduled.slot for turn in sequences], self._clock()
        known = [len(self._allocator.token_ids(slot)) for slot in at]
        logits = self._engine.decode_step(at, [turn.window[have] for turn, have in zip(sequences, known, strict=True)])
        self._may_prefill = True
        for turn, have, row in zip(sequences, known, logits, strict=True):
            if have + 1 == len(turn.window):
                self._emit_token(turn, row)
        self._engine.record_step(at, begun)

    def _emit_token(self, sequence: BatchSequence, logits: Logits) -> None:
        """What goes wrong here is this answer's alone."""
        window = sequence.window
        try:
            piece = sequence.generate_token(logits, self._clock())
        except Exception as error:
            self._release_slot(sequence, keep_cache=False)
            self._emit_end(sequence, error)
            return
        self.totals.tokens += 1
        if piece:
            self.outputs.append((sequence, piece))
        if piece and piece.finish_reason:
            self._release_slot(sequence)
            self._emit_end(sequence, None)
        elif sequence.window is not window:  # it was rolled
            self._rewind_to_window(sequence)

    def _release_slot(self, sequence: BatchSequence, keep_cache: bool = True) -> None:
        del self._active[sequence.scheduled]
        self._allocator.release(sequence.scheduled, keep_cache)

    def _remove_prefills_of(self, conversation: str) -> None:
        for heard in [one for one in self._prefill_jobs if conversation and one.conversation == conversation]:
            self.remove_prefill(heard)

    def _end_all(self, error: Exception | None) -> None:
        for turn in [*self._active.values(), *self._waiting, *self._parked]:
            self._emit_end(turn, error)
        self._active, self._waiting, self._parked = {}, deque(), set()
        for heard in list(self._prefill_jobs):
            self.remove_prefill(heard)

    def _emit_end(self, sequence: BatchSequence, error: Exception | None) -> None:
        self.totals.failed += error is not None
        self.totals.finished += error is None
        self.outputs.append((sequence, error))

    def _prefill_ahead(self) -> bool:
        """A piece of what was heard last; False if there is nothing to read."""
        while self._prefill_jobs:
            heard = self._prefill_jobs[-1]
            found = self._allocator.find_for_prefill(heard.token_ids, heard.conversation)
            if found is None:
                return False
            slot, copies = found
            self._engine.copy_caches(copies)
            known = len(self._allocator.token_ids(slot))
            if left := len(heard.token_ids) - known:
                if left == 1 < len(heard.token_ids):
                    self._allocator.truncate(slot, known := known - 1)
                self._engine.prefill(
                    slot, heard.token_ids[known : known + prefill_chunk_size(len(heard.token_ids) - known)]
                )
                heard.prefilled += len(self._allocator.token_ids(slot)) - len(heard.token_ids) + left
                return True
            self.remove_prefill(heard)
        return False

    def _compact_slots(self) -> bool:
        """Whether slots had to be moved, so that somebody may have been cut meanwhile."""
        copies = self._allocator.compact()
        self._engine.copy_caches(copies)
        return bool(copies)
