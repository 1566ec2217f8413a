"""`asr33 bench --simulate`: the real scheduler on a clock that jumps, compared with the real engine in real time."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.openai_api import response
from model.openai_api.request import OpenAIRequest
from model.server.engine.counters import EngineCounters
from model.server.engine.encoder import BatchEngine as Served
from model.server.engine.engine_thread import BatchModel
from tools.bench.load import figures
from tools.bench.load.figures import LoadFigures, ProcessCost
from tools.bench.load.generator import LoadSettings, run_clients
from tools.bench.load.http_client import ServerUnderTest
from tools.bench.simulate import engine_costs, reconnect_storm, replica, simulation
from tools.bench.simulate.cluster import SimulatedCluster
from tools.bench.simulate.engine_costs import EngineCostTable
from tools.bench.simulate.ray_policies import Autoscaler, HashRing
from tools.bench.simulate.reconnect_storm import Outage
from tools.bench.simulate.scenario import Scenario
from tools.cli.errors import ToolError
from tools.main import main

ROOT = Path(__file__).resolve().parents[1]
QUICK = EngineCostTable("quick", "made up", ((1, 20.0, 20.0), (101, 320.0, 320.0)), (5.0, 0.5), 1000, 1000, draw_ms=0.1)
TWO_CORES = engine_costs.COST_TABLES["two-cores"]
SLOW = replace(QUICK, steps=((1, 20.0, 20.0), (101, 1020.0, 1020.0)))  # too slow by half for 60 printers


class FakeTokenizer:
    """A vocabulary that grows with each new word."""

    end_of_text, max_token_bytes = 0, 4

    def bytes_of(self, token: int) -> bytes:
        return replica.WORD.encode()

    def encode_lines(self, text: str) -> list[int]:
        return replica.word_ids(text)[1:]


class SleepingSession:
    """A session whose passes sleep as long as the cost table says."""

    context = 256

    def __init__(self, costs: EngineCostTable, count: int) -> None:
        self.count, self._costs = count, costs
        self._logits = np.full((count, 600), -50, np.float32)
        self._logits[:, replica.word_ids(replica.WORD)[1]] = 50

    def prefill(self, slot: int, past_length: int, token_ids: Sequence[int]) -> NDArray[np.float32]:
        time.sleep(self._costs.prefill_s(len(token_ids)))
        logits: NDArray[np.float32] = self._logits[0]
        return logits

    def decode_step(
        self, first_slot: int, past_lengths: Sequence[int], token_ids: Sequence[int], wanted: Sequence[int]
    ) -> NDArray[np.float32]:
        time.sleep(self._costs.step_s(len(token_ids), sum(past_lengths) / len(past_lengths)))
        return self._logits[: len(wanted)]

    def copy_cache(self, source: int, target: int, length: int) -> None:
        pass


class DirectServer:
    """The part of a server that the load generator uses, without HTTP."""

    def __init__(self, model: BatchModel) -> None:
        self._model = model

    async def stream_completion(self, request: OpenAIRequest) -> AsyncGenerator[response.CompletionChunk, None]:
        async for chunk in self._model.stream(request.completion):
            yield response.CompletionChunk("", 0, "", chunk.text, chunk.tokens, chunk.finish_reason)

    async def prefill(self, request: OpenAIRequest) -> None:
        await self._model.prefill(request.completion)

    async def fetch_counters(self) -> dict[str, float]:
        return asdict(self._model.counters())


async def run_real_model(costs: EngineCostTable, scenario: Scenario) -> tuple[LoadFigures, EngineCounters]:
    """Runs the load generator and the real engine thread in real time."""
    session = SleepingSession(costs, scenario.cache_slots)
    model = BatchModel(lambda: Served(session, FakeTokenizer(), 600, "none"), batch_size=scenario.batch_size)
    try:
        await model.wait_until_loaded()
        settings = LoadSettings(scenario.clients, scenario.seconds, is_continuous=scenario.is_continuous)
        settings = replace(settings, ramp_up_s=scenario.ramp_up_s, seed=scenario.seed)
        server = cast(ServerUnderTest, DirectServer(model))
        run = await run_clients(server, settings, lambda what, parts=0: None, lambda: (0.0, 0.0))
        return figures.compute_figures(run.records, run.span, ProcessCost(0)), model.counters()
    finally:
        await model.close()


def simulate(costs: EngineCostTable, scenario: Scenario) -> tuple[LoadFigures, EngineCounters]:
    def make_rng(name: str) -> random.Random:
        return random.Random(f"{scenario.seed} {name.rpartition('-')[2]}")  # as the load generator does

    cluster = SimulatedCluster(scenario, costs, make_rng)
    records, span = cluster.run()
    return figures.compute_figures(records, span, ProcessCost(0)), cluster.replicas[0].counters()


Run = tuple[LoadFigures, EngineCounters]


def assert_runs_agree(scenario: Scenario, real: Run, simulated: Run) -> None:
    """Tokens agree within a tenth; passes, waits and stalls within a third."""
    (figures, counters), (expected, expected_counters) = real, simulated
    assert_same_work(real, simulated)
    assert expected_counters.steps == pytest.approx(counters.steps, rel=1 / 3, abs=3)
    if figures.waits and expected.waits and not figures.stalls:
        assert expected.waits.median == pytest.approx(figures.waits.median, rel=1 / 3, abs=0.1)
    assert expected.stalled_s == pytest.approx(figures.stalled_s, rel=1 / 3, abs=0.05 * scenario.clients)


def assert_same_work(real: Run, simulated: Run) -> None:
    (figures, counters), (expected, expected_counters) = real, simulated
    assert expected.tokens_per_s == pytest.approx(figures.tokens_per_s, rel=0.1)
    assert expected_counters.read == pytest.approx(counters.read, rel=0.1)


CONTINUOUS = Scenario(40, 4.0, batch_size=70, cache_slots=80, is_continuous=True, ramp_up_s=0.5)
CONTINUOUS = replace(CONTINUOUS, latency_s=0.0, jitter_s=0.0)


@pytest.mark.alone
async def test_simulation_agrees_with_the_real_engine() -> None:
    """One of three tries must agree: other load on the machine spoils a try, but a wrong simulation never agrees."""
    simulated = simulate(QUICK, CONTINUOUS)
    for tries_left in (2, 1, 0):
        try:
            assert_runs_agree(CONTINUOUS, await run_real_model(QUICK, CONTINUOUS), simulated)
            break
        except AssertionError:
            if not tries_left:
                raise


@pytest.mark.soak
async def test_simulation_agrees_with_the_real_engine_for_a_minute() -> None:
    """With the pauses of users, 20 and 60 clients."""
    users = replace(CONTINUOUS, is_continuous=False, seconds=60.0, ramp_up_s=10.0)
    scenarios = [replace(users, clients=20), replace(users, clients=60)]
    real = await asyncio.gather(*(run_real_model(QUICK, scenario) for scenario in scenarios))
    for scenario, run in zip(scenarios, real, strict=True):
        assert_runs_agree(scenario, run, simulate(QUICK, scenario))


@pytest.mark.soak
async def test_simulation_agrees_with_an_overloaded_engine_for_a_minute() -> None:
    """The stalls differ by a fifth between seeds, by the order of the slots at first. So three seeds are summed."""
    scenarios = [replace(CONTINUOUS, clients=60, seconds=60.0, ramp_up_s=10.0, seed=seed) for seed in (33, 34, 35)]
    real = await asyncio.gather(*(run_real_model(SLOW, scenario) for scenario in scenarios))
    simulated = [simulate(SLOW, scenario) for scenario in scenarios]
    for run, expected in zip(real, simulated, strict=True):
        assert_same_work(run, expected)
        assert run[1].step_s == pytest.approx(expected[1].step_s, rel=0.1)
    stalled_s = [sum(result.stalled_s for result, _ in runs) for runs in (real, simulated)]
    assert stalled_s[0]
    assert stalled_s[1] == pytest.approx(stalled_s[0], rel=1 / 3)


def test_deadline_scheduling_carries_more_than_first_come_first_served() -> None:
    scenario = Scenario(355, 60.0, 30.0, batch_size=480, cache_slots=480, max_answers=10_000, is_continuous=True)
    paper, arrival = (simulate(TWO_CORES, replace(scenario, policy=policy))[0] for policy in ("paper", "arrival"))
    assert not paper.stalls
    assert arrival.stalls


def test_new_replica_takes_only_its_share_of_the_ring() -> None:
    names = [f"replica {number}" for number in range(10)]
    before, after = HashRing(names), HashRing([*names, "another"])
    moved = [name for name in map(str, range(2000)) if before.home_replica(name) != after.home_replica(name)]
    assert {after.home_replica(name) for name in moved} == {"another"}
    assert 80 < len(moved) < 320
    clients = Counter(before.home_replica(str(number)) for number in range(5000))
    assert 250 < min(clients.values()) <= max(clients.values()) < 800
    ranked = before.ranked_replicas("a")
    assert ranked[0] == before.home_replica("a")
    assert len(set(ranked)) == 3


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 500))
def test_step_time_grows_with_rows_and_past(rows: int, more: int, past: int) -> None:
    for costs in engine_costs.COST_TABLES.values():
        times = costs.step_s(rows, past), costs.step_s(rows + more, past), costs.step_s(rows + more, past + 50)
        assert 0 < times[0] <= times[1] + 1e-9 <= times[2] + 2e-9


def test_cost_tables_have_the_measured_times_and_name_bounds() -> None:
    assert [round(1000 * TWO_CORES.step_s(rows, 200), 1) for rows in (1, 8, 128)] == [4.1, 11.7, 95.0]
    assert 1000 * TWO_CORES.step_s(128, 32) == pytest.approx(63.6)
    assert 4 * TWO_CORES.prefill_s(128) == pytest.approx(0.2, rel=0.1)
    bounds = [table for name, table in engine_costs.COST_TABLES.items() if name.endswith("-bound")]
    assert all("no GPU was measured" in table.source for table in bounds)


VALID_COSTS = {"name": "x", "source": "y", "a_token": 1, "weights": 1, "steps": [[1, 1, 1]], "piece": [1, 1]}


@pytest.mark.parametrize(
    "costs",
    [
        [],
        {**VALID_COSTS, "rows": 3},
        {**VALID_COSTS, "steps": [[1, 2]]},
        {**VALID_COSTS, "steps": [[1, 0, 1]]},
        {**VALID_COSTS, "steps": [[1, 1, float("nan")]]},
        {**VALID_COSTS, "front_ms": "x"},
        {**VALID_COSTS, "cores": -1},
    ],
)
def test_invalid_engine_costs_are_refused(costs: object) -> None:
    with pytest.raises(ToolError, match="engine costs") as caught:
        engine_costs.parse_engine_costs(costs)
    assert caught.value.kind == "damaged"


def test_answers_of_a_failed_replica_continue_elsewhere() -> None:
    scenario = Scenario(24, 40.0, replicas=3, batch_size=40, cache_slots=60, is_continuous=True, ramp_up_s=2.0)
    scenario = replace(scenario, failure_times=(10.0,), startup_s=5.0)
    cluster = SimulatedCluster(scenario, TWO_CORES, random.Random)
    cluster.run()
    interrupted = [client for client in cluster.clients if client.interruptions]
    assert len(interrupted) == cluster.moved_answers > 0
    assert [count for _, count in cluster.replica_counts] == [1, 2, 3, 2, 3]
    for client in cluster.clients:
        answers = client.record.print_buffer.answers
        assert len(answers) >= 1
        assert all(answer.characters % 4 == 0 and answer.characters >= 40 for answer in answers)


@pytest.mark.parametrize("replicas", [1, 2])
def test_replica_does_not_fail_again_before_detection(replicas: int) -> None:
    scenario = Scenario(6, 20.0, replicas=replicas, failure_times=(2.0, 3.0, 4.0), detection_s=3.0, startup_s=2.0)
    cluster = SimulatedCluster(scenario, TWO_CORES, random.Random)
    cluster.run()
    assert len(cluster.failed_at) == replicas
    assert cluster.replica_counts[-1][1] == replicas


def test_clients_wait_for_the_next_replica_if_none_is_left() -> None:
    scenario = Scenario(6, 20.0, is_continuous=True, ramp_up_s=2.0, failure_times=(5.0, 18.0), startup_s=4.0)
    run = simulation.run_scenario(scenario, TWO_CORES)
    assert run.there == ((0.0, 1), (5.0, 0), (9.0, 1), (18.0, 0))


@pytest.mark.parametrize("moments", ["", "60,", "nan", "-5", "x"])
def test_invalid_failure_times_are_refused(moments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--clients", "3", "--simulate", "--minutes", "0.1", f"--failures={moments}"])
    assert "is not a list of seconds such as 60,90" in capsys.readouterr().err


def test_autoscaler_follows_the_number_of_answers() -> None:
    scenario = Scenario(1, 1.0, max_replicas=4, target_answers=10, scale_down_delay_s=60.0)
    scaler, replicas, starting = Autoscaler(scenario), 1, list[float]()
    counts = []
    for tick in range(60):
        now = tick * scaler.tick_s
        replicas += sum(at <= now for at in starting)
        starting = [at for at in starting if at > now]
        delta = scaler.replica_delta(now, 35 if tick < 20 else 5, replicas)
        starting += [now + scenario.startup_s] * max(delta, 0)
        replicas += min(delta, 0)
        counts.append(replicas)
    assert (counts[0], max(counts), counts[-1]) == (1, 4, 1)


def test_all_clients_reconnect_and_attempts_at_a_late_server_time_out() -> None:
    few = reconnect_storm.simulate_reconnect(Outage(100, 5.0), random.Random(1))
    assert few.knocks == 100
    assert few.last < 9
    many = reconnect_storm.simulate_reconnect(Outage(3000, 1.0, places=3000, knock_s=0.01), random.Random(1))
    assert many.left > 0
    assert many.last > many.within_s
    full = reconnect_storm.simulate_reconnect(Outage(301, 1.0, doors=3, places=60), random.Random(1))
    assert full.refused > 0


def test_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["bench", "--simulate", "--clients", "60", "--each", "10", "--minutes", ".2", "--sample", "2"]
    assert main(small) == 0
    assert "2 of 6 replicas were simulated" in capsys.readouterr().out
    assert main([*small, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["simulated"], report["runs"][0]["replicas"]) == (True, 6)
    assert main(["bench", "--simulate", "--clients", "500", "--outage", "5"]) == 0
    assert "500 clients at 5 servers" in capsys.readouterr().out


def test_sampled_replicas_represent_all() -> None:
    scenario = Scenario(60, 20.0, replicas=6, batch_size=40, cache_slots=60, is_continuous=True, ramp_up_s=5.0)
    whole, part = (simulation.run_scenario(replace(scenario, sampled_replicas=sample), QUICK) for sample in (0, 3))
    assert part.figures.lines < whole.figures.lines == 60
    assert part.bill.core_ms == pytest.approx(whole.bill.core_ms, rel=0.3)
    assert simulation.event_bytes("parrot") + simulation.CHUNK_BYTES == 244


def test_installed_command_without_the_simulator_says_so_in_one_line() -> None:
    code = "import sys; sys.modules['tools.bench.simulate'] = None; from tools.main import main; sys.exit(main())"
    words = ["bench", "--clients", "3", "--simulate", "--sample", "2"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout) == (69, "")
    cure = "run it in a checkout of the repository"
    assert done.stderr == f"asr33: --simulate: the simulator is not part of an installed asr33; {cure}\n"
