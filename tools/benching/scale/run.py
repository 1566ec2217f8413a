"""A simulated run from what is asked to figures: one hall, or the largest number of lines that one replica holds."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tools.benching.lines import figures
from tools.benching.lines.figures import Cost, Figures
from tools.benching.lines.search import Search, fewer
from tools.benching.progress import Tell
from tools.benching.scale import bill
from tools.benching.scale.bill import Bill
from tools.benching.scale.case import Case
from tools.benching.scale.engines import Engine
from tools.benching.scale.hall import Hall
from tools.benching.scale.herd import Outage, Return

TRY_S, WARM_UP_S = 60.0, 45.0
AFRESH = 1.2  # caches for each line: who has gone may come again


@dataclass(frozen=True, slots=True)
class Run:
    """`figures` are those of the lines that were worked through, at `worked` of so many replicas."""

    lines: int
    replicas: int
    worked: int
    figures: Figures
    busy: float  # part of the time that a replica was at work: the mean, and the most
    busiest: float
    fewest: int  # lines of a replica, by the ring
    most: int
    moved: int  # answers that went on at another replica
    stalled_others: int  # wheels that stood still though their replica lived
    there: tuple[tuple[float, int], ...]  # how many replicas there were, from when on
    bill: Bill

    def held(self, patience_s: float) -> bool:
        return self.figures.held(patience_s)


@dataclass(slots=True)
class Report:
    about: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    largest: int | None = None
    outage: Outage | None = None
    back: Return | None = None

    def data(self) -> dict[str, Any]:
        """For JSON."""
        known: dict[str, Any] = {"largest": self.largest, "runs": [asdict(run) for run in self.runs]}
        if self.outage and self.back:
            known |= {"outage": asdict(self.outage), "back": self.back.data()}
        return {"format": 1, "simulated": True, **self.about, **known}


def run(case: Case, engine: Engine) -> Run:
    """The whole case, as fast as it goes."""
    begun = time.process_time()
    hall = Hall(case, engine, lambda name: random.Random(f"{case.seed} {name}"))
    lines, span = hall.run()
    found = figures.of(lines, span, Cost(time.process_time() - begun), engine=hall.done())
    busy = [min(1.0, part) for part in hall.busy(span)] or [0.0]
    worked = min(case.sample or case.replicas, case.replicas)
    at = Counter(filter(None, (hall.home(seat.name) for seat in hall.seats)))
    others = sum(bool(seat.line.wheel.stalls) and not seat.broken for seat in hall.seats)
    there = tuple(
        (max(0.0, round(at - span.begun, 3)), count) for at, count in hall.count if count >= case.replicas or at
    )
    mean = sum(busy) / len(busy)
    return Run(
        lines=case.lines,
        replicas=case.replicas,
        worked=worked,
        figures=found,
        busy=mean,
        busiest=max(busy),
        fewest=min(at.values(), default=0),
        most=max(at.values(), default=0),
        moved=hall.moved,
        stalled_others=others,
        there=there,
        bill=bill.of(engine, max(1.0, len(hall.seats) / worked), mean, case.context),
    )


def until_stall(
    case: Case, engine: Engine, sized: Callable[[Case], Case], report: Report, patience_s: float, tell: Tell
) -> None:
    """The largest number that one replica holds: short runs to find it, then the whole time, with fewer if need be."""

    def holds(lines: int, seconds: float) -> bool:
        tell(f"{lines} lines")
        report.runs.append(run(sized(replace(case, lines=lines, replicas=1, seconds=seconds, sample=0)), engine))
        return report.runs[-1].held(patience_s)

    search = Search(case.lines)
    while (lines := search.next) is not None:
        search.told(lines, holds(lines, min(TRY_S, case.seconds)))
    report.largest = search.held
    while report.largest and not holds(report.largest, case.seconds):
        report.largest = fewer(report.largest)
