"""A thousand generations in one process: memory stays, and a token takes no longer at the end than at the start."""

from __future__ import annotations

import time
from contextlib import aclosing
from pathlib import Path
from statistics import median

import pytest

from model.generate.local_model import LocalModel
from model.interface import Sampling
from model.store import store
from tools.bench.candidates import SIZES
from tools.bench.figures import relative_trend
from tools.bench.memory_bandwidth import BandwidthProbe
from tools.bench.run import make_weights
from tools.bench.worker import own_memory
from tools.bench.worker_client import WorkerClient, open_worker

pytestmark = pytest.mark.soak

GENERATIONS = 1000
WARM_UP_GENERATIONS = 100  # generations after which whatever a process keeps is there
MAX_MEMORY_GROWTH = 0.02
MAX_TREND = 0.05  # of growth; when what else runs on the machine ends, a token takes less, and that is no fault
THREADS = 2
COMPARISON_ROUNDS = 61  # rounds of an old process and a new one, in turn


def is_flat(resident: list[int]) -> bool:
    return max(resident[WARM_UP_GENERATIONS:]) <= (1 + MAX_MEMORY_GROWTH) * min(resident[WARM_UP_GENERATIONS:])


async def test_a_thousand_answers_leave_memory_and_pace_as_they_were() -> None:
    model, probe = LocalModel(store.find_model(store.EMBEDDED), threads=THREADS), BandwidthProbe(THREADS)
    resident, burdens = [], []
    try:
        for number in range(GENERATIONS):
            sampling = Sampling(max_tokens=24 + number % 17, seed=number, length=None)
            prompt = "The operator typed a line. " * (1 + number % 12)
            tokens, bandwidth, begun = 0, probe.measure(), time.perf_counter()
            async with aclosing(model.stream(prompt, sampling)) as pieces:
                async for piece in pieces:
                    if not tokens:
                        begun = time.perf_counter()  # the prompt's own time is another matter
                    tokens += len(piece.tokens)
            burdens.append((time.perf_counter() - begun) / max(1, tokens) * bandwidth)
            resident.append(own_memory()[0])
    finally:
        await model.close()
    assert is_flat(resident), (min(resident[WARM_UP_GENERATIONS:]), max(resident[WARM_UP_GENERATIONS:]))
    assert relative_trend(burdens[WARM_UP_GENERATIONS:]) < MAX_TREND, relative_trend(burdens[WARM_UP_GENERATIONS:])


def test_a_thousand_generations_of_the_full_size_leave_memory_and_pace_as_they_were(tmp_path: Path) -> None:
    weights, folder = tmp_path / "weights", tmp_path / "model"
    make_weights(SIZES["124M"], 33, weights)
    folder.mkdir()
    with open_worker("prepare") as one:
        one.ask("prepare", engine_name="ours", weights=str(weights), form="int8", block=128, to=str(folder))
    resident, burdens = [], []
    with open_worker("ours int8") as one, open_worker("probe") as probe:
        one.ask("load", engine_name="ours", folder=str(folder), form="int8", threads=THREADS)
        for number in range(GENERATIONS):
            bandwidth = probe.ask("bandwidth", threads=THREADS)["bytes_per_s"]
            ids = [(number * 7919 + at * 104_729) % 50_257 for at in range(8 + number % 25)]
            burdens.append(one.ask("decode", ids=ids, tokens=16)["seconds"] * bandwidth)
            resident.append(one.ask("memory")["resident"])
        with open_worker("ours int8, fresh") as fresh:
            fresh.ask("load", engine_name="ours", folder=str(folder), form="int8", threads=THREADS)
            older = [time_decode(one) / time_decode(fresh) for _ in range(COMPARISON_ROUNDS)]
    assert is_flat(resident), (min(resident[WARM_UP_GENERATIONS:]), max(resident[WARM_UP_GENERATIONS:]))
    # A machine with other guests has trends of its own, and a probe of the memory does not feel all of them; a process
    # that has only just begun does: what it says stands beside a trend that is refused.
    assert median(older) < 1 + MAX_TREND, median(older)
    assert relative_trend(burdens[WARM_UP_GENERATIONS:]) < MAX_TREND, (
        relative_trend(burdens[WARM_UP_GENERATIONS:]),
        median(older),
    )


def time_decode(client: WorkerClient) -> float:
    seconds: float = client.ask("decode", ids=list(range(16)), tokens=32)["seconds"]
    return seconds
