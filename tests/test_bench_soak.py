"""A thousand generations in one process: memory stays, and a token takes no longer at the end than at the start."""

from __future__ import annotations

import time
from contextlib import aclosing
from pathlib import Path
from statistics import median

import pytest

from model import store
from model.base import Sampling
from model.local import Local
from tools.benching.candidates import SIZES
from tools.benching.figures import slope
from tools.benching.pipe import Asked, worker
from tools.benching.probe import Probe
from tools.benching.run import make_weights
from tools.benching.worker import resident_and_peak

pytestmark = pytest.mark.soak

TIMES = 1000
SETTLED = 100  # generations after which whatever a process keeps is there
FLAT = 0.02
TREND = 0.05  # of growth; when what else runs on the machine ends, a token takes less, and that is no fault
THREADS = 2
AGAIN = 61  # rounds of an old process and a new one, in turn


def flat(resident: list[int]) -> bool:
    return max(resident[SETTLED:]) <= (1 + FLAT) * min(resident[SETTLED:])


async def test_a_thousand_answers_leave_memory_and_pace_as_they_were() -> None:
    model, probe = Local(store.find(store.EMBEDDED), threads=THREADS), Probe(THREADS)
    resident, burdens = [], []
    try:
        for number in range(TIMES):
            sampling = Sampling(max_tokens=24 + number % 17, seed=number, length=None)
            prompt = "The operator typed a line. " * (1 + number % 12)
            tokens, bandwidth, begun = 0, probe.bytes_per_s(), time.perf_counter()
            async with aclosing(model.stream(prompt, sampling)) as pieces:
                async for piece in pieces:
                    if not tokens:
                        begun = time.perf_counter()  # the prompt's own time is another matter
                    tokens += len(piece.tokens)
            burdens.append((time.perf_counter() - begun) / max(1, tokens) * bandwidth)
            resident.append(resident_and_peak()[0])
    finally:
        await model.close()
    assert flat(resident), (min(resident[SETTLED:]), max(resident[SETTLED:]))
    assert slope(burdens[SETTLED:]) < TREND, slope(burdens[SETTLED:])


def test_a_thousand_generations_of_the_full_size_leave_memory_and_pace_as_they_were(tmp_path: Path) -> None:
    weights, folder = tmp_path / "weights", tmp_path / "model"
    make_weights(SIZES["124M"], 33, weights)
    folder.mkdir()
    with worker("prepare") as one:
        one.ask("prepare", engine_name="ours", weights=str(weights), form="int8", block=128, to=str(folder))
    resident, burdens = [], []
    with worker("ours int8") as one, worker("probe") as probe:
        one.ask("load", engine_name="ours", folder=str(folder), form="int8", threads=THREADS)
        for number in range(TIMES):
            bandwidth = probe.ask("bandwidth", threads=THREADS)["bytes_per_s"]
            ids = [(number * 7919 + at * 104_729) % 50_257 for at in range(8 + number % 25)]
            burdens.append(one.ask("decode", ids=ids, tokens=16)["seconds"] * bandwidth)
            resident.append(one.ask("memory")["resident"])
        with worker("ours int8, fresh") as fresh:
            fresh.ask("load", engine_name="ours", folder=str(folder), form="int8", threads=THREADS)
            older = [decoded(one) / decoded(fresh) for _ in range(AGAIN)]
    assert flat(resident), (min(resident[SETTLED:]), max(resident[SETTLED:]))
    # A machine with other guests has trends of its own, and a probe of the memory does not feel all of them; a process
    # that has only just begun does: what it says stands beside a trend that is refused.
    assert median(older) < 1 + TREND, median(older)
    assert slope(burdens[SETTLED:]) < TREND, (slope(burdens[SETTLED:]), median(older))


def decoded(one: Asked) -> float:
    seconds: float = one.ask("decode", ids=list(range(16)), tokens=32)["seconds"]
    return seconds
