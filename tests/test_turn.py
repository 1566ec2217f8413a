"""An answer in fp32 on the real engine: to the bit the same however its prompt was cut, and where it goes on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from fakes_model import TINY, tiny_weights, words
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model import graph
from model.base import Ask, Sampling
from model.serving.distributor import Distributor, Heard
from model.serving.engine import Engine, Speller
from model.serving.passes import Logits
from model.serving.slots import Slots
from model.serving.turn import Turn

CONTEXT = 50
PROMPT = "The operator sat down at the machine and typed a line."


class Recorder(Distributor):
    """Keeps what each token was drawn from."""

    def __init__(self, slots: Slots, rows: int = 4) -> None:
        super().__init__(slots, rows=rows, clock=lambda: 0.0)
        self.seen: dict[Turn, list[NDArray[np.float32]]] = {}

    def _say(self, turn: Turn, logits: Logits) -> None:
        self.seen.setdefault(turn, []).append(logits.copy())
        super()._say(turn, logits)

    def run(self) -> None:
        """To the end of all answers, with readers who take everything at once."""
        while self.work() != float("inf"):
            made, self.made = self.made, []
            for turn, load in made:
                if hasattr(load, "text"):
                    self.took(turn, 0.0, len(load.text))


@cache
def slots() -> Slots:
    return Slots(graph.build(tiny_weights(), TINY, "float32"), count=6, context=CONTEXT, threads=1)


@cache
def speller() -> Speller:
    return Speller(Engine(slots(), words(), TINY.vocab_size), {})


def asked(tokens: int, said: Sequence[int] = (), prompt: str = PROMPT, seed: int = 1) -> Ask:
    sampling = Sampling(max_tokens=tokens, seed=seed, temperature=1.0, top_k=20)
    return Ask(prompt, sampling, tuple(said), pace=0.0, conversation="a")


def drawn_from(ask: Ask, *, beside: int = 0, heard: Sequence[int] = ()) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Each token's logits, and the tokens; `beside` others are answered at once, so much was read ahead before."""
    recorder = Recorder(slots())
    ids = speller().ids(ask.prompt)
    for length in heard:
        recorder.hear(Heard(ids[:length], ask.conversation, lambda read: None))
        recorder.run()
    turns = [
        speller().turn(replace(ask, said=(), conversation=f"{n}", sampling=replace(ask.sampling, seed=n)), 0.0)
        for n in range(beside)
    ]
    turn = speller().turn(ask, 0.0)
    for one in [*turns, turn]:
        recorder.enter(one)
    recorder.run()
    return recorder.seen[turn], turn._answer.text.ids[len(ids) :]


@cache
def undisturbed(tokens: int) -> tuple[list[NDArray[np.float32]], list[int]]:
    return drawn_from(asked(tokens))


@settings(max_examples=40)
@given(st.integers(0, 59), st.integers(0, 3), st.lists(st.integers(1, 20), max_size=3))
def test_an_answer_goes_on_to_the_bit_as_it_would_have(place: int, beside: int, heard: list[int]) -> None:
    """Of sixty tokens in a context of fifty: it is cut before and behind places where the oldest lines went."""
    wanted, tokens = undisturbed(60)
    found, all_tokens = drawn_from(asked(60, tokens[:place]), beside=beside, heard=sorted(heard))
    assert all_tokens == tokens
    assert len(found) == 60 - place
    for one, other in zip(found, wanted[place:], strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 28), min_size=1, max_size=4).map(sorted))
def test_a_prompt_is_to_the_bit_the_same_however_it_was_cut(heard: list[int]) -> None:
    assert np.array_equal(drawn_from(asked(1), heard=heard)[0][0], undisturbed(60)[0][0])


@pytest.mark.parametrize("left", [1, 2])
def test_what_is_left_of_a_prompt_is_never_one_token(left: int) -> None:
    ids = speller().ids(PROMPT)
    assert np.array_equal(drawn_from(asked(1), heard=[len(ids) - left])[0][0], undisturbed(60)[0][0])
    assert np.array_equal(drawn_from(asked(1), heard=[5, 5 + left])[0][0], undisturbed(60)[0][0])


def test_a_token_alone_is_not_to_the_bit_what_it_is_among_others_or_none_of_this_were_needed() -> None:
    ids, different = speller().ids(PROMPT), 0
    whole = slots().read(0, 0, ids).copy()
    for at in range(1, len(ids) - 1):
        slots().read(1, 0, ids[:at])
        slots().read(1, at, ids[at : at + 1])
        different += not np.array_equal(slots().read(1, at + 1, ids[at + 1 :]), whole)
    assert different


def test_a_turn_whose_row_and_cache_were_lost_goes_on_as_if_they_had_not_been() -> None:
    recorder = Recorder(slots(), rows=1)
    turn = speller().turn(asked(30), 0.0)
    recorder.enter(turn)
    while turn.said < 12:
        recorder.work()
        recorder.took(turn, 0.0, turn.line.paper.untaken)
    recorder._turns.clear()
    recorder._caches.release(turn.line, keep=False)
    recorder.made.clear()
    recorder._waiting.append(turn)
    recorder.run()
    for one, other in zip(recorder.seen[turn], undisturbed(60)[0], strict=False):
        assert np.array_equal(one, other)
    assert len(recorder.seen[turn]) == 30


@pytest.mark.parametrize("luck", [random.Random(n) for n in range(3)])
def test_a_stream_that_is_cut_is_in_no_step_and_leaves_its_cache_for_the_next_turn(luck: random.Random) -> None:
    """The issue's BREAK, on the real engine: its counters tell."""
    recorder = Recorder(slots())
    gone, stays = speller().turn(asked(20), 0.0), speller().turn(replace(asked(20), conversation="b"), 0.0)
    recorder.enter(gone)
    recorder.enter(stays)
    until = luck.randint(2, 6)
    while gone.said < until:
        recorder.work()
        recorder.made.clear()
        for turn in (gone, stays):
            recorder.took(turn, 0.0, turn.line.paper.untaken)
    recorder.cut(gone)
    before, others = recorder.counters(), stays.said
    recorder.run()
    after = recorder.counters()
    assert after.tokens - before.tokens == after.stepped - before.stepped == 20 - others
    assert (after.along, after.cut, after.active, gone.said) == (before.along, 1, 0, until)
    heard = speller().ids(PROMPT) + gone._answer.text.ids[-until:]
    following = Turn(asked(1), heard, words(), None, context=CONTEXT, arrived=0.0)
    recorder.enter(following)
    recorder.run()
    assert recorder.counters().read - after.read == 2, "all but the last was known, and none is read alone"
