"""The server on Ray Serve on this machine: a killed replica, a new one, and one that ends."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.client.failover import FailoverModel
from model.client.http_client import ClientConfig
from model.client.remote_model import RemoteModel
from model.interface import CompletionRequest, Sampling

pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[1]
LONG = Sampling(temperature=0.0, max_tokens=120)
PORT = 8971  # fixed, because Ray does not tell which port it took


class ClusterProcess:
    """`asr33 serve --ray` as a process of its own."""

    def __init__(self, *options: str) -> None:
        serve = [sys.executable, "-m", "tools.main", "serve"]
        command = [*serve, "--ray", "--port", str(PORT), "--threads", "1", *options]
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stderr
        self.output = ""
        while "http://" not in (line := self._process.stderr.readline()):
            assert line, self.output
            self.output += line

    def replica_pids(self) -> list[int]:
        """The processes that hold a model."""
        pgrep = subprocess.run(["pgrep", "-f", "ServeReplica:asr33"], capture_output=True, text=True, check=False)
        return sorted(map(int, pgrep.stdout.split()))

    def terminate(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        self.output += self._process.communicate(timeout=60)[1]
        return self._process.returncode


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterProcess]:
    process = ClusterProcess(*request.param)
    try:
        yield process
    finally:
        assert process.terminate() == 0
        assert not process.replica_pids()


def make_client(conversation: str, speed: float) -> FailoverModel:
    template = CompletionRequest("", Sampling(), chars_per_second=speed, conversation=conversation)
    return FailoverModel(
        [RemoteModel(f"http://127.0.0.1:{PORT}", ClientConfig(request_template=template))], rng=random.Random(33)
    )


async def fetch_answer(conversation: str, prompt: str, speed: float = 0.0) -> str:
    model = make_client(conversation, speed)
    try:
        return "".join([chunk.text async for chunk in model.stream(prompt, LONG)])
    finally:
        await model.close()


@pytest.mark.parametrize("cluster", [("--replicas", "2:2")], indirect=True)
async def test_a_killed_replica_leaves_the_answers_unchanged(cluster: ClusterProcess) -> None:
    prompts = ["The sea was", "A machine that", "In the morning", "He had been"]
    undisturbed = [await fetch_answer(f"before {prompt}", prompt) for prompt in prompts]
    replicas = cluster.replica_pids()
    assert len(replicas) == 2
    printing = [asyncio.ensure_future(fetch_answer(prompt, prompt, speed=60)) for prompt in prompts]
    await asyncio.sleep(1.5)
    os.kill(random.Random(3).choice(replicas), signal.SIGKILL)
    assert await asyncio.gather(*printing) == undisturbed


@pytest.mark.parametrize("cluster", [("--replicas", "1:2", "--rows", "2", "--scale", "2:6")], indirect=True)
async def test_load_starts_a_second_replica_and_its_end_stops_it(cluster: ClusterProcess) -> None:
    assert len(cluster.replica_pids()) == 1
    clients = [asyncio.ensure_future(request_forever(f"client {number}")) for number in range(6)]
    await wait_until(lambda: len(cluster.replica_pids()) == 2, 60)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await wait_until(lambda: len(cluster.replica_pids()) == 1, 60)


async def request_forever(conversation: str) -> None:
    while True:
        await fetch_answer(conversation, "Once upon a time", speed=10)


async def wait_until(is_met: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_met():
        assert time.monotonic() < end
        await asyncio.sleep(0.5)
