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

from model.openai_api.models import ModelInfo
from tools.bench.errors import PeerNotInstalled, ServerAway, WorkerFailed
from tools.bench.load import figures, server_process
from tools.bench.load.backends import backends
from tools.bench.load.figures import LoadFigures, ProcessCost
from tools.bench.load.generator import LoadRun, LoadSettings, run_clients
from tools.bench.load.http_client import RequestFailed, ServerUnderTest
from tools.bench.load.max_clients import MaxClientsSearch, step_down
from tools.bench.progress import BenchProgress
from tools.bench.worker import process_memory
from tools.bench.worker_client import WorkerClient as Process
from tools.bench.worker_client import open_worker

WARM_UP_S = 45.0  # all have sat down by then
ATTEMPT_S = 40.0
MIN_RUN_S = 1.0  # of a run that was ended: in less nothing has happened
TYPE_WHEEL = "1968"  # what the wheel of most machines has
INSTALL_HINT = "leave it out, or name the Python of an environment that has it by --peer-python"


@dataclass(frozen=True, slots=True)
class ServerSource:
    """What answers: a server that runs somewhere, or a model's folder behind a front in a process of ours."""

    url: str = ""
    key: str = ""
    folder: Path | None = None
    engine: backends.BackendName = "ours"
    python: Path | None = None
    batch_size: int = 0  # 0: as many as there are lines
    cache_bytes: int = 0  # bytes; 0: enough for all lines
    cache_bytes_per_token: int = 0  # bytes of cache that a token takes
    context: int = 256
    threads: int = 0
    weights: str = ""

    def engine_settings(self, clients: int) -> dict[str, Any]:
        """A fifth more than all need: who has gone may come again."""
        memory = self.cache_bytes or clients * self.context * self.cache_bytes_per_token * 6 // 5
        rows = self.batch_size or clients
        return {
            "rows": rows,
            "memory": memory,
            "context": self.context,
            "threads": self.threads,
            "weights": self.weights,
        }


@dataclass(slots=True)
class LoadReport:
    """Every run, and the last of them whole for the picture; `largest` None where none was looked for."""

    metadata: dict[str, Any]
    runs: list[LoadFigures] = field(default_factory=list)
    max_clients: int | None = None
    last_run: LoadRun | None = None
    is_complete: bool = True
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        runs = [run.to_json() for run in self.runs]
        known = {"largest": self.max_clients, "whole": self.is_complete, "faults": self.failures}
        return {"format": 1, **self.metadata, **known, "runs": runs}


Attempt = Callable[[LoadSettings], LoadFigures | None]


def search_max_clients(attempt: Attempt, settings: LoadSettings, report: LoadReport, max_wait_s: float) -> None:
    """The largest N that holds: short runs to find it, then the whole time to be sure, with fewer if it does not."""
    search = MaxClientsSearch(settings.clients)
    warm = replace(settings, max_wait_s=max_wait_s)
    while (lines := search.next_attempt) is not None:
        short = replace(warm, clients=lines, seconds=min(ATTEMPT_S, settings.seconds))
        if (held := _try_settings(attempt, short, report, max_wait_s)) is None:
            return
        search.record(lines, held)
        report.max_clients = search.largest_passed  # what is known so far
    while (
        report.max_clients
        and _try_settings(attempt, replace(warm, clients=report.max_clients), report, max_wait_s) is False
    ):
        report.max_clients = step_down(report.max_clients)


def _try_settings(attempt: Attempt, settings: LoadSettings, report: LoadReport, max_wait_s: float) -> bool | None:
    """Whether so many held; None if it was ended before that was known. Where some have, a server may fail of more."""
    try:
        found = attempt(settings)
    except WorkerFailed as error:
        if not report.runs:
            raise
        report.failures.append(f"{settings.clients} lines: {error}")
        return False
    return found.meets_limits(max_wait_s) if found is not None and report.is_complete else None


def run_attempt(
    source: ServerSource, report: LoadReport, on_progress: BenchProgress, settings: LoadSettings
) -> LoadFigures | None:
    """One run, its figures put with the others; None if it was ended before anything counted."""
    with _open_server(source, settings.clients, on_progress) as (server, process):
        driven, cost = _run_clients(server, process, settings, on_progress)
    report.is_complete = driven.is_complete
    if not driven.is_complete and driven.span.seconds < MIN_RUN_S:
        return None
    driver = ProcessCost(driven.cpu_s[0], *process_memory(os.getpid()))
    found = figures.compute_figures(
        driven.records, driven.span, driver, cost, late_s=driven.late_s, engine=driven.engine_counters
    )
    report.runs.append(found)
    report.last_run = driven
    return found


def _run_clients(
    server: ServerUnderTest, process: Process | None, settings: LoadSettings, on_progress: BenchProgress
) -> tuple[LoadRun, ProcessCost | None]:
    """What happened, and what it cost the server where that is ours. Raises WorkerFailed if it is no more."""
    settings = _adapt_to_server(settings, _fetch_model_info(server))
    pid = process.pid if process else 0
    gc.collect()
    gc.freeze()  # what is there stays, and need not be looked through while seconds count
    try:
        driven = asyncio.run(run_clients(server, settings, on_progress, lambda: (_own_cpu_s(), process_cpu_s(pid))))
    finally:
        gc.unfreeze()
    if process is None:
        return driven, None
    process.check_alive()
    return driven, ProcessCost(driven.cpu_s[1], *process_memory(pid))


@contextmanager
def _open_server(
    source: ServerSource, clients: int, on_progress: BenchProgress
) -> Iterator[tuple[ServerUnderTest, Process | None]]:
    """A server, and its process where it is one of ours; that is gone afterwards."""
    if source.url:
        yield ServerUnderTest(source.url, source.key), None
        return
    on_progress(f"{clients} lines: the model is loaded")
    with open_worker("the server", source.python, server_process.bootstrap_code()) as process:
        try:
            what = {"engine": source.engine, "folder": str(source.folder), "setting": source.engine_settings(clients)}
            opened = process.ask("open", **what)
        except PeerNotInstalled as error:
            raise PeerNotInstalled(f"{error}: {INSTALL_HINT}") from None
        yield ServerUnderTest(f"http://127.0.0.1:{opened['port']}"), process


def _adapt_to_server(settings: LoadSettings, info: ModelInfo) -> LoadSettings:
    """What a server says of itself, minded."""
    alphabet = TYPE_WHEEL if TYPE_WHEEL in info.alphabets else ""
    context = min(settings.context, info.context or settings.context)
    return replace(settings, has_prefill=info.is_asr33, model=info.id, alphabet=alphabet, context=context)


def _fetch_model_info(server: ServerUnderTest) -> ModelInfo:
    try:
        return asyncio.run(server.fetch_model_info())
    except RequestFailed as error:
        raise ServerAway(
            f"{server.url}: no answer to /v1/models ({error.kind}); is it up, and is the key right?"
        ) from None


def process_cpu_s(pid: int) -> float:
    """Processor seconds of a process so far; 0 where /proc does not tell."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
