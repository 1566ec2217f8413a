"""The load test: starts a server for each attempt, runs N clients on it, and searches for the largest N that passes."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from model.openai_api.models import ModelInfo
from tools.bench.candidates import BackendName
from tools.bench.errors import PeerNotInstalled, WorkerFailed
from tools.bench.load import figures, server_process
from tools.bench.load.figures import LoadFigures, ProcessCost
from tools.bench.load.generator import LoadRun, LoadSettings, run_clients
from tools.bench.load.http_client import RequestFailed, ServerUnderTest
from tools.bench.load.max_clients import MaxClientsSearch, step_down
from tools.bench.load.peer_backend import EngineSettings
from tools.bench.progress import BenchProgress
from tools.bench.worker import process_memory
from tools.bench.worker_client import WorkerClient, open_worker
from tools.cli.errors import ToolError

WARM_UP_S = 45.0  # by then all clients are connected
ATTEMPT_S = 40.0
MIN_RUN_S = 1.0  # an interrupted run that is shorter shows nothing
TYPE_WHEEL = "1968"  # of most machines
INSTALL_HINT = "leave it out, or name the Python of an environment that has it by --peer-python"


@dataclass(frozen=True, slots=True)
class ServerSource:
    """The server to test: the URL of a running one, or a model folder for a process that is started here."""

    url: str = ""
    key: str = ""
    folder: Path | None = None
    engine: BackendName = "ours"
    python: Path | None = None
    batch_size: int = 0  # 0: as many as clients
    cache_bytes: int = 0  # 0: enough for all clients
    cache_bytes_per_token: int = 0
    context: int = 256
    threads: int = 0
    weights: str = ""

    def engine_settings(self, clients: int) -> EngineSettings:
        """The default cache is a fifth larger than all clients need: a client that left may come again."""
        cache_bytes = self.cache_bytes or clients * self.context * self.cache_bytes_per_token * 6 // 5
        return EngineSettings(self.batch_size or clients, cache_bytes, self.context, self.threads, self.weights)


@dataclass(slots=True)
class LoadReport:
    """The figures of all runs, and the whole last run for the chart. `max_clients` is None without a search."""

    metadata: dict[str, Any]
    runs: list[LoadFigures] = field(default_factory=list)
    max_clients: int | None = None
    last_run: LoadRun | None = None
    is_complete: bool = True
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        result = {"largest": self.max_clients, "whole": self.is_complete, "faults": self.failures}
        return {"format": 1, **self.metadata, **result, "runs": [asdict(run) for run in self.runs]}


Attempt = Callable[[LoadSettings], LoadFigures | None]


def search_max_clients(attempt: Attempt, settings: LoadSettings, report: LoadReport, max_wait_s: float) -> None:
    """Finds the largest number of clients by short runs, and confirms it by full ones, with fewer if one fails."""
    search = MaxClientsSearch(settings.clients)
    settings = replace(settings, max_wait_s=max_wait_s)
    while (clients := search.next_attempt) is not None:
        short = replace(settings, clients=clients, seconds=min(ATTEMPT_S, settings.seconds))
        if (has_passed := _try_settings(attempt, short, report, max_wait_s)) is None:
            return
        search.record(clients, has_passed)
        report.max_clients = search.largest_passed  # so far
    while report.max_clients:
        full = replace(settings, clients=report.max_clients)
        if _try_settings(attempt, full, report, max_wait_s) is not False:
            return
        report.max_clients = step_down(report.max_clients)


def _try_settings(attempt: Attempt, settings: LoadSettings, report: LoadReport, max_wait_s: float) -> bool | None:
    """Returns whether the run passed; None if it was interrupted.

    A run whose server dies has failed. In the first run the error is raised instead.
    """
    try:
        result = attempt(settings)
    except WorkerFailed as error:
        if not report.runs:
            raise
        report.failures.append(f"{settings.clients} clients: {error}")
        return False
    return result.meets_limits(max_wait_s) if result is not None and report.is_complete else None


def run_attempt(
    source: ServerSource, report: LoadReport, on_progress: BenchProgress, settings: LoadSettings
) -> LoadFigures | None:
    """Runs once and adds the figures to the report; returns None if the operator interrupts it too early."""
    with _open_server(source, settings.clients, on_progress) as (server, process):
        run, server_cost = _run_clients(server, process, settings, on_progress)
    report.is_complete = run.is_complete
    if not run.is_complete and run.span.seconds < MIN_RUN_S:
        return None
    cost, engine = ProcessCost(run.cpu_s[0], *process_memory(os.getpid())), run.engine_counters
    result = figures.compute_figures(run.records, run.span, cost, server_cost, late_s=run.late_s, engine=engine)
    report.runs.append(result)
    report.last_run = run
    return result


def _run_clients(
    server: ServerUnderTest, process: WorkerClient | None, settings: LoadSettings, on_progress: BenchProgress
) -> tuple[LoadRun, ProcessCost | None]:
    """Returns the run, and the cost of the server's process if it was started here. Raises WorkerFailed if it died."""
    settings = _adapt_to_server(settings, _fetch_model_info(server))
    pid = process.pid if process else 0
    gc.collect()
    gc.freeze()  # the collector need not look at the existing objects while the run is timed
    try:
        run = asyncio.run(run_clients(server, settings, on_progress, lambda: (time.process_time(), process_cpu_s(pid))))
    finally:
        gc.unfreeze()
    if process is None:
        return run, None
    process.check_alive()
    return run, ProcessCost(run.cpu_s[1], *process_memory(pid))


@contextmanager
def _open_server(
    source: ServerSource, clients: int, on_progress: BenchProgress
) -> Iterator[tuple[ServerUnderTest, WorkerClient | None]]:
    """Yields the server, and its process if it is started here; the process is killed at the end of the block."""
    if source.url:
        yield ServerUnderTest(source.url, source.key), None
        return
    on_progress(f"{clients} clients: loading the model")
    with open_worker("the server", source.python, server_process.bootstrap_code()) as process:
        settings = asdict(source.engine_settings(clients))
        try:
            reply = process.ask("open", engine=source.engine, folder=str(source.folder), settings=settings)
        except PeerNotInstalled as error:
            raise PeerNotInstalled(f"{error}: {INSTALL_HINT}") from None
        yield ServerUnderTest(f"http://127.0.0.1:{reply['port']}"), process


def _adapt_to_server(settings: LoadSettings, info: ModelInfo) -> LoadSettings:
    alphabet = TYPE_WHEEL if TYPE_WHEEL in info.alphabets else ""
    context = min(settings.context, info.context or settings.context)
    return replace(settings, has_prefill=info.is_asr33, model=info.id, alphabet=alphabet, context=context)


def _fetch_model_info(server: ServerUnderTest) -> ModelInfo:
    try:
        return asyncio.run(server.fetch_model_info())
    except RequestFailed as error:
        cure = "is it up, and is the key right?"
        raise ToolError(f"{server.url}: no answer to /v1/models ({error.kind}); {cure}", "unavailable") from None


def process_cpu_s(pid: int) -> float:
    """Returns the processor seconds of a process so far; 0 without /proc."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
