"""The load generator against fake servers that answer well, late, or not at all; and `asr33 bench --clients`."""

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
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes_teletype import wait_until

from model.interface import Sampling
from model.openai_api import models, response
from model.openai_api.request import OpenAIRequest
from tools.bench.load import figures
from tools.bench.load.figures import ProcessCost
from tools.bench.load.generator import LoadRun, LoadSettings, run_clients
from tools.bench.load.http_client import RequestFailed, ServerUnderTest
from tools.bench.load.peer_backend import PeerRequest
from tools.bench.load.user import SimulatedUser

ROOT = Path(__file__).resolve().parents[1]
WORD = " abc"

SendBytes = Callable[[bytes], Awaitable[None]]
AnswerScript = Callable[[OpenAIRequest, SendBytes], Coroutine[Any, Any, None]]


def encode_chunk(text: str, **fields: Any) -> bytes:
    chunk = response.CompletionChunk("cmpl-1", 0, "fake", text, (7,) * (len(text) // 4), **fields)
    return response.encode_event(chunk)


async def answer_at_once(request: OpenAIRequest, send: SendBytes) -> None:
    chunk = encode_chunk(WORD * request.completion.sampling.max_tokens, finish_reason="length")
    await send(response.PING + chunk + response.encode_event(response.StreamEnd()))


async def answer_late(request: OpenAIRequest, send: SendBytes) -> None:
    """Sends four characters, which print in 0.4 s, every 0.8 s."""
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
    """A server with one model, which records its requests."""

    def __init__(self, script: AnswerScript, status: str = "200 OK") -> None:
        self.requests: list[OpenAIRequest] = []
        self.heads: list[bytes] = []
        self.hang_ups = self.open_connections = 0
        self._script, self._status = script, status

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            writer.write(f"HTTP/1.1 {self._status}\r\nConnection: close\r\n\r\n".encode())
            if head.startswith(b"GET"):
                info = models.ModelInfo("fake", context=256, alphabets=("1968",))
                body = json.dumps(models.encode_models([info])).encode()
                for part in (body[:20], body[20:]):
                    writer.write(part)
                    await asyncio.sleep(0.02)
                return
            size = re.search(rb"Content-Length: (\d+)", head)
            assert size is not None
            request = OpenAIRequest.from_json(json.loads(await reader.readexactly(int(size[1]))))
            self.requests.append(request)

            async def send(data: bytes) -> None:
                writer.write(data)
                await writer.drain()

            if not request.prefill_only:
                answering = asyncio.create_task(self._script(request, send))
                reading = asyncio.create_task(reader.read())
                await asyncio.wait((answering, reading), return_when=asyncio.FIRST_COMPLETED)
                self.hang_ups += reading.done() and not answering.done()
                for task in (answering, reading):
                    task.cancel()
                await asyncio.gather(answering, reading, return_exceptions=True)
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
        await wait_until(lambda: not fake.open_connections)  # so the fake has counted all hang-ups


async def run_load(server: ServerUnderTest, seconds: float = 1.0, **fields: Any) -> LoadRun:
    defaults: dict[str, Any] = {"is_continuous": True, "ramp_up_s": 0.1, "model": "fake"}
    settings = LoadSettings(5, seconds, **(defaults | fields))
    return await run_clients(server, settings, lambda what, parts=0: None, lambda: (time.process_time(), 0.0))


@pytest.mark.pace
async def test_each_client_has_its_own_conversation() -> None:
    async with start_fake_server(answer_at_once) as (fake, server):
        run = await run_load(server)
    assert len({request.completion.conversation for request in fake.requests}) == 5
    for request in fake.requests:
        assert (request.completion.chars_per_second, request.model, request.stream) == (10.0, "fake", True)
    assert all(b"Authorization: Bearer secret\r\n" in head for head in fake.heads)
    result = figures.compute_figures(run.records, run.span, ProcessCost(run.cpu_s[0]))
    assert run.is_complete
    assert result.meets_limits()
    assert result.waits is not None
    assert 0 <= result.waits.worst < 0.5
    assert result.tokens_per_s * 4 == pytest.approx(result.characters_per_s)
    assert result.characters_per_s > 5 * 40


@pytest.mark.pace
async def test_late_server_makes_printers_stall() -> None:
    async with start_fake_server(answer_late) as (_, server):
        run = await run_load(server, 2.0)
    result = figures.compute_figures(run.records, run.span, ProcessCost(0))
    assert result.stalled_lines == 5
    assert all(0.2 < stall.seconds < 0.9 for record in run.records for stall in record.print_buffer.stalls)
    assert not result.meets_limits()


async def test_failed_run_ends_early_and_is_complete() -> None:
    async with start_fake_server(answer_late) as (_, server):
        started_at = time.monotonic()
        run = await run_load(server, 60.0, max_wait_s=1.5)
    assert time.monotonic() - started_at < 40
    assert run.is_complete
    assert not figures.compute_figures(run.records, run.span, ProcessCost(0)).meets_limits()


@pytest.mark.pace
@pytest.mark.parametrize(
    ("script", "status", "kind"),
    [
        (cut_event, "200 OK", "cut"),
        (send_failure, "200 OK", "503"),
        (send_garbage, "200 OK", "garbled"),
        (answer_at_once, "429 Too Many Requests", "429"),
    ],
)
async def test_errors_are_counted_by_kind(script: AnswerScript, status: str, kind: str) -> None:
    async with start_fake_server(script, status) as (_, server):
        run = await run_load(server, 0.6)
    result = figures.compute_figures(run.records, run.span, ProcessCost(0))
    assert result.errors == {kind: 5}
    assert not result.meets_limits()


async def test_refused_connection_fails_the_request() -> None:
    with pytest.raises(RequestFailed, match="refused"):
        await ServerUnderTest("http://127.0.0.1:9").fetch_model_info()


async def test_model_info_is_decoded() -> None:
    async with start_fake_server(answer_at_once) as (_, server):
        info = await server.fetch_model_info()
    assert (info.id, info.context, info.is_asr33) == ("fake", 256, True)


@pytest.mark.parametrize("url", ["127.0.0.1:8033", "ftp://host", "http://", "http://host:0"])
def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no URL of a server"):
        ServerUnderTest(url)


def has_typed_word(seed: int) -> bool:
    """Whether the first user of this seed has typed a word after a second."""
    turn = SimulatedUser(random.Random(f"{seed} 0"), context_chars=1024).next_turn()
    return turn.think_s + turn.typed_prefixes[0][0] < 1


async def test_command_refuses_an_invalid_url_in_one_line(tmp_path: Path) -> None:
    code, _, errors = await run_bench("--clients", "3", "--model", "http://", tmp=tmp_path)
    assert (code, len(errors.splitlines())) == (64, 1)
    assert "is not the URL of a model server" in errors


async def test_peer_answer_ends_at_the_end_of_the_context() -> None:
    request = PeerRequest([1] * 250, Sampling(max_tokens=20), "a", 256)
    assert [request.add_token(7) for _ in range(6)] == [False] * 5 + [True]


@pytest.mark.pace
async def test_typed_words_are_prefilled() -> None:
    async with start_fake_server(answer_at_once) as (fake, server):
        await run_load(server, 2.0, is_continuous=False, seed=next(filter(has_typed_word, count())))
    prompts = [request.completion.prompt for request in fake.requests if request.prefill_only]
    assert prompts
    assert all(not prompt.endswith(" ") for prompt in prompts)


@pytest.mark.pace
async def test_client_hangs_up_at_the_end_of_the_run() -> None:
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


async def run_bench(*words: str, tmp: Path) -> tuple[int, str, str]:
    return await wait_for_exit(start_bench(*words, tmp=tmp))


async def test_interrupted_command_reports_the_run_so_far(tmp_path: Path) -> None:
    async with start_fake_server(answer_at_once) as (_, server):
        words = ("--clients", "3", "--minutes", "0.05", "--continuous", "--json", "-", "--model", server.url)
        process = start_bench(*words, tmp=tmp_path)
        assert process.stderr is not None
        lines = [await asyncio.to_thread(process.stderr.readline) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        code, out, errors = await wait_for_exit(process)
    assert (code, lines) == (130, ["asr33 bench: 3 clients, warming up ...\n", "asr33 bench: 3 clients ...\n"])
    report = json.loads(out)
    assert not report["whole"]
    assert report["runs"][0]["lines"] == 3
    assert "Traceback" not in errors


async def test_unreachable_server_is_reported_in_one_line(tmp_path: Path) -> None:
    code, _, errors = await run_bench("--clients", "3", "--model", "http://127.0.0.1:9", tmp=tmp_path)
    assert code == 69
    assert "http://127.0.0.1:9: no answer to /v1/models (refused)" in errors.splitlines()[-1]


@pytest.mark.pace
async def test_own_server_is_started_and_measured_with_old_flags(tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"
    old_flags = ["--lines", "3", "--turning", "--patience", "2", "--picture", str(chart)]
    words = [*old_flags, "--size", "tiny", "--minutes", "0.03", "--json", "-"]
    code, out, errors = await run_bench(*words, tmp=tmp_path)
    assert code == 0, errors
    report = json.loads(out)
    (run,) = report["runs"]
    assert (report["turning"], report["patience_s"]) == (True, 2)
    assert (run["errors"], run["stalls"]) == ({}, 0)
    assert run["tokens_per_s"] > 3
    assert run["characters_per_s"] == pytest.approx(4 * run["tokens_per_s"])
    assert run["server"]["peak"] > 10_000_000
    assert chart.read_bytes().startswith(b"\x89PNG")


async def test_peer_needs_shared_weights(tmp_path: Path) -> None:
    words = ("--clients", "3", "--engine", "llama", "--model", "embedded")
    code, _, errors = await run_bench(*words, tmp=tmp_path)
    assert code == 65
    assert "--engine llama wants --size" in errors


async def test_missing_peer_is_reported(tmp_path: Path) -> None:
    words = ("--clients", "3", "--engine", "ctranslate2", "--size", "tiny")
    code, _, errors = await run_bench(*words, tmp=tmp_path)
    assert code == 69
    assert "ctranslate2 is not installed: leave it out" in errors
