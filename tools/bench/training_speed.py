"""Tokens per second of training: asr33's step, and with peers the loop of transformers, round by round.

Each candidate has a process of its own that stays alive, so its memory is known; in each round every candidate takes
a few steps, in shuffled order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, TextIO

from model.interface import GPT2Config
from tools.bench.errors import PeerNotInstalled, WorkerFailed
from tools.bench.progress import BenchProgress
from tools.bench.worker_client import WorkerClient, open_worker
from tools.cli.table import format_table

CONTEXT = 512  # tokens of a sequence, as the embedded model has
STEPS = 4  # timed together in a round: asr33 may step its matrices after every fourth batch
EMBEDDED_BATCH, DEFAULT_BATCH = 16, 4  # sequences of a step, of the embedded model and of larger ones
OWN = (("ours", "auto"), ("ours", "float32"))
PEERS = (("transformers", "bfloat16"), ("transformers", "float32"))


@dataclass(slots=True)
class TrainingResult:
    """The tokens per second of each round, and the peak memory of the process in bytes."""

    name: str
    tokens_per_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TrainingSpeedReport:
    """The first result is asr33's with its own choice of precision."""

    shape: GPT2Config
    batch: int
    threads: int
    results: Sequence[TrainingResult]
    absent: Sequence[str]

    def ratios(self, peer: TrainingResult) -> list[float]:
        """How many times as fast as a peer asr33 was, in each round."""
        return [own / other for own, other in zip(self.results[0].tokens_per_s, peer.tokens_per_s, strict=True)]

    def to_json(self) -> dict[str, Any]:
        ratios = {f"{self.results[0].name} / {peer.name}": median(self.ratios(peer)) for peer in self.results[1:]}
        return {"format": 1, **asdict(self), "ratios": ratios}


def measure_training(
    shape: GPT2Config, batch: int, threads: int, rounds: int, rng: random.Random, peers: bool, progress: BenchProgress
) -> TrainingSpeedReport:
    """Measures all candidates in each round, after one round of warming up. Raises WorkerFailed."""
    absent, results = [], dict[str, TrainingResult]()
    context = min(CONTEXT, shape.n_positions)
    with ExitStack() as stack:
        workers: dict[str, WorkerClient] = {}
        for engine, precision in (*OWN, *(PEERS if peers else ())):
            name = f"{engine} {precision}"
            progress(f"loading: {name}", 1)
            worker = stack.enter_context(open_worker(name))
            try:
                worker.ask(
                    "train_load",
                    engine_name=engine,
                    precision=precision,
                    shape=asdict(shape),
                    batch=batch,
                    context=context,
                    threads=threads,
                )
            except PeerNotInstalled:
                absent.append(name)
                continue
            workers[name], results[name] = worker, TrainingResult(name)
        for number in range(rounds + 1):
            for name in rng.sample(list(workers), len(workers)):
                progress(f"round {number} of {rounds}: {name}" if number else f"warming up: {name}", 1)
                seconds = workers[name].ask("train_steps", count=STEPS)["seconds"]
                if number:
                    results[name].tokens_per_s.append(STEPS * batch * context / seconds)
        for name, worker in workers.items():
            results[name].peak_bytes = worker.ask("memory")["peak"]
    if not results:
        raise WorkerFailed("nothing to measure")
    return TrainingSpeedReport(shape, batch, threads, list(results.values()), absent)


def print_training_speed(report: TrainingSpeedReport, file: TextIO) -> None:
    shape = report.shape
    file.write(
        f"width {shape.n_embd}, {shape.n_layer} layers, vocabulary {shape.vocab_size}: steps of {report.batch} x "
        f"{min(CONTEXT, shape.n_positions)} tokens, {report.threads} threads\n"
    )
    rows = []
    for result in report.results:
        rates, ratios = result.tokens_per_s, report.ratios(result)
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
        ratio = "" if result is report.results[0] else f"{median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"
        rows.append((result.name, f"{median(rates):,.0f}", spread, f"{result.peak_bytes / 1e6:,.0f}", ratio))
    columns = ("", "tokens/s", "spread", "peak MB", "ours auto is faster by")
    file.writelines(f"{line}\n" for line in format_table(columns, rows))
    for name in report.absent:
        file.write(f"{name}: not installed (pip install torch transformers)\n")
