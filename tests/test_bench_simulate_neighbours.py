"""Noisy neighbours in the simulation: slow spells, and the playout buffer that bridges them."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.server.engine import scheduler
from tools.bench.simulate import engine_costs, simulation
from tools.bench.simulate.scenario import SPELL_GAP_S, NoisyNeighbours, Scenario
from tools.main import main

CONTINUOUS = Scenario(230, 100.0, 30.0, batch_size=340, cache_slots=340, max_answers=10_000, is_continuous=True)


def make_neighbours(seed: int, slowdown: float = 2.0, slow_spell_s: float = 4.0) -> NoisyNeighbours:
    return NoisyNeighbours(slowdown, slow_spell_s, random.Random(seed))


@given(st.integers(0, 99), st.floats(0.05, 3.0))
def test_spells_have_the_given_length_and_gaps(seed: int, step: float) -> None:
    moments = [at * step for at in range(int(200 / step))]
    neighbours = make_neighbours(seed)
    slow = [neighbours.slowdown_at(at) == 2.0 for at in moments]
    changes = [at for at, (before, now) in zip(moments[1:], pairwise(slow), strict=True) if before != now]
    for begins, ends in zip(changes[::2], changes[1::2], strict=False):
        assert ends - begins == pytest.approx(4.0, abs=step)
    for ends, begins in zip(changes[1::2], changes[2::2], strict=False):
        assert SPELL_GAP_S[0] - step <= begins - ends <= SPELL_GAP_S[1] + step


def test_spells_do_not_depend_on_how_often_they_are_asked_for() -> None:
    often, seldom = make_neighbours(5), make_neighbours(5)
    factors = {at: often.slowdown_at(at) for at in range(300)}
    assert {at: seldom.slowdown_at(at) for at in range(0, 300, 70)} == {at: factors[at] for at in range(0, 300, 70)}


def count_stalls(seeds: tuple[int, ...]) -> int:
    costs = engine_costs.COST_TABLES["two-cores"]
    scenarios = [replace(CONTINUOUS, slowdown=2.0, slow_spell_s=4.0, seed=seed) for seed in seeds]
    return sum(simulation.run_scenario(scenario, costs).figures.stalls for scenario in scenarios)


@pytest.mark.parametrize("seeds", [(40,), pytest.param((41, 42, 43), marks=pytest.mark.soak)], ids=str)
def test_playout_buffer_bridges_a_slow_spell(seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with_buffer = count_stalls(seeds)
    monkeypatch.setattr(scheduler, "LOW_BUFFER_S", 1.2)
    monkeypatch.setattr(scheduler, "MAX_BUFFER_S", 2.4)
    without_buffer = count_stalls(seeds)
    assert 4 * with_buffer < without_buffer


def test_report_names_the_slow_spells(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "--simulate", "--clients", "4", "--minutes", ".2", "--slowdown", "2,4"])
    assert "spells of 4 s that are 2 times slower" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["2", "a,b", "0.5,4", "2,-1"])
def test_invalid_slowdown_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--simulate", "--guests", text])
    assert ended.value.code == 2
    assert "is not a factor and seconds such as 2,4" in capsys.readouterr().err
