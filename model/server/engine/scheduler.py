"""Decides what the engine does next: prefill, a decode step, or nothing; and which API key gets a row. Pure.

The client of a paced sequence prints at a known speed; the deadline is when the client runs out of text. A large step
is cheaper than many small steps. So the scheduler waits until buffers are low, then serves all sequences with room.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import Literal

from model.generate.prefix_cache import PREFILL_CHUNK
from model.server.engine.cost_model import PassCosts

# Seconds of text in a client's buffer:
LOW_BUFFER_S = 12.0  # below it a sequence is due for a token, and waits until many are due, so that steps are large
COMFORTABLE_BUFFER_S = 1.0  # while all buffers have more, prompts are prefilled ahead before more text is generated
URGENT_BUFFER_S = 0.8  # below it a sequence gets a token even if no other sequence is due
MAX_BUFFER_S = 20.0  # above it a sequence gets no token: enough for slow periods, and a BREAK discards the buffer
# Other limits:
FIRST_TOKEN_S = 0.5  # from the request to the first character; the operator has just pressed RETURN
LOW_ONE_IN = 4  # if one of so many paced sequences is low, all sequences with room get a token
MIN_SPLIT_GAIN = 3  # a smaller step must be so many times cheaper than the full one to be worth splitting off
ALLOWED_STALL_S = 0.1  # under overload; half of the stall that an operator notices
OVERLOAD_STEP_S = 0.4  # of printing a token; a full step that takes longer gets all rows, for throughput
UNPACED_INTERVAL_S = 2.0  # longest wait of an unpaced sequence between two tokens
MAX_PREFILL_WAIT_S = 5.0  # a prompt that has waited longer alternates with the steps, even if clients stall
MAX_UNDELIVERED_CHARS = 256  # of an unpaced sequence
OVERHEAD_S = 0.02  # for sampling, copies and the network
YIELDING_CHUNK = 32  # tokens in a prefill pass of an answer that gives way: about as long as a decode step

SchedulingPolicy = Literal["paper", "arrival"]  # by deadline, or first come first served


@dataclass(slots=True, eq=False)
class PlayoutBuffer:
    """The text that a client has not yet printed. An unpaced client, of speed 0, reads all text at once."""

    chars_per_second: float
    arrived_at: float
    runs_out_at: float | None = None  # when the client has printed all that was delivered
    undelivered_chars: int = 0  # generated, and not yet taken by the client
    last_token_at: float | None = None

    def add_generated(self, now: float, characters: int) -> None:
        self.last_token_at = now
        self.undelivered_chars += characters

    def mark_delivered(self, at: float, characters: int) -> float:
        """Notes that the client received these characters. Returns the seconds for which it had no text to print."""
        self.undelivered_chars -= characters
        stall_s = max(0.0, at - self.runs_out_at) if self.runs_out_at is not None else 0.0
        if self.chars_per_second:
            self.runs_out_at = max(at, self.runs_out_at or at) + characters / self.chars_per_second
        return stall_s

    @property
    def has_started(self) -> bool:
        return self.last_token_at is not None

    def next_deadline(self, now: float) -> float:
        """The time at which the next token must exist. Undelivered text counts as delivered now."""
        if not self.chars_per_second:
            return (self.arrived_at if self.last_token_at is None else self.last_token_at) + UNPACED_INTERVAL_S
        if not self.undelivered_chars:
            return self.arrived_at + FIRST_TOKEN_S if self.runs_out_at is None else self.runs_out_at
        return max(self.runs_out_at or now, now) + self.undelivered_chars / self.chars_per_second

    def has_room(self, now: float) -> bool:
        """Whether another token may be generated: the buffer is not full, and the client takes its text."""
        if not self.chars_per_second:
            return self.undelivered_chars < MAX_UNDELIVERED_CHARS
        return self.next_deadline(now) < now + MAX_BUFFER_S

    def low_at(self, now: float) -> float:
        """The time at which the buffer falls below LOW_BUFFER_S, if the client takes no undelivered text until then."""
        if not self.chars_per_second or self.undelivered_chars / self.chars_per_second >= LOW_BUFFER_S:
            return inf
        return self.next_deadline(now) - LOW_BUFFER_S


@dataclass(slots=True, eq=False)
class ScheduledSequence:
    """An answer as the scheduler sees it. `pending_tokens` are still to be computed: 1, or more for a prompt.

    One that gives way is served while no other answer has work that is due.
    """

    buffer: PlayoutBuffer
    pending_tokens: int
    slot: int = -1
    gives_way: bool = False


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prefill the next `token_count` tokens of a prompt."""

    sequence: ScheduledSequence
    token_count: int


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """Generate a token for each sequence, in the order of their slots. `is_early`: a prompt may be prefilled ahead."""

    sequences: Sequence[ScheduledSequence]
    is_early: bool = False


@dataclass(frozen=True, slots=True)
class Idle:
    """Do nothing until this time, or until a command comes."""

    until: float


DueRow = tuple[float, ScheduledSequence]  # the next deadline first
BY_DEADLINE = itemgetter(0)


def schedule(
    now: float,
    sequences: Iterable[ScheduledSequence],
    costs: PassCosts,
    policy: SchedulingPolicy = "paper",
    may_prefill: bool = True,
) -> Prefill | DecodeStep | Idle:
    """Chooses the engine's next pass. `may_prefill`: the last pass was a step, so an overdue prompt may go next."""
    sequences = list(sequences)
    if policy == "arrival":
        return _schedule_by_arrival(sequences, costs)
    paced: list[DueRow] = []  # with room for a token, as the unpaced
    unpaced: list[DueRow] = []
    prompts: list[DueRow] = []
    for sequence in sequences:
        if sequence.pending_tokens > 1:
            prompts.append((sequence.buffer.next_deadline(now), sequence))
        elif sequence.buffer.has_room(now):
            ready = paced if sequence.buffer.chars_per_second else unpaced
            ready.append((sequence.buffer.next_deadline(now), sequence))
    first_deadline = min(paced, key=BY_DEADLINE)[0] if paced else inf
    if prompts:
        prompt = min(prompts, key=lambda row: (row[1].gives_way, row[0]))
        if prefill := _schedule_prefill(now, prompt, paced, first_deadline, costs, may_prefill):
            return prefill
    rows = _select_low(now, paced, first_deadline)
    if prompts and not rows:
        rows = paced  # the buffers do not last for the prefill, so they are filled first
    if rows:
        rows = _select_rows(now, rows, unpaced, first_deadline, costs)
        is_early = first_deadline - COMFORTABLE_BUFFER_S > now
        return DecodeStep(_select_contiguous(rows, paced + unpaced, costs), is_early)
    if unpaced:
        is_early = all(row[1].gives_way for row in unpaced)
        return DecodeStep(_select_contiguous(unpaced, unpaced, costs), is_early)
    return Idle(_next_wakeup(now, sequences, len(paced)))


def prefill_chunk_size(pending_tokens: int, largest: int = PREFILL_CHUNK) -> int:
    """The tokens of the next prefill pass. One token never remains: alone it would get slightly different logits."""
    return min(largest - (pending_tokens == largest + 1), pending_tokens)


def _select_low(now: float, paced: list[DueRow], first_deadline: float) -> list[DueRow]:
    """Selects all paced sequences if many are low, else the low ones if one of them is urgent, else none."""
    low = [row for row in paced if row[0] - LOW_BUFFER_S <= now]
    if len(low) * LOW_ONE_IN >= len(paced):
        return paced if low else []
    return low if first_deadline - URGENT_BUFFER_S <= now else []


def _next_wakeup(now: float, sequences: list[ScheduledSequence], paced_count: int) -> float:
    """The time at which `_select_low` will select rows if nothing changes before."""
    low = sorted(sequence.buffer.low_at(now) for sequence in sequences)
    if not low:
        return inf
    many_low = low[max(0, -(-paced_count // LOW_ONE_IN) - 1)]
    urgent = low[0] + LOW_BUFFER_S - URGENT_BUFFER_S + 1e-6  # a microsecond later, because sums are inexact
    return min(many_low if many_low > now else inf, max(urgent, now + 1e-6))


def _schedule_by_arrival(sequences: list[ScheduledSequence], costs: PassCosts) -> Prefill | DecodeStep | Idle:
    """Chooses a prompt in the order of arrival, or else a token for every client that takes its text."""
    prompts = [(sequence.buffer.arrived_at, sequence) for sequence in sequences if sequence.pending_tokens > 1]
    if prompts:
        first = min(prompts, key=BY_DEADLINE)[1]
        return Prefill(first, prefill_chunk_size(first.pending_tokens))
    with_room = (sequence for sequence in sequences if sequence.buffer.undelivered_chars < MAX_UNDELIVERED_CHARS)
    ready = [(sequence.buffer.last_token_at or 0.0, sequence) for sequence in with_room]
    return DecodeStep(_select_contiguous(ready, ready, costs)) if ready else Idle(inf)


def _schedule_prefill(
    now: float, prompt: DueRow, paced: list[DueRow], first_deadline: float, costs: PassCosts, may_prefill: bool
) -> Prefill | None:
    """The next prefill chunk, if every buffer lasts until the following step ends, or if the prompt is overdue."""
    deadline, sequence = prompt
    largest = YIELDING_CHUNK if sequence.gives_way else PREFILL_CHUNK
    count = prefill_chunk_size(sequence.pending_tokens, largest)
    end = now + costs.prefill.seconds_for(count) + OVERHEAD_S
    latest = first_deadline + (ALLOWED_STALL_S / 2 if deadline < now else 0.0)
    fits = not paced or latest > end + costs.step.seconds_for(len(_select_urgent(end, paced, costs)))
    # The client of an answer whose window moved is printing; the operator of a new prompt can wait longer.
    if sequence.gives_way:
        is_overdue = False
    elif sequence.buffer.has_started:
        is_overdue = deadline < first_deadline
    else:
        is_overdue = may_prefill and deadline + MAX_PREFILL_WAIT_S < now
    return Prefill(sequence, count) if fits or is_overdue else None


def _select_urgent(now: float, paced: list[DueRow], costs: PassCosts) -> list[DueRow]:
    """Selects the sequences that would stall during a full step, if they are few, or else all.

    Under heavy load, many small steps for urgent sequences would take twice as long as a few full steps.
    """
    full_s = costs.step.seconds_for(len(paced))
    soon = sum(row[0] < now + 2 * full_s for row in paced)
    if MIN_SPLIT_GAIN * costs.step.seconds_for(soon) < full_s:
        return [row for row in paced if row[0] < now + full_s]
    return paced


def _select_rows(
    now: float, paced: list[DueRow], unpaced: list[DueRow], first_deadline: float, costs: PassCosts
) -> list[DueRow]:
    """Selects all sequences with room if the first deadline allows it, else those that would stall meanwhile."""
    step, left_s = costs.step, first_deadline - now - OVERHEAD_S
    full_s = step.seconds_for(len(paced))
    if left_s > step.seconds_for(len(paced) + len(unpaced)):
        return paced + unpaced
    if left_s < full_s and len(urgent := _select_urgent(now + OVERHEAD_S, paced, costs)) < len(paced):
        return urgent or paced
    overdue = [row for row in unpaced if row[0] < now and not row[1].gives_way]
    if -ALLOWED_STALL_S < left_s < full_s - ALLOWED_STALL_S and full_s < OVERLOAD_STEP_S:
        size = max(step.max_items_in(ALLOWED_STALL_S), MIN_SPLIT_GAIN * step.items_per_pass_overhead)
        return _select_block(paced, size) + overdue
    return paced + overdue


def _select_block(paced: list[DueRow], size: float) -> list[DueRow]:
    """Selects the block of `size` slots with the sequence that is due first. Fixed blocks keep this fair."""
    block = _slot_of(min(paced, key=BY_DEADLINE)) // size
    return [row for row in paced if _slot_of(row) // size == block]


def _select_contiguous(rows: list[DueRow], candidates: list[DueRow], costs: PassCosts) -> list[ScheduledSequence]:
    """Selects neighbouring slots with the sequence that is due first. A small gap costs less than another pass.

    Candidates inside the gaps join the step at no cost.
    """
    rows = sorted(rows, key=_slot_of)
    max_gap = costs.step.items_per_pass_overhead
    runs: list[list[DueRow]] = []
    for row in rows:
        if runs and _slot_of(row) - _slot_of(runs[-1][-1]) - 1 <= max_gap:
            runs[-1].append(row)
        else:
            runs.append([row])
    run = min(runs, key=lambda run: min(run, key=BY_DEADLINE)[0])
    first, last = _slot_of(run[0]), _slot_of(run[-1])
    return [row[1] for row in sorted(candidates, key=_slot_of) if first <= _slot_of(row) <= last]


def _slot_of(row: DueRow) -> int:
    return row[1].slot


# Fair share of the rows between API keys. When all rows are busy and a key is waiting, the key with most rows gives one
# up, unless it would then have fewer than the waiting key. A key without competitors may hold all rows.


def keys_with_fewest_rows(waiting: Collection[str], rows: Mapping[str, int]) -> set[str]:
    """The waiting keys with the fewest rows: the next free row goes to one of them."""
    fewest = min((rows.get(key, 0) for key in waiting), default=0)
    return {key for key in waiting if rows.get(key, 0) == fewest}


def key_to_preempt(rows: Mapping[str, int], waiting: Collection[str]) -> str | None:
    """The key that must give up a row when all rows are busy; None if the shares are fair."""
    largest = max(rows, key=rows.__getitem__, default=None)
    if largest is None or not waiting:
        return None
    return largest if rows[largest] > min(rows.get(key, 0) for key in waiting) + 1 else None
