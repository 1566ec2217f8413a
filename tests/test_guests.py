"""Other guests of a simulated machine: spells in which all takes longer, and what a stock of paper is good for then."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.server.engine import scheduler
from tools.bench.simulate import engines, noisy_neighbours, run
from tools.bench.simulate.scenario import Scenario
from tools.main import main

TURNING = Scenario(230, 100.0, 30.0, batch_size=340, cache_slots=340, max_answers=10_000, is_continuous=True)


def make_neighbours(seed: int, slowdown: float = 2.0, slow_spell_s: float = 4.0) -> noisy_neighbours.NoisyNeighbours:
    return noisy_neighbours.NoisyNeighbours(slowdown, slow_spell_s, random.Random(seed))


@given(st.integers(0, 99), st.floats(0.05, 3.0))
def test_a_spell_is_as_long_as_it_is_told_and_so_far_from_the_next(seed: int, step: float) -> None:
    asked = [at * step for at in range(int(200 / step))]
    found = make_neighbours(seed)
    slow = [found.slowdown_at(at) == 2.0 for at in asked]
    turns = [at for at, (before, now) in zip(asked[1:], pairwise(slow), strict=True) if before != now]
    for begins, ends in zip(turns[::2], turns[1::2], strict=False):
        assert ends - begins == pytest.approx(4.0, abs=step)
    for ends, begins in zip(turns[1::2], turns[2::2], strict=False):
        assert noisy_neighbours.SPELL_GAP_S[0] - step <= begins - ends <= noisy_neighbours.SPELL_GAP_S[1] + step


def test_whoever_asks_seldom_is_told_the_same() -> None:
    often, seldom = make_neighbours(5), make_neighbours(5)
    told = {at: often.slowdown_at(at) for at in range(300)}
    assert {at: seldom.slowdown_at(at) for at in range(0, 300, 70)} == {at: told[at] for at in range(0, 300, 70)}


def count_stalls() -> int:
    spells = [replace(TURNING, slowdown=2.0, slow_spell_s=4.0, seed=seed) for seed in (40, 41)]
    return sum(run.run_scenario(case, engines.COST_TABLES["two-cores"]).figures.stalls for case in spells)


def test_what_lies_ready_bridges_a_spell(monkeypatch: pytest.MonkeyPatch) -> None:
    stocked = count_stalls()
    monkeypatch.setattr(scheduler, "LOW_BUFFER_S", 1.2)
    monkeypatch.setattr(scheduler, "MAX_BUFFER_S", 2.4)
    bare = count_stalls()
    assert 4 * stocked < bare


def test_the_table_says_that_there_were_guests(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "--simulate", "--lines", "4", "--minutes", ".2", "--guests", "2,4"])
    assert "for 4 s now and then 2 times as slow" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["2", "a,b", "0.5,4", "2,-1"])
def test_guests_that_are_none_are_told(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--simulate", "--guests", text])
    assert ended.value.code == 2
    assert "so many times as long and so many seconds" in capsys.readouterr().err
