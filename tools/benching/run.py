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

from model.base import Shape
from tools.benching.candidates import CURES, Candidate, Engine, step_bytes
from tools.benching.errors import PeerAbsent, WorkerFailed
from tools.benching.figures import Result, Visit
from tools.benching.pipe import Asked, worker
from tools.benching.progress import Tell

DECODED_AFTER = 32  # tokens of prompt
PEAK_UP_TO = 512  # the longest prompt that the peak memory is taken after


@dataclass(frozen=True, slots=True)
class Setting:
    """What all candidates have in common."""

    threads: int
    prompts: tuple[int, ...]
    tokens: int  # decoded in one visit
    ids: tuple[int, ...]  # every prompt is their beginning
    pythons: tuple[Path, ...] = ()  # of the environments where a peer may live, beside ours


class Prepared:
    """Who is there to be measured, where its model lies, and which Python each engine has; None is ours."""

    def __init__(self) -> None:
        self.pythons: dict[Engine, Path | None] = {"ours": None}
        self.results: list[Result] = []
        self.folders: dict[str, Path] = {}
        self.absent: dict[Engine, str] = {}

    def add(self, candidate: Candidate, folder: Path, shape: Shape, size: int) -> None:
        result = Result(candidate, file_bytes=size, step_bytes=step_bytes(candidate, shape, size))
        self.results.append(result)
        self.folders[candidate.name] = folder


def make_weights(source: Shape | Path, seed: int, to: Path) -> None:
    """Random weights of a shape, or those of a model of ours."""
    to.mkdir()
    with worker("weights") as process:
        if isinstance(source, Shape):
            process.ask("weights", shape=asdict(source), seed=seed, to=str(to))
        else:
            process.ask("weights", model=str(source), to=str(to))


def prepare(candidates: Sequence[Candidate], shape: Shape, weights: Path, setting: Setting, tell: Tell) -> Prepared:
    """Each candidate's model from the weights, beside them. A peer that is not there, or cannot, is noted."""
    prepared = Prepared()
    for candidate in candidates:
        tell(f"writing models: {candidate.name}")
        if candidate.engine in prepared.absent:
            tell(f"writing models: {candidate.name}", 1)
            continue
        to = weights.parent / candidate.slug
        to.mkdir()
        try:
            prepared.pythons[candidate.engine] = _write(candidate, weights, to, prepared.pythons, setting.pythons)
        except PeerAbsent as error:
            prepared.absent[candidate.engine] = _absence(candidate.engine, error)
        except WorkerFailed as error:
            prepared.results.append(Result(candidate, fault=str(error)))
        else:
            size = sum(path.stat().st_size for path in to.iterdir() if path.suffix != ".json")
            prepared.add(candidate, to, shape, size)
        tell(f"writing models: {candidate.name}", 1)
    return prepared


def _write(
    candidate: Candidate, weights: Path, to: Path, known: dict[Engine, Path | None], pythons: Sequence[Path]
) -> Path | None:
    """Have a candidate's model written; gives the Python that could. Raises PeerAbsent where none can."""
    engine = candidate.engine
    tried = [known[engine]] if engine in known else [*pythons, None]
    for python in tried:
        try:
            with worker(candidate.name, python) as process:
                what = {"engine_name": engine, "form": candidate.form, "block": candidate.block}
                process.ask("prepare", **what, weights=str(weights), to=str(to))
            return python
        except PeerAbsent as error:
            absent = error
    raise absent


def _absence(engine: Engine, error: PeerAbsent) -> str:
    """Why a peer is left out, and what helps. Raises PeerAbsent where it is not a peer but ourselves."""
    if engine == "ours":
        raise PeerAbsent(f"{error}: in asr33's folder, pip install '.[cpu]'") from None
    return f"{error}: {CURES[engine]}, or name the Python of an environment that has it by --peer-python"


def rounds(prepared: Prepared, setting: Setting, count: int, chance: random.Random, tell: Tell) -> list[list[str]]:
    """Visit everyone once a round; gives the order. Who fails is noted, and not visited again."""
    order = []
    with worker("the probe of the memory") as probe:
        for number in range(count):
            there = [result for result in prepared.results if not result.fault]
            chance.shuffle(there)
            order.append([result.candidate.name for result in there])
            for result in there:
                tell(f"round {number + 1} of {count}: {result.candidate.name}")
                try:
                    visited(result, prepared, setting, probe)
                except (WorkerFailed, PeerAbsent) as error:
                    result.fault = str(error)
                tell(f"round {number + 1} of {count}: {result.candidate.name}", 1)
    return order


def visited(result: Result, prepared: Prepared, setting: Setting, probe: Asked) -> None:
    """One process: loaded, warmed by a little work, then measured. Its figures are put with those of the result."""
    candidate = result.candidate
    with worker(candidate.name, prepared.pythons[candidate.engine]) as process:
        result.version = load(process, candidate, prepared.folders[candidate.name], setting)
        load_s = process.age
        resident = process.ask("memory")["resident"]
        short = setting.ids[: min(DECODED_AFTER, *setting.prompts)]
        process.ask("first", ids=short)
        process.ask("decode", ids=short, tokens=4)
        first, peak = {}, 0
        for prompt in sorted(setting.prompts):
            if prompt > PEAK_UP_TO:
                peak = peak or process.ask("memory")["peak"]
            first[prompt] = process.ask("first", ids=setting.ids[:prompt])["seconds"]
        peak = peak or process.ask("memory")["peak"]
        before = probe.ask("bandwidth", threads=setting.threads)["bytes_per_s"]
        seconds = process.ask("decode", ids=setting.ids[:DECODED_AFTER], tokens=setting.tokens)["seconds"]
        after = probe.ask("bandwidth", threads=setting.threads)["bytes_per_s"]
        bandwidth = (before + after) / 2
        result.visits.append(Visit(load_s, resident, peak, first, setting.tokens / seconds, bandwidth))


def load(process: Asked, candidate: Candidate, folder: Path, setting: Setting) -> str:
    """Have a candidate's model loaded; gives what the library calls itself."""
    what = {"engine_name": candidate.engine, "form": candidate.form, "threads": setting.threads}
    version: str = process.ask("load", **what, folder=str(folder))["version"]
    return version
