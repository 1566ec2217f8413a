"""Other guests of the machine: for a spell, now and then, whatever is worked there takes longer. Pure."""

from __future__ import annotations

from tools.bench.simulate.scenario import SimulationRandom

SPELL_GAP_S = 15.0, 35.0  # at least and at most, from the end of a spell to the next: a guess


class NoisyNeighbours:
    """Asked at times that never go back."""

    def __init__(self, slowdown: float, slow_spell_s: float, rng: SimulationRandom, now: float = 0.0) -> None:
        self._slowdown, self._slow_spell_s, self._rng = slowdown, slow_spell_s, rng
        self._spell = self._draw_spell(now)

    def slowdown_at(self, now: float) -> float:
        """How many times as long a pass takes that begins now."""
        begins, ends = self._spell
        while now >= ends:
            begins, ends = self._spell = self._draw_spell(ends)
        return self._slowdown if now >= begins else 1.0

    def _draw_spell(self, after: float) -> tuple[float, float]:
        least, most = SPELL_GAP_S
        begins = after + least + (most - least) * self._rng.random()
        return begins, begins + self._slow_spell_s
