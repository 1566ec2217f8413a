"""The mechanics of a machine: how long its carriage travels, and how long it bounces.

Numbers only; knows no paper and no moment. A driver that prints clean on these three mechanisms suits most machines.
"""

from __future__ import annotations

from dataclasses import dataclass

STRIKE_DELAY_S = 0.130  # from the start bit to the type wheel on the paper: ten bits, then half a function cycle
BOUNCE_S = 0.040  # after its return the carriage may bounce for so long, if the dashpot is set too stiff


@dataclass(frozen=True, slots=True)
class Mechanism:
    """The carriage is released, and then travels at a constant speed."""

    name: str
    release_s: float
    per_column_s: float

    def cr_travel_s(self, column: float) -> float:
        """Returns the seconds until the carriage is home from `column`, at 10 columns to the inch."""
        return self.release_s + self.per_column_s * column


FAST = Mechanism("fast", 0.010, 0.0018)  # new, with light oil: 140 ms from column 72
TYPICAL = Mechanism("typical", 0.020, 0.0026)  # in good order: 207 ms, as owners measured
GUMMY = Mechanism("gummy", 0.020, 0.00375)  # old oil: 290 ms, the slowest that prints clean after CR LF and one fill

MECHANISMS = {mechanism.name: mechanism for mechanism in (FAST, TYPICAL, GUMMY)}
