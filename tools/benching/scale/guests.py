"""Other guests of the machine: for a spell, now and then, whatever is worked there takes longer. Pure."""

from __future__ import annotations

from tools.benching.scale.case import Chance

APART_S = 15.0, 35.0  # at least and at most, from the end of a spell to the next: a guess


class Guests:
    """Asked at times that never go back."""

    def __init__(self, slower: float, spell_s: float, chance: Chance, now: float = 0.0) -> None:
        self._slower, self._spell_s, self._chance = slower, spell_s, chance
        self._spell = self._next(now)

    def slower(self, now: float) -> float:
        """How many times as long a pass takes that begins now."""
        begins, ends = self._spell
        while now >= ends:
            begins, ends = self._spell = self._next(ends)
        return self._slower if now >= begins else 1.0

    def _next(self, after: float) -> tuple[float, float]:
        least, most = APART_S
        begins = after + least + (most - least) * self._chance.random()
        return begins, begins + self._spell_s
