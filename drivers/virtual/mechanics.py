"""A mechanism's temper: how long its carriage flies home, and how long it dances there.

Numbers only; knows no paper and no moment. A driver that is good to the three bodies here is good to most machines.
"""

from __future__ import annotations

from dataclasses import dataclass

STRIKE_DELAY_S = 0.130  # from the start bit to the type wheel on the paper: ten bits, then half a function cycle
BOUNCE_S = 0.040  # for so long after it is home the carriage may still dance, where the dashpot is set too stiff


@dataclass(frozen=True, slots=True)
class Mechanism:
    """The carriage lets go, and then flies at an even speed."""

    name: str
    release_s: float
    per_column_s: float

    def cr_travel_s(self, column: float) -> float:
        """From the moment at which the CR takes hold until the carriage is home; columns are of 10 to the inch."""
        return self.release_s + self.per_column_s * column


# From column 72: a new machine with a light oil; one in good order, 207 ms, as owners measured it; and one whose oil
# is old, 290 ms - the worst that still prints clean after CR LF and one fill.
FAST = Mechanism("fast", 0.010, 0.0018)
TYPICAL = Mechanism("typical", 0.020, 0.0026)
GUMMY = Mechanism("gummy", 0.020, 0.00375)

MECHANISMS = {body.name: body for body in (FAST, TYPICAL, GUMMY)}
