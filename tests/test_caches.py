from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from model.server.engine.scheduler import PlayoutBuffer, ScheduledSequence
from model.server.engine.slot_allocator import HELD_PER_STRAY, MIN_COPY_TOKENS, MOVES_AT_ONCE, CacheCopy, SlotAllocator

LONG = list(range(100, 140))


def make_sequence() -> ScheduledSequence:
    return ScheduledSequence(PlayoutBuffer(10.0, 0.0), 1)


def acquire_and_fill(caches: SlotAllocator, ids: list[int], conversation: str = "") -> ScheduledSequence:
    """A line that took a slot, and read all of that."""
    taken = make_sequence()
    caches.acquire(taken, ids, conversation)
    known = caches.token_ids(taken.slot)
    known += ids[len(known) :]
    return taken


def test_the_next_turn_of_a_conversation_finds_its_own_cache() -> None:
    caches = SlotAllocator(3)
    first, other = acquire_and_fill(caches, LONG, "a"), acquire_and_fill(caches, LONG[:20], "b")
    at = first.slot
    caches.release(other)
    caches.release(first)
    again = make_sequence()
    assert caches.acquire(again, [*LONG, 1, 2], "a") == []
    assert (again.slot, caches.token_ids(at)) == (at, LONG)
    assert caches.idle_count == 1


def test_what_another_has_begun_with_is_copied_from_it_even_while_it_is_made() -> None:
    caches = SlotAllocator(2)
    first, second = acquire_and_fill(caches, [*LONG, 1], "a"), make_sequence()
    assert caches.acquire(second, [*LONG, 2], "b") == [CacheCopy(first.slot, second.slot, len(LONG))]
    assert caches.token_ids(second.slot) == LONG
    assert caches.token_ids(first.slot) == [*LONG, 1]


def test_a_few_tokens_are_not_worth_a_copy() -> None:
    caches = SlotAllocator(2)
    acquire_and_fill(caches, LONG)
    second = make_sequence()
    assert caches.acquire(second, [*LONG[: MIN_COPY_TOKENS - 1], 7, 7], "") == []
    assert caches.token_ids(second.slot) == []


def test_what_has_rested_longest_goes_first() -> None:
    caches = SlotAllocator(3)
    lines = [acquire_and_fill(caches, [n * 100 + at for at in range(30)], str(n)) for n in range(3)]
    places = [one.slot for one in lines]
    for n in (1, 0, 2):
        caches.release(lines[n])
    assert acquire_and_fill(caches, LONG, "new").slot == places[1]
    assert acquire_and_fill(caches, LONG[5:], "newer").slot == places[0]


def test_a_cache_that_is_not_to_be_kept_is_empty() -> None:
    caches = SlotAllocator(1)
    bad = acquire_and_fill(caches, LONG)
    caches.release(bad, keep_cache=False)
    assert caches.idle_count == 0
    assert caches.find_for_prefill(LONG, "") == (0, [])
    assert caches.token_ids(0) == []


def test_nothing_is_read_ahead_where_every_slot_is_held() -> None:
    caches = SlotAllocator(1)
    acquire_and_fill(caches, LONG)
    assert caches.find_for_prefill(LONG, "a") is None


def test_lines_are_brought_together_and_a_cache_at_rest_moves_out_of_their_way() -> None:
    caches = SlotAllocator(4)
    lines = [acquire_and_fill(caches, [n * 100 + at for at in range(30)], str(n)) for n in range(3)]
    caches.release(lines[0])
    assert caches.compact() == [CacheCopy(0, 3, 30), CacheCopy(2, 0, 30)]
    assert sorted(one.slot for one in lines[1:]) == [0, 1]
    assert caches.idle_count == 1
    back = make_sequence()
    assert caches.acquire(back, list(range(30)), "0") == []
    assert back.slot == 3
    assert caches.compact() == [CacheCopy(3, 2, 30)]


def test_among_many_a_few_may_lie_apart_and_no_more_than_a_few_are_moved_at_once() -> None:
    caches = SlotAllocator(170)
    lines = [acquire_and_fill(caches, [n * 100 + at for at in range(30)], str(n)) for n in range(140)]
    for one in lines[:2]:
        caches.release(one)
    assert caches.compact() == []
    for one in lines[2:20]:
        caches.release(one)
    moved = caches.compact()
    assert sum(copy.source >= 120 and copy.target < 120 for copy in moved) == MOVES_AT_ONCE
    while caches.compact():
        pass
    assert sum(one.slot >= 120 for one in lines[20:]) * HELD_PER_STRAY <= 120


@settings(max_examples=200)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_whatever_comes_and_goes_every_slot_has_what_it_is_said_to_have(count: int, seed: int) -> None:
    draw = random.Random(seed)
    caches, real = SlotAllocator(count), [[0] * 60 for _ in range(count)]
    lines: list[ScheduledSequence] = []

    def follow(copies: list[CacheCopy]) -> None:
        for copy in copies:
            assert copy.source != copy.target
            real[copy.target][: copy.length] = real[copy.source][: copy.length]

    def text() -> list[int]:
        return [*range(1, draw.randrange(2, 40)), *(draw.randrange(3) for _ in range(draw.randrange(1, 20)))]

    for _ in range(30):
        deed = draw.randrange(4)
        if deed == 0 and len(lines) < count:
            ids, new = text(), make_sequence()
            follow(caches.acquire(new, ids, draw.choice("abc")))
            assert ids[: len(caches.token_ids(new.slot))] == caches.token_ids(new.slot)
            lines.append(new)
        elif deed == 1 and lines:
            caches.release(lines.pop(draw.randrange(len(lines))), draw.random() < 0.8)
        elif deed == 2 and lines:
            one = draw.choice(lines)
            known = caches.token_ids(one.slot)
            more = [draw.randrange(9) for _ in range(min(draw.randrange(1, 5), 60 - len(known)))]
            real[one.slot][len(known) : len(known) + len(more)] = more
            known += more
        else:
            follow(caches.compact())
            assert sorted(one.slot for one in lines) == list(range(len(lines)))
        assert len({one.slot for one in lines}) == len(lines)
        assert all(real[at][: len(caches.token_ids(at))] == caches.token_ids(at) for at in range(count))
