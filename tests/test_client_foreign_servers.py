"""The client with foreign servers that run the embedded model; `make peers` installs the servers."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fakes_foreign_servers
import pytest
from fakes_flaky_network import FaultyProxy, cut_at_token
from fakes_foreign_servers import PeerServer
from fakes_openai_server import text_of
from fakes_sandbox import open_sandbox, wait_for

from model.client.failover import FailoverModel
from model.client.remote_model import RemoteModel
from model.interface import Sampling, TextChunk

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "The old telegraph office"
GREEDY = Sampling(temperature=0.0, top_k=0, repetition_penalty=1.0, max_tokens=60)
WORDS = re.compile(rb'"text": ?"[^"]')

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module", params=list(fakes_foreign_servers.COMMANDS))
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerServer]:
    program = fakes_foreign_servers.COMMANDS[request.param][0]
    if not program.exists():
        pytest.skip(f"{request.param} is not installed: make peers")
    folder = tmp_path_factory.mktemp("peer")
    fakes_foreign_servers.write_embedded_gguf(folder / "embedded.gguf")
    with fakes_foreign_servers.run_peer(request.param, folder / "embedded.gguf", folder) as server:
        yield server


def unstreamed_text(peer: PeerServer, prompt: str, sampling: Sampling) -> str:
    """Asks for the answer without a stream and without the code under test."""
    body = {"prompt": prompt, "max_tokens": sampling.max_tokens, "temperature": 0, "repeat_penalty": 1.0, "top_k": 0}
    request = urllib.request.Request(
        f"{peer.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.load(reply)["choices"][0]["text"])


async def answer(peer: PeerServer | FaultyProxy, sampling: Sampling = GREEDY, prompt: str = PROMPT) -> list[TextChunk]:
    model = FailoverModel([RemoteModel(peer.url)], rng=random.Random(33))
    try:
        return [chunk async for chunk in model.stream(prompt, sampling)]
    finally:
        await model.close()


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASR33_")}
    return subprocess.run(
        [sys.executable, "-m", "tools.main", *words], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


async def test_the_stream_is_the_unstreamed_text(peer: PeerServer) -> None:
    chunks = await answer(peer)
    assert text_of(chunks) == unstreamed_text(peer, PROMPT, GREEDY)
    assert sum(chunk.text != "" for chunk in chunks) > 20
    assert chunks[-1].finish_reason == "length"


async def test_an_answer_ends_at_a_stop_and_at_its_length(peer: PeerServer) -> None:
    expected = unstreamed_text(peer, PROMPT, GREEDY)
    stop = expected.split()[8]
    chunks = await answer(peer, replace(GREEDY, stop=(f" {stop}",)))
    assert text_of(chunks) == expected[: expected.index(f" {stop}")]
    chunks = await answer(peer, Sampling(temperature=0.8, seed=5, length=80))
    assert chunks[-1].finish_reason in ("sentence", "end")
    assert 80 <= len(text_of(chunks)) < 400 or chunks[-1].finish_reason == "end"


def test_ask_and_demo_print_the_answer(peer: PeerServer, tmp_path: Path) -> None:
    greedy = ("--temperature", "0", "--max-tokens", "40")
    ask = run_command("ask", PROMPT, "--model", peer.url, *greedy)
    assert (ask.returncode, ask.stderr) == (0, "")
    demo = run_command("demo", "--fast", "--prompt", PROMPT, "--model", peer.url, "--log", str(tmp_path), *greedy)
    assert demo.returncode == 0
    paper = demo.stdout.replace("\r", "").split(f"{PROMPT.upper()}\n")[1].split("READY")[0]
    letters = [re.sub(r"[^A-Z]", "", printed.upper()) for printed in (paper, ask.stdout)]
    assert letters[0] == letters[1] != ""


def test_a_daemon_prints_the_answer_and_break_ends_it_on_both_sides(peer: PeerServer, tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        machine = sandbox.start_machine()
        sandbox.start_daemon("--model", f"{peer.url}#theirs", "--length", "2000", "--max-tokens", "1000")
        assert machine.stdin is not None
        machine.stdin.write(PROMPT.upper().encode() + b"\n")
        machine.stdin.flush()
        wait_for(lambda: len(sandbox.paper_text().partition(f"{PROMPT.upper()}\n")[2]) > 30, 60.0)
        machine.stdin.write(b"\x03")  # BREAK of the virtual machine
        machine.stdin.flush()
        wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
        assert "^C" in sandbox.paper_text()
        wait_for(lambda: is_idle(peer), 10.0)


def is_idle(peer: PeerServer) -> bool:
    """Whether the server reports that it has no request."""
    if peer.name == "llama-server":
        return peer.metric("requests_processing") == 0
    return "Disconnected from client" in peer.log.read_text()


async def test_a_killed_server_continues_the_sentence(peer: PeerServer) -> None:
    expected = unstreamed_text(peer, PROMPT, GREEDY)
    async with FaultyProxy(peer.port) as proxy:

        async def kill_and_restart() -> None:
            peer.kill()
            restarts.append(asyncio.ensure_future(asyncio.to_thread(peer.start)))

        restarts: list[asyncio.Future[None]] = []
        proxy.fault = cut_at_token(20, kill_and_restart, WORDS)
        chunks = await answer(proxy)
        await asyncio.gather(*restarts)
    assert restarts
    # The answer continues by text, not by tokens: the second half of a cut word is sampled again.
    before = expected[: len(text_of(chunks[:20]))]
    assert text_of(chunks).startswith(before)
    assert text_of(chunks[20:]).strip()
    assert chunks[-1].finish_reason == "length"


def test_a_too_long_prompt_is_one_line(peer: PeerServer) -> None:
    result = run_command("ask", "word " * 900, "--model", peer.url)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (65, "", 1), result.stderr
    assert "the prompt is too long for the model" in result.stderr
