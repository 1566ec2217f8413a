"""The app on Ray Serve, on this one machine: a replica killed in mid-sentence, one that comes and one that goes."""

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
PORT = 8971  # Ray's proxy does not say which it took


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
        found = subprocess.run(["pgrep", "-f", "ServeReplica:asr33"], capture_output=True, text=True, check=False)
        return sorted(map(int, found.stdout.split()))

    def terminate(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        self.output += self._process.communicate(timeout=60)[1]
        return self._process.returncode


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterProcess]:
    made = ClusterProcess(*request.param)
    try:
        yield made
    finally:
        assert made.terminate() == 0
        assert not made.replica_pids()


def make_client(conversation: str, pace: float) -> FailoverModel:
    about = CompletionRequest("", Sampling(), chars_per_second=pace, conversation=conversation)
    return FailoverModel(
        [RemoteModel(f"http://127.0.0.1:{PORT}", ClientConfig(request_template=about))], rng=random.Random(33)
    )


async def fetch_answer(conversation: str, prompt: str, pace: float = 0.0) -> str:
    model = make_client(conversation, pace)
    try:
        return "".join([piece.text async for piece in model.stream(prompt, LONG)])
    finally:
        await model.close()


@pytest.mark.parametrize("cluster", [("--replicas", "2:2")], indirect=True)
async def test_a_replica_killed_in_mid_sentence_leaves_the_paper_as_it_would_have_been(cluster: ClusterProcess) -> None:
    prompts = ["The sea was", "A machine that", "In the morning", "He had been"]
    undisturbed = [await fetch_answer(f"before {prompt}", prompt) for prompt in prompts]
    replicas = cluster.replica_pids()
    assert len(replicas) == 2
    printing = [asyncio.ensure_future(fetch_answer(prompt, prompt, pace=60)) for prompt in prompts]
    await asyncio.sleep(1.5)
    os.kill(random.Random(3).choice(replicas), signal.SIGKILL)
    assert await asyncio.gather(*printing) == undisturbed


@pytest.mark.parametrize("cluster", [("--replicas", "1:2", "--rows", "2", "--scale", "2:6")], indirect=True)
async def test_lines_bring_a_second_replica_and_their_end_takes_it_down(cluster: ClusterProcess) -> None:
    assert len(cluster.replica_pids()) == 1
    lines = [asyncio.ensure_future(request_forever(f"line {number}")) for number in range(6)]
    await until(lambda: len(cluster.replica_pids()) == 2, 60)
    for line in lines:
        line.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    await until(lambda: len(cluster.replica_pids()) == 1, 60)


async def request_forever(conversation: str) -> None:
    while True:
        await fetch_answer(conversation, "Once upon a time", pace=10)


async def until(holds: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.5)
