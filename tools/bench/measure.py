"""The measurement: writes the candidates' models, then measures each candidate once a round, in shuffled order.

Each measurement has a process of its own, so no candidate profits from another's caches or memory. At any time only
the measured process and the idle memory probe exist.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model.interface import GPT2Config
from tools.bench.candidates import INSTALL_HINTS, Candidate, EngineName, weight_bytes_per_step
from tools.bench.errors import PeerNotInstalled, WorkerFailed
from tools.bench.progress import BenchProgress
from tools.bench.results import CandidateResult, Measurement
from tools.bench.worker_client import WorkerClient, open_worker

DECODE_PROMPT_TOKENS = 32  # the prompt before the decode steps
PEAK_PROMPT_TOKENS = 512  # the longest prompt that counts for the peak memory


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """The settings that all candidates share."""

    threads: int
    prompts: tuple[int, ...]
    decode_tokens: int
    prompt_ids: tuple[int, ...]  # each prompt is a prefix of them
    peer_pythons: tuple[Path, ...] = ()  # of other environments where a peer may be installed


class PreparedModels:
    """The candidates that can be measured: their folders, and the Python of each engine (None: this one)."""

    def __init__(self) -> None:
        self.pythons: dict[EngineName, Path | None] = {"ours": None}
        self.results: list[CandidateResult] = []
        self.folders: dict[str, Path] = {}
        self.absent_peers: dict[EngineName, str] = {}

    def add(self, candidate: Candidate, folder: Path, shape: GPT2Config, file_bytes: int) -> None:
        step_bytes = weight_bytes_per_step(candidate, shape, file_bytes)
        self.results.append(CandidateResult(candidate, file_bytes=file_bytes, step_bytes=step_bytes))
        self.folders[candidate.name] = folder


def make_weights(source: GPT2Config | Path, seed: int, folder: Path) -> None:
    """Writes random weights of a shape, or the weights of a model folder of asr33."""
    folder.mkdir()
    with open_worker("weights") as process:
        if isinstance(source, GPT2Config):
            process.ask("weights", shape=asdict(source), seed=seed, to=str(folder))
        else:
            process.ask("weights", model=str(source), to=str(folder))


def prepare_models(
    candidates: list[Candidate], shape: GPT2Config, weights: Path, settings: BenchSettings, on_progress: BenchProgress
) -> PreparedModels:
    """Writes each candidate's model beside the weights. Peers that are missing or fail are recorded in the result."""
    prepared = PreparedModels()
    for candidate in candidates:
        on_progress(f"writing models: {candidate.name}")
        if candidate.engine not in prepared.absent_peers:
            _prepare_model(candidate, shape, weights, settings, prepared)
        on_progress(f"writing models: {candidate.name}", 1)
    return prepared


def _prepare_model(
    candidate: Candidate, shape: GPT2Config, weights: Path, settings: BenchSettings, prepared: PreparedModels
) -> None:
    folder, engine, pythons = weights.parent / candidate.slug, candidate.engine, prepared.pythons
    folder.mkdir()
    try:
        pythons[engine] = _write_model(candidate, weights, folder, pythons, settings.peer_pythons)
    except PeerNotInstalled as error:
        prepared.absent_peers[engine] = _absence_message(engine, error)
    except WorkerFailed as error:
        prepared.results.append(CandidateResult(candidate, fault=str(error)))
    else:
        size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".json")
        prepared.add(candidate, folder, shape, size)


def _write_model(
    candidate: Candidate,
    weights: Path,
    folder: Path,
    known_pythons: dict[EngineName, Path | None],
    peer_pythons: Sequence[Path],
) -> Path | None:
    """Returns the first Python that could write the model. Raises PeerNotInstalled if none has the library."""
    engine = candidate.engine
    for python in [known_pythons[engine]] if engine in known_pythons else [*peer_pythons, None]:
        try:
            with open_worker(candidate.name, python) as process:
                model = {"engine_name": engine, "form": candidate.form, "block": candidate.block}
                process.ask("prepare", **model, weights=str(weights), to=str(folder))
            return python
        except PeerNotInstalled as error:
            absent = error
    raise absent


def _absence_message(engine: EngineName, error: PeerNotInstalled) -> str:
    """Returns why a peer is left out, and the cure. Raises PeerNotInstalled if asr33's own libraries are missing."""
    if engine == "ours":
        raise PeerNotInstalled(f"{error}: in asr33's folder, pip install '.[cpu]'") from None
    return f"{error}: {INSTALL_HINTS[engine]}, or name the Python of an environment that has it by --peer-python"


def run_rounds(
    prepared: PreparedModels, settings: BenchSettings, count: int, rng: random.Random, on_progress: BenchProgress
) -> list[list[str]]:
    """Measures each candidate once a round; returns the order. A candidate that fails is not measured again."""
    order = []
    with open_worker("the memory probe") as probe:
        for number in range(count):
            results = [result for result in prepared.results if not result.fault]
            rng.shuffle(results)
            order.append([result.candidate.name for result in results])
            for result in results:
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
    """Loads the model in a new process, warms it up, measures it, and adds the figures to the result."""
    candidate, ids = result.candidate, settings.prompt_ids
    with open_worker(candidate.name, prepared.pythons[candidate.engine]) as process:
        result.version = load_model(process, candidate, prepared.folders[candidate.name], settings)
        load_s = process.age_s
        resident = process.ask("memory")["resident"]
        short = ids[: min(DECODE_PROMPT_TOKENS, *settings.prompts)]
        process.ask("first", ids=short)
        process.ask("decode", ids=short, tokens=4)
        first_s, peak = {}, 0
        for prompt in sorted(settings.prompts):
            if prompt > PEAK_PROMPT_TOKENS:
                peak = peak or process.ask("memory")["peak"]
            first_s[prompt] = process.ask("first", ids=ids[:prompt])["seconds"]
        peak = peak or process.ask("memory")["peak"]
        before = probe.ask("bandwidth", threads=settings.threads)["bytes_per_s"]
        decode = process.ask("decode", ids=ids[:DECODE_PROMPT_TOKENS], tokens=settings.decode_tokens)
        after = probe.ask("bandwidth", threads=settings.threads)["bytes_per_s"]
        rate, bandwidth = settings.decode_tokens / decode["seconds"], (before + after) / 2
        result.visits.append(Measurement(load_s, resident, peak, first_s, rate, bandwidth))


def load_model(process: WorkerClient, candidate: Candidate, folder: Path, settings: BenchSettings) -> str:
    """Loads a candidate's model in the worker; returns the library's name and version."""
    model = {"engine_name": candidate.engine, "form": candidate.form, "folder": str(folder)}
    version: str = process.ask("load", **model, threads=settings.threads)["version"]
    return version
