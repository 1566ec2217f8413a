"""A thousand generations in one process: its memory does not grow, and a token takes no longer at the end."""

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
from tools.bench.measure import make_weights
from tools.bench.results import relative_trend
from tools.bench.worker import BandwidthProbe, own_memory
from tools.bench.worker_client import WorkerClient, open_worker

pytestmark = pytest.mark.soak

GENERATIONS = 1000
WARM_UP_GENERATIONS = 100  # after these the memory has its final size
MAX_MEMORY_GROWTH = 0.02
MAX_TREND = 0.05  # of growth; a token may take less time, when other load on the machine ends
THREADS = 2
COMPARISON_ROUNDS = 61  # of an old process and a new one, in turn


def check_memory(resident: list[int]) -> None:
    lowest, highest = min(resident[WARM_UP_GENERATIONS:]), max(resident[WARM_UP_GENERATIONS:])
    assert highest <= (1 + MAX_MEMORY_GROWTH) * lowest, (lowest, highest)


async def test_1000_answers_do_not_change_memory_or_speed() -> None:
    model, probe = LocalModel(store.find_model(store.EMBEDDED), threads=THREADS), BandwidthProbe(THREADS)
    resident, costs = [], []
    try:
        for number in range(GENERATIONS):
            sampling = Sampling(max_tokens=24 + number % 17, seed=number, length=None)
            prompt = "The operator typed a line. " * (1 + number % 12)
            tokens, bandwidth, started_at = 0, probe.measure(), time.perf_counter()
            async with aclosing(model.stream(prompt, sampling)) as chunks:
                async for chunk in chunks:
                    if not tokens:
                        started_at = time.perf_counter()  # without the prefill
                    tokens += len(chunk.tokens)
            costs.append((time.perf_counter() - started_at) / max(1, tokens) * bandwidth)
            resident.append(own_memory()[0])
    finally:
        await model.close()
    check_memory(resident)
    trend = relative_trend(costs[WARM_UP_GENERATIONS:])
    assert trend < MAX_TREND, trend


def test_1000_generations_of_full_size_do_not_change_memory_or_speed(tmp_path: Path) -> None:
    weights, folder = tmp_path / "weights", tmp_path / "model"
    make_weights(SIZES["124M"], 33, weights)
    folder.mkdir()
    with open_worker("prepare") as worker:
        worker.ask("prepare", engine_name="ours", weights=str(weights), form="int8", block=128, to=str(folder))
    resident, costs = [], []
    with open_worker("ours int8") as worker, open_worker("probe") as probe:
        worker.ask("load", engine_name="ours", folder=str(folder), form="int8", threads=THREADS)
        for number in range(GENERATIONS):
            bandwidth = probe.ask("bandwidth", threads=THREADS)["bytes_per_s"]
            ids = [(number * 7919 + at * 104_729) % 50_257 for at in range(8 + number % 25)]
            costs.append(worker.ask("decode", ids=ids, tokens=16)["seconds"] * bandwidth)
            resident.append(worker.ask("memory")["resident"])
        with open_worker("ours int8, fresh") as fresh:
            fresh.ask("load", engine_name="ours", folder=str(folder), form="int8", threads=THREADS)
            ratios = [time_decode(worker) / time_decode(fresh) for _ in range(COMPARISON_ROUNDS)]
    check_memory(resident)
    # Other load on the machine has trends too, and the memory probe does not show all of them. They slow a new process
    # equally, so a failure shows the comparison with a new process too.
    assert median(ratios) < 1 + MAX_TREND, median(ratios)
    trend = relative_trend(costs[WARM_UP_GENERATIONS:])
    assert trend < MAX_TREND, (trend, median(ratios))


def time_decode(client: WorkerClient) -> float:
    seconds: float = client.ask("decode", ids=list(range(16)), tokens=32)["seconds"]
    return seconds
