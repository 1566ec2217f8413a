from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from model.server.engine.scheduler import PlayoutBuffer, ScheduledSequence
from model.server.engine.slot_allocator import HELD_PER_STRAY, MIN_COPY_TOKENS, MOVES_AT_ONCE, CacheCopy, SlotAllocator

TEXT = list(range(100, 140))


def make_sequence() -> ScheduledSequence:
    return ScheduledSequence(PlayoutBuffer(10.0, 0.0), 1)


def acquire_and_fill(allocator: SlotAllocator, ids: list[int], conversation: str = "") -> ScheduledSequence:
    """A sequence that has acquired a slot and computed all these tokens."""
    sequence = make_sequence()
    allocator.acquire(sequence, ids, conversation)
    cached = allocator.token_ids(sequence.slot)
    cached += ids[len(cached) :]
    return sequence


def test_the_next_turn_of_a_conversation_gets_its_own_cache() -> None:
    allocator = SlotAllocator(3)
    first, other = acquire_and_fill(allocator, TEXT, "a"), acquire_and_fill(allocator, TEXT[:20], "b")
    slot = first.slot
    allocator.release(other)
    allocator.release(first)
    again = make_sequence()
    assert allocator.acquire(again, [*TEXT, 1, 2], "a") == []
    assert (again.slot, allocator.token_ids(slot)) == (slot, TEXT)
    assert allocator.idle_count == 1


def test_a_shared_prefix_is_copied_even_from_an_active_answer() -> None:
    allocator = SlotAllocator(2)
    first, second = acquire_and_fill(allocator, [*TEXT, 1], "a"), make_sequence()
    assert allocator.acquire(second, [*TEXT, 2], "b") == [CacheCopy(first.slot, second.slot, len(TEXT))]
    assert allocator.token_ids(second.slot) == TEXT
    assert allocator.token_ids(first.slot) == [*TEXT, 1]


def test_a_short_shared_prefix_is_not_copied() -> None:
    allocator = SlotAllocator(2)
    acquire_and_fill(allocator, TEXT)
    second = make_sequence()
    assert allocator.acquire(second, [*TEXT[: MIN_COPY_TOKENS - 1], 7, 7], "") == []
    assert allocator.token_ids(second.slot) == []


def test_the_least_recently_used_cache_goes_first() -> None:
    allocator = SlotAllocator(3)
    sequences = [acquire_and_fill(allocator, [n * 100 + at for at in range(30)], str(n)) for n in range(3)]
    slots = [sequence.slot for sequence in sequences]
    for n in (1, 0, 2):
        allocator.release(sequences[n])
    assert acquire_and_fill(allocator, TEXT, "new").slot == slots[1]
    assert acquire_and_fill(allocator, TEXT[5:], "newer").slot == slots[0]


def test_a_released_cache_that_is_not_kept_is_empty() -> None:
    allocator = SlotAllocator(1)
    failed = acquire_and_fill(allocator, TEXT)
    allocator.release(failed, keep_cache=False)
    assert allocator.idle_count == 0
    assert allocator.find_for_prefill(TEXT, "") == (0, [])
    assert allocator.token_ids(0) == []


def test_no_slot_is_found_for_prefill_if_all_are_held() -> None:
    allocator = SlotAllocator(1)
    acquire_and_fill(allocator, TEXT)
    assert allocator.find_for_prefill(TEXT, "a") is None


def test_compact_moves_sequences_together_and_idle_caches_away() -> None:
    allocator = SlotAllocator(4)
    sequences = [acquire_and_fill(allocator, [n * 100 + at for at in range(30)], str(n)) for n in range(3)]
    allocator.release(sequences[0])
    assert allocator.compact() == [CacheCopy(0, 3, 30), CacheCopy(2, 0, 30)]
    assert sorted(sequence.slot for sequence in sequences[1:]) == [0, 1]
    assert allocator.idle_count == 1
    back = make_sequence()
    assert allocator.acquire(back, list(range(30)), "0") == []
    assert back.slot == 3
    assert allocator.compact() == [CacheCopy(3, 2, 30)]


def test_compact_tolerates_a_few_strays_and_moves_a_few_at_once() -> None:
    allocator = SlotAllocator(170)
    sequences = [acquire_and_fill(allocator, [n * 100 + at for at in range(30)], str(n)) for n in range(140)]
    for sequence in sequences[:2]:
        allocator.release(sequence)
    assert allocator.compact() == []
    for sequence in sequences[2:20]:
        allocator.release(sequence)
    moved = allocator.compact()
    assert sum(copy.source >= 120 and copy.target < 120 for copy in moved) == MOVES_AT_ONCE
    while allocator.compact():
        pass
    assert sum(sequence.slot >= 120 for sequence in sequences[20:]) * HELD_PER_STRAY <= 120


@settings(max_examples=200)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_every_slot_holds_the_tokens_that_the_allocator_says(count: int, seed: int) -> None:
    rng = random.Random(seed)
    allocator, memory = SlotAllocator(count), [[0] * 60 for _ in range(count)]
    sequences: list[ScheduledSequence] = []

    def run_copies(copies: list[CacheCopy]) -> None:
        for copy in copies:
            assert copy.source != copy.target
            memory[copy.target][: copy.length] = memory[copy.source][: copy.length]

    def random_text() -> list[int]:
        return [*range(1, rng.randrange(2, 40)), *(rng.randrange(3) for _ in range(rng.randrange(1, 20)))]

    for _ in range(30):
        action = rng.randrange(4)
        if action == 0 and len(sequences) < count:
            ids, sequence = random_text(), make_sequence()
            run_copies(allocator.acquire(sequence, ids, rng.choice("abc")))
            assert ids[: len(allocator.token_ids(sequence.slot))] == allocator.token_ids(sequence.slot)
            sequences.append(sequence)
        elif action == 1 and sequences:
            allocator.release(sequences.pop(rng.randrange(len(sequences))), rng.random() < 0.8)
        elif action == 2 and sequences:
            sequence = rng.choice(sequences)
            cached = allocator.token_ids(sequence.slot)
            new = [rng.randrange(9) for _ in range(min(rng.randrange(1, 5), 60 - len(cached)))]
            memory[sequence.slot][len(cached) : len(cached) + len(new)] = new
            cached += new
        else:
            run_copies(allocator.compact())
            assert sorted(sequence.slot for sequence in sequences) == list(range(len(sequences)))
        assert len({sequence.slot for sequence in sequences}) == len(sequences)
        assert all(memory[at][: len(allocator.token_ids(at))] == allocator.token_ids(at) for at in range(count))


def test_a_held_slot_gets_what_another_answer_prefilled_meanwhile() -> None:
    allocator = SlotAllocator(4)
    first, second = make_sequence(), make_sequence()
    for sequence in (first, second):
        assert allocator.acquire(sequence, TEXT, "") == []
    assert allocator.find_longer_prefix(second.slot, TEXT, 0) == []
    cached = allocator.token_ids(first.slot)
    cached += [*TEXT[:30], 7]
    assert allocator.find_longer_prefix(second.slot, TEXT, 0) == [CacheCopy(first.slot, second.slot, 30)]
    assert allocator.token_ids(second.slot) == TEXT[:30]
    assert allocator.find_longer_prefix(second.slot, TEXT, 30) == []
    assert allocator.find_longer_prefix(first.slot, TEXT[:5], 0) == []
