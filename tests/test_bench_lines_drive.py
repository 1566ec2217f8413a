"""The driver of `asr33 bench --lines` against servers that answer well, late, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes import wait_until

from model.interface import Sampling
from model.openai_api import models, response
from model.openai_api.request import OpenAIRequest
from tools.bench.load import figures
from tools.bench.load.backends.peer import PeerRequest
from tools.bench.load.figures import ProcessCost
from tools.bench.load.generator import LoadRun, LoadSettings, run_clients
from tools.bench.load.http_client import RequestFailed, ServerUnderTest
from tools.bench.load.user import SimulatedUser

ROOT = Path(__file__).resolve().parents[1]
WORD = " abc"

SendBytes = Callable[[bytes], Awaitable[None]]
AnswerScript = Callable[[OpenAIRequest, SendBytes], Awaitable[None]]


def encode_chunk(text: str, **more: Any) -> bytes:
    return response.encode_event(response.CompletionChunk("cmpl-1", 0, "fake", text, (7,) * (len(text) // 4), **more))


async def answer_at_once(request: OpenAIRequest, send: SendBytes) -> None:
    """All of it at once."""
    await send(
        response.PING
        + encode_chunk(WORD * request.completion.sampling.max_tokens, finish="length")
        + response.encode_event(response.StreamEnd())
    )


async def answer_late(request: OpenAIRequest, send: SendBytes) -> None:
    """Four characters, which last 0.4 s, and the next after 0.8."""
    for _ in range(request.completion.sampling.max_tokens):
        await send(encode_chunk(WORD))
        await asyncio.sleep(0.8)


async def cut_event(request: OpenAIRequest, send: SendBytes) -> None:
    await send(encode_chunk(WORD)[:-3])


async def send_failure(request: OpenAIRequest, send: SendBytes) -> None:
    await send(response.encode_event(response.ErrorInfo(503, "server_error", "no")))


async def send_garbage(request: OpenAIRequest, send: SendBytes) -> None:
    await send(b"data: {]\n\n")


class FakeServer:
    """A server with one model; what it was asked is kept."""

    def __init__(self, script: AnswerScript, status: str = "200 OK") -> None:
        self.requests: list[OpenAIRequest] = []
        self.heads: list[bytes] = []
        self.hang_ups = self.open_connections = 0
        self.has_request = asyncio.Event()
        self._script, self._status = script, status

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            writer.write(f"HTTP/1.1 {self._status}\r\nConnection: close\r\n\r\n".encode())
            if head.startswith(b"GET"):
                one = models.ModelInfo("fake", context=256, alphabets=("1968",))
                told = json.dumps(models.encode_models([one])).encode()
                for part in (told[:20], told[20:]):
                    writer.write(part)
                    await asyncio.sleep(0.02)
                return
            size = re.search(rb"Content-Length: (\d+)", head)
            assert size is not None
            asked = OpenAIRequest.from_json(json.loads(await reader.readexactly(int(size[1]))))
            self.requests.append(asked)
            self.has_request.set()

            async def say(data: bytes) -> None:
                writer.write(data)
                await writer.drain()

            if not asked.prefill_only:
                answering = asyncio.create_task(self._script(asked, say))
                leaving = asyncio.create_task(reader.read())
                await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
                self.hang_ups += leaving.done() and not answering.done()
                for task in (answering, leaving):
                    task.cancel()
                await asyncio.gather(answering, leaving, return_exceptions=True)
        except ConnectionError:
            pass
        finally:
            self.open_connections -= 1
            writer.close()


@asynccontextmanager
async def start_fake_server(
    script: AnswerScript, status: str = "200 OK"
) -> AsyncIterator[tuple[FakeServer, ServerUnderTest]]:
    fake = FakeServer(script, status)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    async with server:
        yield fake, ServerUnderTest(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", key="secret")
        await wait_until(lambda: not fake.open_connections)  # those who were hung up on notice it


async def run_load(server: ServerUnderTest, seconds: float = 1.0, **more: Any) -> LoadRun:
    how: dict[str, Any] = {"turning": True, "sitting_s": 0.1, "model": "fake", **more}
    return await run_clients(
        server, LoadSettings(5, seconds, **how), lambda what, parts=0: None, lambda: (time.process_time(), 0.0)
    )


@pytest.mark.pace
async def test_all_lines_are_driven_and_each_is_its_own_conversation() -> None:
    async with start_fake_server(answer_at_once) as (fake, server):
        found = await run_load(server)
    assert len({asked.completion.conversation for asked in fake.requests}) == 5
    assert all(
        (asked.completion.chars_per_second, asked.model, asked.stream) == (10.0, "fake", True)
        for asked in fake.requests
    )
    assert all(b"Authorization: Bearer secret\r\n" in head for head in fake.heads)
    made = figures.compute_figures(found.records, found.span, ProcessCost(found.cpu_s[0]))
    assert found.is_complete
    assert made.meets_limits()
    assert made.waits is not None
    assert 0 <= made.waits.worst < 0.5
    assert made.tokens_per_s * 4 == pytest.approx(made.characters_per_s)
    assert made.characters_per_s > 5 * 40


@pytest.mark.pace
async def test_a_server_that_comes_late_makes_wheels_stand_still() -> None:
    async with start_fake_server(answer_late) as (_, server):
        found = await run_load(server, 2.0)
    made = figures.compute_figures(found.records, found.span, ProcessCost(0))
    assert made.stalled_lines == 5
    assert all(0.2 < stall.seconds < 0.9 for line in found.records for stall in line.print_buffer.stalls)
    assert not made.meets_limits()


async def test_what_cannot_hold_any_more_is_given_up_and_is_whole() -> None:
    async with start_fake_server(answer_late) as (_, server):
        begun = time.monotonic()
        found = await run_load(server, 60.0, patience_s=1.5)
    assert time.monotonic() - begun < 40
    assert found.is_complete
    assert not figures.compute_figures(found.records, found.span, ProcessCost(0)).meets_limits()


@pytest.mark.pace
@pytest.mark.parametrize(
    ("answering", "status", "kind"),
    [
        (cut_event, "200 OK", "cut"),
        (send_failure, "200 OK", "503"),
        (send_garbage, "200 OK", "garbled"),
        (answer_at_once, "429 Too Many Requests", "429"),
    ],
)
async def test_what_goes_wrong_is_counted_by_its_kind(answering: AnswerScript, status: str, kind: str) -> None:
    async with start_fake_server(answering, status) as (_, server):
        found = await run_load(server, 0.6)
    made = figures.compute_figures(found.records, found.span, ProcessCost(0))
    assert made.errors == {kind: 5}
    assert not made.meets_limits()


async def test_a_server_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestFailed, match="refused"):
        await ServerUnderTest("http://127.0.0.1:9").fetch_model_info()


async def test_its_card_tells_what_it_can() -> None:
    async with start_fake_server(answer_at_once) as (_, server):
        found = await server.fetch_model_info()
    assert (found.id, found.context, found.is_asr33) == ("fake", 256, True)


@pytest.mark.parametrize("url", ["127.0.0.1:8033", "ftp://host", "http://", "http://host:0"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no URL of a server"):
        ServerUnderTest(url)


def has_typed_word(seed: int) -> bool:
    """Whether the first of the typists has, after a second."""
    turn = SimulatedUser(random.Random(f"{seed} 0"), context_chars=1024).next_turn()
    return turn.think_s + turn.typed_prefixes[0][0] < 1


async def test_the_command_refuses_what_is_no_url_in_one_line(tmp_path: Path) -> None:
    code, _, errors = await wait_for_exit(start_bench("--lines", "3", "--model", "http://", tmp=tmp_path))
    assert (code, len(errors.splitlines())) == (64, 1)
    assert "is not the URL of a model server" in errors


async def test_an_answer_of_a_peer_ends_where_its_context_does() -> None:
    wanted = PeerRequest([1] * 250, Sampling(max_tokens=20), "a", 256)
    assert [wanted.add_token(7) for _ in range(6)] == [False] * 5 + [True]


@pytest.mark.pace
async def test_what_is_typed_is_read_word_by_word() -> None:
    async with start_fake_server(answer_at_once) as (fake, server):
        await run_load(server, 2.0, turning=False, seed=next(filter(has_typed_word, count())))
    heard = [asked.completion.prompt for asked in fake.requests if asked.prefill_only]
    assert heard
    assert all(not prompt.endswith(" ") for prompt in heard)


@pytest.mark.pace
async def test_who_leaves_hangs_up() -> None:
    async with start_fake_server(answer_late) as (fake, server):
        await run_load(server, 0.5)
    assert fake.hang_ups == len(fake.requests) == 5


def start_bench(*words: str, tmp: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tools.main", "bench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp)},
    )


async def wait_for_exit(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = await asyncio.to_thread(process.communicate, timeout=60)
    return process.returncode, out, errors


async def test_interrupted_it_tells_what_it_knows(tmp_path: Path) -> None:
    async with start_fake_server(answer_at_once) as (_, server):
        words = ("--lines", "3", "--minutes", "0.05", "--turning", "--json", "-", "--model", server.url)
        process = start_bench(*words, tmp=tmp_path)
        assert process.stderr is not None
        said = [await asyncio.to_thread(process.stderr.readline) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        code, out, errors = await wait_for_exit(process)
    assert (code, said) == (130, ["asr33 bench: 3 lines, warming up ...\n", "asr33 bench: 3 lines ...\n"])
    found = json.loads(out)
    assert not found["whole"]
    assert found["runs"][0]["lines"] == 3
    assert "Traceback" not in errors


async def test_a_server_that_is_away_is_one_line(tmp_path: Path) -> None:
    code, _, errors = await wait_for_exit(start_bench("--lines", "3", "--model", "http://127.0.0.1:9", tmp=tmp_path))
    assert code == 69
    assert "http://127.0.0.1:9: no answer to /v1/models (refused)" in errors.splitlines()[-1]


@pytest.mark.pace
async def test_our_own_server_is_started_measured_and_gone(tmp_path: Path) -> None:
    picture = tmp_path / "hand.png"
    words = [
        "--lines",
        "3",
        "--turning",
        "--size",
        "tiny",
        "--minutes",
        "0.03",
        "--json",
        "-",
        "--picture",
        str(picture),
    ]
    process = start_bench(*words, tmp=tmp_path)
    code, out, errors = await wait_for_exit(process)
    assert code == 0, errors
    (found,) = json.loads(out)["runs"]
    assert (found["errors"], found["stalls"]) == ({}, 0)
    assert found["tokens_per_s"] > 3
    assert found["characters_per_s"] == pytest.approx(4 * found["tokens_per_s"])
    assert found["server"]["peak"] > 10_000_000
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_peer_wants_weights_that_both_can_have(tmp_path: Path) -> None:
    process = start_bench("--lines", "3", "--engine", "llama", "--model", "embedded", tmp=tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 65
    assert "--engine llama wants --size" in errors


def test_a_peer_that_is_not_installed_is_said_to_be_absent(tmp_path: Path) -> None:
    process = start_bench("--lines", "3", "--engine", "ctranslate2", "--size", "tiny", tmp=tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 69
    assert "ctranslate2 is not installed: leave it out" in errors
