"""A run from weights to figures: models written, each candidate visited once a round in shuffled order.

Each visit is a process of its own, so that none has the caches or the memory of another, and at no time are there
more of them than the one that is measured, and the probe of the memory that is asked before and after. Quality is
for others to judge.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model.interface import GPT2Config
from tools.bench.candidates import INSTALL_HINTS, Candidate, EngineName, weight_bytes_per_step
from tools.bench.errors import PeerNotInstalled, WorkerFailed
from tools.bench.figures import CandidateResult, Measurement
from tools.bench.progress import BenchProgress
from tools.bench.worker_client import WorkerClient, open_worker

DECODE_PROMPT_TOKENS = 32  # tokens of prompt
PEAK_PROMPT_TOKENS = 512  # the longest prompt that the peak memory is taken after


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """What all candidates have in common."""

    threads: int
    prompts: tuple[int, ...]
    decode_tokens: int  # decoded in one visit
    prompt_ids: tuple[int, ...]  # every prompt is their beginning
    peer_pythons: tuple[Path, ...] = ()  # of the environments where a peer may live, beside ours


class PreparedModels:
    """Who is there to be measured, where its model lies, and which Python each engine has; None is ours."""

    def __init__(self) -> None:
        self.pythons: dict[EngineName, Path | None] = {"ours": None}
        self.results: list[CandidateResult] = []
        self.folders: dict[str, Path] = {}
        self.absent_peers: dict[EngineName, str] = {}

    def add(self, candidate: Candidate, folder: Path, shape: GPT2Config, file_bytes: int) -> None:
        result = CandidateResult(
            candidate, file_bytes=file_bytes, step_bytes=weight_bytes_per_step(candidate, shape, file_bytes)
        )
        self.results.append(result)
        self.folders[candidate.name] = folder


def make_weights(source: GPT2Config | Path, seed: int, folder: Path) -> None:
    """Random weights of a shape, or those of a model of ours."""
    folder.mkdir()
    with open_worker("weights") as process:
        if isinstance(source, GPT2Config):
            process.ask("weights", shape=asdict(source), seed=seed, to=str(folder))
        else:
            process.ask("weights", model=str(source), to=str(folder))


def prepare_models(
    candidates: Sequence[Candidate],
    shape: GPT2Config,
    weights: Path,
    settings: BenchSettings,
    on_progress: BenchProgress,
) -> PreparedModels:
    """Each candidate's model from the weights, beside them. A peer that is not there, or cannot, is noted."""
    prepared = PreparedModels()
    for candidate in candidates:
        on_progress(f"writing models: {candidate.name}")
        if candidate.engine in prepared.absent_peers:
            on_progress(f"writing models: {candidate.name}", 1)
            continue
        to = weights.parent / candidate.slug
        to.mkdir()
        try:
            prepared.pythons[candidate.engine] = _write_model(
                candidate, weights, to, prepared.pythons, settings.peer_pythons
            )
        except PeerNotInstalled as error:
            prepared.absent_peers[candidate.engine] = _absence_message(candidate.engine, error)
        except WorkerFailed as error:
            prepared.results.append(CandidateResult(candidate, fault=str(error)))
        else:
            size = sum(path.stat().st_size for path in to.iterdir() if path.suffix != ".json")
            prepared.add(candidate, to, shape, size)
        on_progress(f"writing models: {candidate.name}", 1)
    return prepared


def _write_model(
    candidate: Candidate,
    weights: Path,
    folder: Path,
    known_pythons: dict[EngineName, Path | None],
    peer_pythons: Sequence[Path],
) -> Path | None:
    """Have a candidate's model written; gives the Python that could. Raises PeerAbsent where none can."""
    engine = candidate.engine
    tried = [known_pythons[engine]] if engine in known_pythons else [*peer_pythons, None]
    for python in tried:
        try:
            with open_worker(candidate.name, python) as process:
                what = {"engine_name": engine, "form": candidate.form, "block": candidate.block}
                process.ask("prepare", **what, weights=str(weights), to=str(folder))
            return python
        except PeerNotInstalled as error:
            absent = error
    raise absent


def _absence_message(engine: EngineName, error: PeerNotInstalled) -> str:
    """Why a peer is left out, and what helps. Raises PeerAbsent where it is not a peer but ourselves."""
    if engine == "ours":
        raise PeerNotInstalled(f"{error}: in asr33's folder, pip install '.[cpu]'") from None
    return f"{error}: {INSTALL_HINTS[engine]}, or name the Python of an environment that has it by --peer-python"


def run_rounds(
    prepared: PreparedModels, settings: BenchSettings, count: int, rng: random.Random, on_progress: BenchProgress
) -> list[list[str]]:
    """Visit everyone once a round; gives the order. Who fails is noted, and not visited again."""
    order = []
    with open_worker("the probe of the memory") as probe:
        for number in range(count):
            there = [result for result in prepared.results if not result.fault]
            rng.shuffle(there)
            order.append([result.candidate.name for result in there])
            for result in there:
                on_progress(f"round {number + 1} of {count}: {result.candidate.name}")
                try:
                    measure_candidate(result, prepared, settings, probe)
                except (WorkerFailed, PeerNotInstalled) as error:
                    result.fault = str(error)
                on_progress(f"round {number + 1} of {count}: {result.candidate.name}", 1)
    return order


def measure_candidate(
    result: CandidateResult, prepared: PreparedModels, settings: BenchSettings, probe: WorkerClient
) -> None:
    """One process: loaded, warmed by a little work, then measured. Its figures are put with those of the result."""
    candidate = result.candidate
    with open_worker(candidate.name, prepared.pythons[candidate.engine]) as process:
        result.version = load_model(process, candidate, prepared.folders[candidate.name], settings)
        load_s = process.age_s
        resident = process.ask("memory")["resident"]
        short = settings.prompt_ids[: min(DECODE_PROMPT_TOKENS, *settings.prompts)]
        process.ask("first", ids=short)
        process.ask("decode", ids=short, tokens=4)
        first, peak = {}, 0
        for prompt in sorted(settings.prompts):
            if prompt > PEAK_PROMPT_TOKENS:
                peak = peak or process.ask("memory")["peak"]
            first[prompt] = process.ask("first", ids=settings.prompt_ids[:prompt])["seconds"]
        peak = peak or process.ask("memory")["peak"]
        before = probe.ask("bandwidth", threads=settings.threads)["bytes_per_s"]
        seconds = process.ask("decode", ids=settings.prompt_ids[:DECODE_PROMPT_TOKENS], tokens=settings.decode_tokens)[
            "seconds"
        ]
        after = probe.ask("bandwidth", threads=settings.threads)["bytes_per_s"]
        bandwidth = (before + after) / 2
        result.visits.append(Measurement(load_s, resident, peak, first, settings.decode_tokens / seconds, bandwidth))


def load_model(process: WorkerClient, candidate: Candidate, folder: Path, settings: BenchSettings) -> str:
    """Have a candidate's model loaded; gives what the library calls itself."""
    what = {"engine_name": candidate.engine, "form": candidate.form, "threads": settings.threads}
    version: str = process.ask("load", **what, folder=str(folder))["version"]
    return version
