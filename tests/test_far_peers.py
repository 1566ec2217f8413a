"""The far end with servers that nobody here wrote, and the embedded model in them; `make peers` brings them."""

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

import fakes_peers
import pytest
from fakes_between import FaultyProxy, cut_at_token
from fakes_peers import PeerServer
from fakes_room import opened, until

from model.client.failover import FailoverModel
from model.client.remote_model import RemoteModel
from model.interface import Sampling, TextChunk

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "The old telegraph office"
GREEDY = Sampling(temperature=0.0, top_k=0, repetition_penalty=1.0, max_tokens=60)
WORDS = re.compile(rb'"text": ?"[^"]')

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module", params=list(fakes_peers.COMMANDS))
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerServer]:
    program = fakes_peers.COMMANDS[request.param][0]
    if not program.exists():
        pytest.skip(f"{request.param} is not there: make peers")
    folder = tmp_path_factory.mktemp("peer")
    fakes_peers.write_embedded_gguf(folder / "embedded.gguf")
    with fakes_peers.run_peer(request.param, folder / "embedded.gguf", folder) as running:
        yield running


def whole(peer: PeerServer, prompt: str, sampling: Sampling) -> str:
    """What the server says if it is asked for all of it at once, by no line of ours."""
    asked = {"prompt": prompt, "max_tokens": sampling.max_tokens, "temperature": 0, "repeat_penalty": 1.0, "top_k": 0}
    request = urllib.request.Request(
        f"{peer.url}/v1/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        text: str = json.load(reply)["choices"][0]["text"]
        return text


async def answer(peer: PeerServer | FaultyProxy, sampling: Sampling = GREEDY, prompt: str = PROMPT) -> list[TextChunk]:
    relay = FailoverModel([RemoteModel(peer.url)], rng=random.Random(33))
    try:
        return [piece async for piece in relay.stream(prompt, sampling)]
    finally:
        await relay.close()


def text(pieces: list[TextChunk]) -> str:
    return "".join(piece.text for piece in pieces)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASR33_")}
    return subprocess.run(
        [sys.executable, "-m", "tools.main", *words], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


async def test_what_is_streamed_is_what_is_said(peer: PeerServer) -> None:
    pieces = await answer(peer)
    assert text(pieces) == whole(peer, PROMPT, GREEDY)
    assert sum(piece.text != "" for piece in pieces) > 20
    assert pieces[-1].finish_reason == "length"


async def test_an_answer_ends_at_a_stop_and_at_its_length(peer: PeerServer) -> None:
    said = whole(peer, PROMPT, GREEDY)
    stop = said.split()[8]
    pieces = await answer(peer, replace(GREEDY, stop=(f" {stop}",)))
    assert text(pieces) == said[: said.index(f" {stop}")]
    pieces = await answer(peer, Sampling(temperature=0.8, seed=5, length=80))
    assert pieces[-1].finish_reason in ("sentence", "end")
    assert 80 <= len(text(pieces)) < 400 or pieces[-1].finish_reason == "end"


def test_ask_and_demo_print_it(peer: PeerServer, tmp_path: Path) -> None:
    drawn = ("--temperature", "0", "--max-tokens", "40")
    asked = command("ask", PROMPT, "--model", peer.url, *drawn)
    assert (asked.returncode, asked.stderr) == (0, "")
    shown = command("demo", "--fast", "--prompt", PROMPT, "--model", peer.url, "--log", str(tmp_path), *drawn)
    assert shown.returncode == 0
    paper = shown.stdout.replace("\r", "").split(f"{PROMPT.upper()}\n")[1].split("READY")[0]
    letters = [re.sub(r"[^A-Z]", "", found.upper()) for found in (paper, asked.stdout)]
    assert letters[0] == letters[1] != ""


def test_a_daemon_prints_it_and_break_ends_it_there_and_here(peer: PeerServer, tmp_path: Path) -> None:
    with opened(tmp_path) as room:
        machine = room.machine()
        room.daemon("--model", f"{peer.url}#theirs", "--length", "2000", "--max-tokens", "1000")
        assert machine.stdin is not None
        machine.stdin.write(PROMPT.upper().encode() + b"\n")
        machine.stdin.flush()
        until(lambda: len(room.paper().partition(f"{PROMPT.upper()}\n")[2]) > 30, 60.0)
        machine.stdin.write(b"\x03")  # BREAK, at a virtual machine's keys
        machine.stdin.flush()
        until(lambda: room.paper().endswith("READY\n"))
        assert "^C" in room.paper()
        until(lambda: _idle(peer), 10.0)


def _idle(peer: PeerServer) -> bool:
    """By the server's own word."""
    if peer.name == "llama-server":
        return peer.metric("requests_processing") == 0
    return "Disconnected from client" in peer.log.read_text()


async def test_a_server_killed_in_mid_sentence_goes_on_with_it(peer: PeerServer) -> None:
    said = whole(peer, PROMPT, GREEDY)
    async with FaultyProxy(peer.port) as way:

        async def fall() -> None:
            peer.kill()
            returning.append(asyncio.ensure_future(asyncio.to_thread(peer.start)))

        returning: list[asyncio.Future[None]] = []
        way.fault = cut_at_token(20, fall, WORDS)
        pieces = await answer(way)
        await asyncio.gather(*returning)
    assert returning
    # Behind a text and not behind its tokens: where a word was cut, its other half is drawn anew.
    before = said[: len(text(pieces[:20]))]
    assert text(pieces).startswith(before)
    assert text(pieces[20:]).strip()
    assert pieces[-1].finish_reason == "length"


def test_a_prompt_that_is_too_long_is_one_line(peer: PeerServer) -> None:
    done = command("ask", "word " * 900, "--model", peer.url)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (65, "", 1), done.stderr
    assert "the prompt is too long for it" in done.stderr
