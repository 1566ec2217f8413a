"""Whose paper runs out first, and what the engine does next. Pure; the time is an argument.

A line's deadline is the moment at which its wheel would stand still: what its reader has taken, at the pace at which
it is printed. Few large passes are cheaper than many small ones, so nothing is made until a paper is near its end,
and then for all that have room. Knows no tokens and no caches, only how many tokens are unread, and of slots only that
those of one pass lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import Literal

from model.generate.prefix_cache import PREFILL_CHUNK
from model.server.engine.cost_model import LinearCost

FIRST_TOKEN_S = 0.5  # from RETURN to the first character: a person who has just looked up
LOW_BUFFER_S = 12.0  # of paper: below it a line wants a token, and waits until many do, so that steps are large
COMFORTABLE_BUFFER_S = 1.0  # of paper: while all have more, what is just being typed is read before more is made
URGENT_BUFFER_S = 0.8  # of paper: below it a line gets a token even if it is the only one
LOW_ONE_IN = 4  # one in so many is low: then all that have room go together
MIN_SPLIT_GAIN = (
    3  # times what a step takes in any case: in fewer rows than make up for that, nobody is served by haste
)
MAX_BUFFER_S = 20.0  # of paper: above it a line gets none; bridges a machine's slow spells; what a BREAK throws away
ALLOWED_STALL_S = 0.1  # a wheel may stand still where there is too much to do: half of what anybody hears
OVERLOAD_STEP_S = 0.4  # of paper: where a step takes longer all fall behind, and all together fall behind least
UNPACED_INTERVAL_S = 2.0  # a reader without a wheel has a token at least so often
MAX_PREFILL_WAIT_S = 5.0  # a prompt that has waited longer takes turns with the steps, whoever runs dry
MAX_UNDELIVERED_CHARS = 256  # characters for a reader without a wheel
OVERHEAD_S = 0.02  # for all that is not the engine: draws, copies, the network's own moods

SchedulingPolicy = Literal["paper", "arrival"]


class PlayoutBuffer:
    """The paper of one line: what was made for it, what was taken, and until when that lasts."""

    __slots__ = ("arrived_at", "chars_per_second", "last_token_at", "runs_out_at", "undelivered_chars")

    def __init__(self, chars_per_second: float, arrived_at: float) -> None:
        self.chars_per_second = chars_per_second
        self.arrived_at = arrived_at
        self.runs_out_at: float | None = None  # when the wheel stands still if nothing more is taken
        self.undelivered_chars = 0  # characters made and not yet taken
        self.last_token_at: float | None = None  # the last token

    def add_generated(self, now: float, characters: int) -> None:
        self.last_token_at = now
        self.undelivered_chars += characters

    def mark_delivered(self, at: float, characters: int) -> float:
        """The reader has these now; for how many seconds the wheel had stood still."""
        self.undelivered_chars -= characters
        dry = max(0.0, at - self.runs_out_at) if self.runs_out_at is not None else 0.0
        if self.chars_per_second:
            self.runs_out_at = max(at, self.runs_out_at or at) + characters / self.chars_per_second
        return dry

    @property
    def has_started(self) -> bool:
        return self.last_token_at is not None

    def next_deadline(self, now: float) -> float:
        """When the next token must be there; what lies ready counts as taken now."""
        if not self.chars_per_second:
            return (self.arrived_at if self.last_token_at is None else self.last_token_at) + UNPACED_INTERVAL_S
        if self.runs_out_at is None:
            return (
                now + self.undelivered_chars / self.chars_per_second
                if self.undelivered_chars
                else self.arrived_at + FIRST_TOKEN_S
            )
        return (
            max(self.runs_out_at, now) + self.undelivered_chars / self.chars_per_second
            if self.undelivered_chars
            else self.runs_out_at
        )

    def has_room(self, now: float) -> bool:
        """Whether a token may be made: the reader is not too far ahead, and takes what it gets."""
        return (
            self.next_deadline(now) < now + MAX_BUFFER_S
            if self.chars_per_second
            else self.undelivered_chars < MAX_UNDELIVERED_CHARS
        )

    def low_at(self, now: float) -> float:
        """When it falls under the low mark if nothing is taken; what is not taken does not grow less."""
        if not self.chars_per_second or self.undelivered_chars / self.chars_per_second >= LOW_BUFFER_S:
            return inf
        return self.next_deadline(now) - LOW_BUFFER_S


@dataclass(slots=True, eq=False)
class ScheduledSequence:
    """One answer being made: the slot of its cache, and how many tokens the engine has to read for the next."""

    buffer: PlayoutBuffer
    pending_tokens: int
    slot: int = -1


@dataclass(slots=True)
class PassCosts:
    """What the engine takes, in seconds: a step of so many rows, a piece of so many tokens. A guess at first."""

    step: LinearCost
    prefill: LinearCost

    @classmethod
    def initial_guess(cls) -> PassCosts:
        """GPT-2 of 124M in 8 bits on two cores; the first measurements say how far off that is."""
        return cls(LinearCost(0.008, 0.0016), LinearCost(0.01, 0.0011))


@dataclass(frozen=True, slots=True)
class Prefill:
    """The next tokens of one line's prompt, so many."""

    sequence: ScheduledSequence
    token_count: int


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """A token for each of these lines, in the order of their slots. `early`: no paper is near its end."""

    sequences: Sequence[ScheduledSequence]
    is_early: bool = False


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing, until then or until something happens."""

    until: float


DueSequence = tuple[float, ScheduledSequence]
BY_DEADLINE = itemgetter(0)


def schedule(
    now: float,
    sequences: Iterable[ScheduledSequence],
    costs: PassCosts,
    policy: SchedulingPolicy = "paper",
    may_prefill: bool = True,
) -> Prefill | DecodeStep | Idle:
    """What the engine does next. `turn`: the last pass was not a piece of a prompt, so it may be one's turn."""
    sequences = list(sequences)
    if policy == "arrival":
        return _schedule_by_arrival(now, sequences, costs)
    wheels: list[DueSequence] = []  # that may have a token
    others: list[DueSequence] = []  # the same, with no wheel behind them
    unread: list[DueSequence] = []
    for line in sequences:
        if line.pending_tokens > 1:
            unread.append((line.buffer.next_deadline(now), line))
        elif line.buffer.has_room(now):
            (wheels if line.buffer.chars_per_second else others).append((line.buffer.next_deadline(now), line))
    first = min(wheels, key=BY_DEADLINE)[0] if wheels else inf
    if unread and (read := _schedule_prefill(now, min(unread, key=BY_DEADLINE), wheels, first, costs, may_prefill)):
        return read
    rows = _select_low(now, wheels, first, costs)
    if unread and not rows:
        rows = wheels  # a piece takes so long that no paper can bear it: there is nothing to wait for
    if rows:
        early = first - COMFORTABLE_BUFFER_S > now
        return DecodeStep(
            _select_contiguous(_select_rows(now, rows, others, first, costs), wheels + others, costs), early
        )
    if others:
        return DecodeStep(_select_contiguous(others, others, costs))
    return Idle(_next_wakeup(now, sequences, len(wheels), costs))


def prefill_chunk_size(pending_tokens: int) -> int:
    """How many to read in one pass; never all but one, since one alone comes out a little otherwise."""
    return min(PREFILL_CHUNK - (pending_tokens == PREFILL_CHUNK + 1), pending_tokens)


def _select_low(now: float, paced: list[DueSequence], first_deadline: float, costs: PassCosts) -> list[DueSequence]:
    """Nobody until many are low, and then all that have room; or those few of whom one can wait no longer."""
    low = [one for one in paced if one[0] - LOW_BUFFER_S <= now]
    if len(low) * LOW_ONE_IN >= len(paced):
        return paced if low else []
    return low if first_deadline - URGENT_BUFFER_S <= now else []


def _next_wakeup(now: float, sequences: list[ScheduledSequence], paced_count: int, costs: PassCosts) -> float:
    """When somebody will be wanting, if nothing happens before."""
    low = sorted(line.buffer.low_at(now) for line in sequences)
    if not low:
        return inf
    many = low[max(0, -(-paced_count // LOW_ONE_IN) - 1)]
    pressing = (
        low[0] + LOW_BUFFER_S - URGENT_BUFFER_S + 1e-6
    )  # sums are not exact: a moment later than that it surely is
    return min(many if many > now else inf, max(pressing, now + 1e-6))


def _schedule_by_arrival(
    now: float, sequences: list[ScheduledSequence], costs: PassCosts
) -> Prefill | DecodeStep | Idle:
    """Prompts as they came, then a token for all that take them: what a server does that knows no paper."""
    unread = [(line.buffer.arrived_at, line) for line in sequences if line.pending_tokens > 1]
    if unread:
        line = min(unread, key=BY_DEADLINE)[1]
        return Prefill(line, prefill_chunk_size(line.pending_tokens))
    ready = [
        (line.buffer.last_token_at or 0.0, line)
        for line in sequences
        if line.buffer.undelivered_chars < MAX_UNDELIVERED_CHARS
    ]
    return DecodeStep(_select_contiguous(ready, ready, costs)) if ready else Idle(inf)


def _schedule_prefill(
    now: float,
    next_prefill: DueSequence,
    paced: list[DueSequence],
    first_deadline: float,
    costs: PassCosts,
    may_prefill: bool,
) -> Prefill | None:
    """The piece, if every paper can bear it before the next step, or if it can wait no longer."""
    due, line = next_prefill
    count = prefill_chunk_size(line.pending_tokens)
    ready = now + costs.prefill.seconds_for(count) + OVERHEAD_S
    latest = first_deadline + (ALLOWED_STALL_S / 2 if due < now else 0.0)
    bearable = not paced or latest > ready + costs.step.seconds_for(len(_select_urgent(ready, paced, costs)))
    # A text that was rolled has a wheel of its own; a prompt has a person, who has waited before.
    pressing = due < first_deadline if line.buffer.has_started else may_prefill and due + MAX_PREFILL_WAIT_S < now
    return Prefill(line, count) if bearable or pressing else None


def _select_urgent(now: float, paced: list[DueSequence], costs: PassCosts) -> list[DueSequence]:
    """Those that would stand still while all go together, if they are few; all, where many are close behind them.

    One small step after the other, each for those who can wait no longer, would take a machine that has much to do
    twice as long.
    """
    whole = costs.step.seconds_for(len(paced))
    soon = sum(one[0] < now + 2 * whole for one in paced)
    if MIN_SPLIT_GAIN * costs.step.seconds_for(soon) < whole:
        return [one for one in paced if one[0] < now + whole]
    return paced


def _select_rows(
    now: float, paced: list[DueSequence], unpaced: list[DueSequence], first_deadline: float, costs: PassCosts
) -> list[DueSequence]:
    """All that have room; but those that would stand still meanwhile before them, as many as the first can bear."""
    step, left_s = costs.step, first_deadline - now - OVERHEAD_S
    whole = step.seconds_for(len(paced))
    if left_s > step.seconds_for(len(paced) + len(unpaced)):
        return paced + unpaced
    if left_s < whole and len(rows := _select_urgent(now + OVERHEAD_S, paced, costs)) < len(paced):
        return rows or paced
    starving = [one for one in unpaced if one[0] < now]
    if -ALLOWED_STALL_S < left_s < whole - ALLOWED_STALL_S and whole < OVERLOAD_STEP_S:
        return (
            _select_block(paced, max(step.max_items_in(ALLOWED_STALL_S), MIN_SPLIT_GAIN * step.items_per_pass_overhead))
            + starving
        )
    return paced + starving


def _select_block(paced: list[DueSequence], size: float) -> list[DueSequence]:
    """Those in the same block of so many slots as the one that is due first: each time the same ones, so it is fair."""
    first = min(paced, key=BY_DEADLINE)
    return [one for one in paced if _slot_of(one) // size == _slot_of(first) // size]


def _select_contiguous(
    rows: list[DueSequence], candidates: list[DueSequence], costs: PassCosts
) -> list[ScheduledSequence]:
    """Of rows with gaps between them the run of the one that is due first; a small gap costs less than a pass.

    Whoever has room in the gaps goes along, since it costs the same.
    """
    rows = sorted(rows, key=_slot_of)
    bridge = costs.step.items_per_pass_overhead
    runs: list[list[DueSequence]] = []
    for row in rows:
        if runs and _slot_of(row) - _slot_of(runs[-1][-1]) - 1 <= bridge:
            runs[-1].append(row)
        else:
            runs.append([row])
    run = min(runs, key=lambda run: min(run, key=BY_DEADLINE)[0])
    first, last = _slot_of(run[0]), _slot_of(run[-1])
    return [line for _, line in sorted((one for one in candidates if first <= _slot_of(one) <= last), key=_slot_of)]


def _slot_of(one: DueSequence) -> int:
    return one[1].slot
