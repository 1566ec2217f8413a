from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import Any

import pytest
from fakes_slots import Bytes, FakeSlots, alone, ask, engine, logits_after, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from model.base import Ask, Piece
from model.mask import Mask
from model.serving.deadlines import AHEAD_S, EASY_S, LOW_S, UNTAKEN, Order
from model.serving.distributor import Distributor, Heard, Load
from model.serving.engine import Speller
from model.serving.turn import Turn


@cache
def speller(context: int) -> Speller:
    """Its mask is half a second's work."""
    return Speller(engine(FakeSlots(1, context)), {"vowels": set("aeiou \n’").__contains__})


class Hall:
    """A distributor on a clock of its own, with readers who take what they get at once, or do not."""

    def __init__(self, count: int = 4, context: int = 60, rows: int = 4, order: Order = "paper") -> None:
        self.now = 100.0
        self.slots = FakeSlots(count, context, self._takes)
        self.distributor = Distributor(self.slots, rows=rows, clock=lambda: self.now, order=order)
        self.speller = speller(context)
        self.got: dict[Turn, list[Load]] = {}
        self.stopped: set[Turn] = set()  # readers who take nothing

    def _takes(self, rows: int, tokens: int) -> None:
        self.now += 0.008 + 0.0016 * rows if rows > 1 else 0.01 + 0.0011 * tokens

    def enter(self, asked: Ask) -> Turn:
        turn = self.speller.turn(asked, self.now)
        self.got[turn] = []
        self.distributor.enter(turn)
        return turn

    def hand_over(self) -> None:
        made, self.distributor.made = self.distributor.made, []
        for turn, load in made:
            self.got[turn].append(load)
            if isinstance(load, Piece) and turn not in self.stopped:
                self.distributor.took(turn, self.now, len(load.text))

    def work(self, passes: int = 1) -> float:
        until = self.now
        for _ in range(passes):
            until = self.distributor.work()
            self.hand_over()
            if until > self.now and until < float("inf"):
                self.now = until
        return until

    def run(self) -> None:
        for _ in range(20_000):
            if self.work() == float("inf"):
                return
        raise AssertionError("it never comes to rest")

    def pieces(self, turn: Turn) -> list[Piece]:
        return [load for load in self.got[turn] if isinstance(load, Piece)]

    def mask(self, asked: Ask) -> Mask | None:
        return self.speller._masks[asked.alphabet]


PROMPTS = st.builds(
    lambda start, size, tail: (
        ("The operator sat down at the machine.\nHe typed a line. " * 4)[start : start + size] + tail
    ),
    st.integers(0, 3),
    st.integers(0, 130),
    st.sampled_from(["", "x", "yz", "\nA: "]),
)
ASKS = st.builds(
    lambda prompt, tokens, seed, pace, conversation, alphabet, length, logprobs: Ask(
        prompt,
        replace(ask(tokens=tokens, seed=seed).sampling, length=length, logprobs=logprobs, stop=("q", "th ")),
        pace=pace,
        conversation=conversation,
        alphabet=alphabet,
    ),
    PROMPTS,
    st.integers(1, 80),
    st.integers(0, 9),
    st.sampled_from([0.0, 10.0, 10.0, 30.0]),
    st.sampled_from(["", "a", "b", "c"]),
    st.sampled_from(["", "vowels"]),
    st.sampled_from([None, None, 5]),
    st.booleans(),
)
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), ASKS),
        st.tuples(st.just("work"), st.integers(1, 12)),
        st.tuples(st.just("cut"), st.integers(0, 20)),
        st.tuples(st.just("stop"), st.integers(0, 20)),
        st.tuples(st.just("hear"), st.tuples(PROMPTS, st.sampled_from(["", "a", "b"]))),
    ),
    max_size=25,
)


def fitted(asked: Ask, context: int) -> Ask:
    return replace(asked, prompt=asked.prompt[-(context - 17) :])


@settings(max_examples=150)
@given(
    DEEDS, st.sampled_from([(2, 2), (3, 2), (6, 4)]), st.sampled_from([40, 150]), st.sampled_from(["paper", "arrival"])
)
def test_an_answer_is_the_same_whoever_shares_the_engine(
    deeds: list[tuple[str, Any]], size: tuple[int, int], context: int, order: Order
) -> None:
    hall = Hall(size[0], context, size[1], order)
    turns: list[tuple[Turn, Ask]] = []
    cut: set[Turn] = set()
    for deed, what in deeds:
        if deed == "enter":
            asked = fitted(what, context)
            turns.append((hall.enter(asked), asked))
        elif deed == "work":
            hall.work(what)
        elif deed == "hear":
            ids = hall.speller.ids(what[0][: context - 20])
            hall.distributor.hear(Heard(ids, what[1], lambda read: None))
        elif turns:
            turn = turns[what % len(turns)][0]
            (hall.stopped if deed == "stop" else cut).add(turn)
            if deed == "cut":
                hall.distributor.cut(turn)
    hall.run()
    for turn, asked in turns:
        expected = list(alone(asked, context, hall.mask(asked)))
        if turn not in cut | hall.stopped:
            assert whole(hall.pieces(turn)) == whole(expected)
            assert hall.got[turn][-1] is None
        else:
            text, tokens, *_ = whole(hall.pieces(turn))
            assert whole(expected)[0].startswith(text)
            assert whole(expected)[1][: len(tokens)] == tokens
    counters = hall.distributor.counters()
    assert counters.failed == counters.waiting * bool(not hall.stopped) == 0
    assert counters.active <= len(hall.stopped)


@given(ASKS, st.integers(0, 60), st.booleans())
def test_it_goes_on_behind_what_was_said(asked: Ask, place: int, shared: bool) -> None:
    asked = fitted(asked, 60)
    hall = Hall()
    pieces = list(alone(asked, 60, hall.mask(asked)))
    steps = list(accumulate((len(piece.tokens) for piece in pieces), initial=0))
    place = min(place, steps[-1])
    said = whole(pieces)[1][:place]
    if shared:
        hall.enter(ask("Somebody else"))
    turn = hall.enter(replace(asked, said=said))
    hall.run()
    rest = [piece for piece, end in zip(pieces, steps[1:], strict=True) if end > place]
    told = whole(hall.pieces(turn))
    assert told[1] == whole(rest)[1]
    assert told[0] == whole(rest)[0]
    assert told[3] == pieces[-1].finish


def test_a_reader_who_is_gone_is_in_no_pass_from_there_on_and_leaves_the_cache_for_the_next_turn() -> None:
    hall = Hall()
    gone, stays = hall.enter(ask("Gone", conversation="a")), hall.enter(ask("Stays", conversation="b"))
    hall.work(10)
    assert gone.said > 2
    hall.distributor.cut(gone)
    before, read = len(hall.slots.passes), hall.distributor.counters().read
    hall.run()
    start = tuple(hall.speller.ids("Gone"))
    assert not [ids for used in hall.slots.passes[before:] for ids in used if ids[: len(start)] == start]
    assert whole(hall.pieces(stays)) == whole(list(alone(ask("Stays"), 60)))
    heard = whole(hall.pieces(gone))[0]
    again = hall.enter(ask("Gone" + heard, conversation="a", tokens=5))
    hall.run()
    assert hall.distributor.counters().read - read <= 2, "the next turn read what was known"
    assert whole(hall.pieces(again)) == whole(list(alone(ask("Gone" + heard, tokens=5), 60)))
    assert hall.distributor.counters().cut == 1


@pytest.mark.parametrize(("pace", "most"), [(10.0, 10 * AHEAD_S), (0.0, UNTAKEN)])
def test_a_reader_who_stops_reading_stops_costing_and_holds_up_nobody(pace: float, most: float) -> None:
    hall = Hall(context=400)
    stopped, reads = hall.enter(ask("Stops", pace=pace, tokens=2000)), hall.enter(ask("Reads", tokens=300))
    hall.stopped.add(stopped)
    hall.run()
    assert len(whole(hall.pieces(stopped))[0]) in range(int(most), int(most) + 3)
    assert hall.got[reads][-1] is None
    assert hall.distributor.counters().active == 1
    hall.stopped.clear()
    made = sum(len(piece.text) for piece in hall.pieces(stopped))
    hall.distributor.took(stopped, hall.now, made)
    hall.run()
    assert hall.got[stopped][-1] is None


def test_a_row_whose_reader_has_stopped_goes_to_one_who_waits_and_comes_back() -> None:
    hall = Hall(rows=1, context=400)
    stopped = hall.enter(ask("Stops", tokens=300))
    hall.stopped.add(stopped)
    hall.work(40)
    waits = hall.enter(ask("Waits"))
    hall.run()
    assert hall.got[waits][-1] is None
    assert hall.got[stopped][-1] is not None
    hall.stopped.clear()
    hall.distributor.took(stopped, hall.now, len(whole(hall.pieces(stopped))[0]))
    hall.run()
    assert whole(hall.pieces(stopped)) == whole(list(alone(ask("Stops", tokens=300), 400)))


def test_nothing_is_made_for_a_paper_that_has_enough() -> None:
    hall = Hall()
    turn = hall.enter(ask("Slow", tokens=400, pace=10.0))
    begun, most = None, 0.0
    while hall.got[turn][-1:] != [None]:
        before = turn.said
        hall.work()
        if turn.said > before and begun is None:
            begun = hall.now
        if begun is not None and turn.said:
            most = max(most, len(whole(hall.pieces(turn))[0]) / 10 - (hall.now - begun))
    assert LOW_S - 1 < most <= AHEAD_S + 0.2
    assert hall.distributor.counters().dry == 0


def test_an_error_in_one_answer_ends_that_one_alone() -> None:
    hall = Hall()
    bad, good = hall.enter(ask("Bad")), hall.enter(ask("Good"))
    hall.work(4)
    # It fails where it is next asked for anything.
    bad._answer = None  # type: ignore[assignment]
    hall.run()
    assert isinstance(hall.got[bad][-1], AttributeError)
    assert whole(hall.pieces(good)) == whole(list(alone(ask("Good"), 60)))
    assert hall.distributor.counters().failed == 1


def test_an_engine_that_fails_ends_all_and_whoever_asks_next_is_told_the_same() -> None:
    hall = Hall(rows=1)
    turns = [hall.enter(ask(text)) for text in ("one", "two")]
    told: list[int] = []
    hall.distributor.hear(Heard([256, 1], "x", told.append))
    hall.slots.fails = 5
    hall.run()
    turns.append(hall.enter(ask("three")))
    hall.hand_over()
    assert all(isinstance(hall.got[turn][-1], MemoryError) for turn in turns)
    assert told == [0]
    assert len({id(hall.got[turn][-1]) for turn in turns}) == 1


def test_what_is_being_typed_is_read_when_there_is_nothing_better_to_do() -> None:
    hall = Hall(context=300)
    prompt = "A long prompt, " * 15
    told: list[int] = []
    hall.distributor.hear(Heard(hall.speller.ids(prompt[:200]), "a", told.append))
    turn = hall.enter(ask("Hello", tokens=3))
    hall.work(3)
    assert hall.got[turn][-1] is None
    assert told == []
    assert hall.distributor.counters().read == 6
    hall.run()
    assert told == [201]
    before = hall.distributor.counters().read
    hall.enter(ask(prompt, conversation="a", tokens=1))
    hall.run()
    assert hall.distributor.counters().read - before == len(prompt) - 200


def test_what_is_being_typed_is_read_before_more_is_made_of_what_nobody_waits_for() -> None:
    hall = Hall(context=300)
    turn = hall.enter(ask("Hello", tokens=200, pace=10.0))
    while turn.line.paper.due(hall.now) < hall.now + EASY_S + 1:
        hall.work()
    made = hall.distributor.counters().tokens
    told: list[int] = []
    hall.distributor.hear(Heard(hall.speller.ids("A prompt, " * 10), "a", told.append))
    hall.work()
    assert hall.distributor.counters().tokens == made
    hall.work(2)
    assert told == [101]
    assert hall.distributor.counters().tokens > made


def test_a_newer_prompt_of_a_conversation_takes_the_place_of_the_older_and_its_answer_of_both() -> None:
    hall = Hall()
    told: list[str] = []
    hall.distributor.hear(Heard([256, 1, 2], "a", lambda read: told.append(f"old {read}")))
    hall.distributor.hear(Heard([256, 1, 2, 3], "a", lambda read: told.append(f"new {read}")))
    hall.distributor.hear(Heard([256, 1, 2, 3], "b", lambda read: told.append(f"other {read}")))
    assert told == ["old 0"]
    hall.enter(ask("x", conversation="a"))
    assert told == ["old 0", "new 0"]


def test_streams_that_leave_make_room_for_those_who_wait_and_lie_side_by_side() -> None:
    hall = Hall(count=6, rows=3, context=200)
    turns = [hall.enter(ask(f"{n} asks", tokens=20 + 30 * n)) for n in range(5)]
    hall.work(3)
    assert (hall.distributor.counters().active, hall.distributor.counters().waiting) == (3, 2)
    hall.run()
    assert all(hall.got[turn][-1] is None for turn in turns)
    counters = hall.distributor.counters()
    assert counters.along <= counters.steps // 10
    assert counters.caches == 5


def test_answers_are_made_in_few_large_steps() -> None:
    hall = Hall(count=8, rows=8, context=400)
    for n in range(8):
        hall.enter(ask(f"{n} asks", tokens=100))
    hall.run()
    counters = hall.distributor.counters()
    assert counters.tokens == 800
    assert counters.stepped / counters.steps > 5
    assert counters.dry == 0


def test_first_come_order_serves_whoever_came_first_and_paces_nobody() -> None:
    hall = Hall(rows=1, order="arrival", context=300)
    first, second = hall.enter(ask("first", tokens=200)), hall.enter(ask("second", tokens=200, pace=100.0))
    while hall.got[first][-1:] != [None]:
        assert not hall.got[second]
        hall.work()
    assert hall.now < 105, "it waited for the paper"
    hall.run()
    assert whole(hall.pieces(second)) == whole(list(alone(ask("second", tokens=200), 300)))


def test_the_fakes_depend_on_all_that_is_in_the_cache() -> None:
    assert (logits_after([256, 1, 2]) != logits_after([256, 2, 2])).any()
    assert Bytes().bytes_of(256) == b""


def keyed(hall: Hall, who: str, count: int, **more: Any) -> list[Turn]:
    turns = []
    for _ in range(count):
        turn = hall.speller.turn(ask(f"{who} {len(hall.got)}", tokens=200, seed=len(hall.got), **more), hall.now)
        turn.who = who
        hall.got[turn] = []
        hall.distributor.enter(turn)
        hall.now += 1e-6
        turns.append(turn)
    return turns


@pytest.mark.parametrize("pace", [0.0, 10.0])
def test_two_greedy_keys_together_leave_a_third_its_share(pace: float) -> None:
    hall = Hall(count=8, rows=6)
    greedy = [keyed(hall, who, 6, pace=pace) for who in ("north", "south")]
    hall.work(40)
    east = keyed(hall, "east", 3, pace=pace)
    hall.work(60)
    assert hall.distributor._held() == {"north": 2, "south": 2, "east": 2}
    assert [turn.said > 0 for turn in east] == [True, True, False]
    kept = [[turn for turn in turns if turn.line in hall.distributor._turns] for turns in greedy]
    assert all(set(turns) <= set(key[:3]) for turns, key in zip(kept, greedy, strict=True))  # the first go on
    hall.work(20_000)
    assert all(turn.said == 200 for turn in [*greedy[0], *greedy[1], *east])
    for turn in hall.got:
        pieces = [load for load in hall.got[turn] if isinstance(load, Piece)]
        number = list(hall.got).index(turn)
        asked = ask(f"{turn.who} {number}", tokens=200, seed=number, pace=pace)
        assert whole(pieces) == whole(list(alone(asked, 60)))
