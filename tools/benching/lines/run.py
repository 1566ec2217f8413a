"""A run from a model or a URL to figures: a server for each try, N lines on it, and the largest N that holds."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model.far.card import Card
from tools.benching.errors import PeerAbsent, ServerAway, WorkerFailed
from tools.benching.lines import figures, fronts, serving
from tools.benching.lines.call import CallFailed, Server
from tools.benching.lines.drive import Asked, Driven, drive
from tools.benching.lines.figures import Cost, Figures
from tools.benching.lines.search import Search, fewer
from tools.benching.pipe import Asked as Process
from tools.benching.pipe import worker
from tools.benching.progress import Tell
from tools.benching.worker import memory_of

WARM_UP_S = 45.0  # all have sat down by then
TRY_S = 40.0
LEAST_S = 1.0  # of a run that was ended: in less nothing has happened
ALPHABET = "1968"  # what the wheel of most machines has
CURE = "leave it out, or name the Python of an environment that has it by --peer-python"


@dataclass(frozen=True, slots=True)
class Source:
    """What answers: a server that runs somewhere, or a model's folder behind a front in a process of ours."""

    url: str = ""
    key: str = ""
    folder: Path | None = None
    engine: fronts.Engine = "ours"
    python: Path | None = None
    rows: int = 0  # 0: as many as there are lines
    memory: int = 0  # bytes; 0: enough for all lines
    a_token: int = 0  # bytes of cache that a token takes
    context: int = 256
    threads: int = 0
    weights: str = ""

    def setting(self, lines: int) -> dict[str, Any]:
        """A fifth more than all need: who has gone may come again."""
        memory = self.memory or lines * self.context * self.a_token * 6 // 5
        rows = self.rows or lines
        return {
            "rows": rows,
            "memory": memory,
            "context": self.context,
            "threads": self.threads,
            "weights": self.weights,
        }


@dataclass(slots=True)
class Report:
    """Every run, and the last of them whole for the picture; `largest` None where none was looked for."""

    about: dict[str, Any]
    runs: list[Figures] = field(default_factory=list)
    largest: int | None = None
    driven: Driven | None = None
    whole: bool = True
    faults: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """For JSON."""
        runs = [run.data() for run in self.runs]
        known = {"largest": self.largest, "whole": self.whole, "faults": self.faults}
        return {"format": 1, **self.about, **known, "runs": runs}


Attempt = Callable[[Asked], Figures | None]


def until_stall(attempt: Attempt, asked: Asked, report: Report, patience_s: float) -> None:
    """The largest N that holds: short runs to find it, then the whole time to be sure, with fewer if it does not."""
    search = Search(asked.lines)
    warm = replace(asked, patience_s=patience_s)
    while (lines := search.next) is not None:
        short = replace(warm, lines=lines, seconds=min(TRY_S, asked.seconds))
        if (held := _held(attempt, short, report, patience_s)) is None:
            return
        search.told(lines, held)
        report.largest = search.held  # what is known so far
    while report.largest and _held(attempt, replace(warm, lines=report.largest), report, patience_s) is False:
        report.largest = fewer(report.largest)


def _held(attempt: Attempt, asked: Asked, report: Report, patience_s: float) -> bool | None:
    """Whether so many held; None if it was ended before that was known. Where some have, a server may fail of more."""
    try:
        found = attempt(asked)
    except WorkerFailed as error:
        if not report.runs:
            raise
        report.faults.append(f"{asked.lines} lines: {error}")
        return False
    return found.held(patience_s) if found is not None and report.whole else None


def attempt(source: Source, report: Report, tell: Tell, asked: Asked) -> Figures | None:
    """One run, its figures put with the others; None if it was ended before anything counted."""
    with _served(source, asked.lines, tell) as (server, process):
        driven, cost = _driven(server, process, asked, tell)
    report.whole = driven.whole
    if not driven.whole and driven.span.seconds < LEAST_S:
        return None
    driver = Cost(driven.spent[0], *memory_of(os.getpid()))
    found = figures.of(driven.lines, driven.span, driver, cost, late_s=driven.late_s, engine=driven.done)
    report.runs.append(found)
    report.driven = driven
    return found


def _driven(server: Server, process: Process | None, asked: Asked, tell: Tell) -> tuple[Driven, Cost | None]:
    """What happened, and what it cost the server where that is ours. Raises WorkerFailed if it is no more."""
    asked = _fitted(asked, _card(server))
    pid = process.pid if process else 0
    gc.collect()
    gc.freeze()  # what is there stays, and need not be looked through while seconds count
    try:
        driven = asyncio.run(drive(server, asked, tell, lambda: (_own_cpu_s(), cpu_s(pid))))
    finally:
        gc.unfreeze()
    if process is None:
        return driven, None
    process.see()
    return driven, Cost(driven.spent[1], *memory_of(pid))


@contextmanager
def _served(source: Source, lines: int, tell: Tell) -> Iterator[tuple[Server, Process | None]]:
    """A server, and its process where it is one of ours; that is gone afterwards."""
    if source.url:
        yield Server(source.url, source.key), None
        return
    tell(f"{lines} lines: the model is loaded")
    with worker("the server", source.python, serving.start()) as process:
        try:
            what = {"engine": source.engine, "folder": str(source.folder), "setting": source.setting(lines)}
            opened = process.ask("open", **what)
        except PeerAbsent as error:
            raise PeerAbsent(f"{error}: {CURE}") from None
        yield Server(f"http://127.0.0.1:{opened['port']}"), process


def _fitted(asked: Asked, card: Card) -> Asked:
    """What a server says of itself, minded."""
    alphabet = ALPHABET if ALPHABET in card.alphabets else ""
    context = min(asked.context, card.context or asked.context)
    return replace(asked, listening=card.ours, model=card.id, alphabet=alphabet, context=context)


def _card(server: Server) -> Card:
    try:
        return asyncio.run(server.card())
    except CallFailed as error:
        raise ServerAway(
            f"{server.url}: no answer to /v1/models ({error.kind}); is it up, and is the key right?"
        ) from None


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far; 0 where /proc does not tell."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
