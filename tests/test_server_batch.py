"""The server with the real batch behind it: the same text as without, and no step for whoever has left."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from fakes_model import tiny_folder
from fakes_server import get, post, read_chunk, read_head, running_server, send_request, wait_until
from fakes_slots import FakeBatchedSession, make_engine, make_request

from model.errors import EngineFailed
from model.generate.local_model import LocalModel
from model.interface import CompletionRequest, Sampling
from model.openai_api.response import OpenAIRequest
from model.server.app import CompletionServer
from model.server.engine.engine_thread import BatchModel


@asynccontextmanager
async def running_batch_server(folder: Path) -> AsyncIterator[tuple[CompletionServer, BatchModel, int]]:
    batch = BatchModel(folder, batch_size=4, memory=1 << 24, threads=1)
    try:
        async with running_server(batch) as (server, port):
            yield server, batch, port
    finally:
        await batch.close()


async def test_over_the_wire_it_is_the_text_that_it_would_be_here(tmp_path: Path) -> None:
    folder, sampling = tiny_folder(tmp_path), Sampling(max_tokens=30, seed=5)
    local = LocalModel(folder, threads=1)
    here = [piece async for piece in local.stream("The bell", sampling)]
    await local.close()
    body = {**OpenAIRequest("tiny", CompletionRequest("The bell", sampling)).to_json(), "stream": False}
    async with running_batch_server(folder) as (_, _, port):
        replies = await asyncio.gather(*(send_request(port, post(body)) for _ in range(3)))
    for reply in replies:
        found = json.loads(reply.body)
        assert found["choices"][0]["text"] == "".join(piece.text for piece in here)
        assert found["asr33"]["tokens"] == [token for piece in here for token in piece.tokens]


async def test_tokens_that_the_model_does_not_have_are_refused_and_harm_nobody(tmp_path: Path) -> None:
    async with running_batch_server(tiny_folder(tmp_path)) as (_, batch, port):
        for said in ([2_000_000_000], [3, 99_999]):
            reply = await send_request(port, post({"prompt": "The bell", "asr33": {"said": said}}))
            assert (reply.status, reply.error["param"]) == (422, "said")
        assert (await send_request(port, post({"prompt": "The bell"}))).status == 200
        await batch.check_alive()


class StuckSession(FakeBatchedSession):
    """Slots whose engine takes its time, and then fails."""

    def __init__(self) -> None:
        super().__init__(2, 60)
        self.entered, self.go = threading.Event(), threading.Event()

    def prefill(self, *asked: Any) -> Any:
        self.entered.set()
        self.go.wait(60)
        raise ZeroDivisionError


async def test_the_batch_is_sound_as_long_as_its_thread_comes_round() -> None:
    slots = StuckSession()
    batch = BatchModel(lambda: make_engine(slots), batch_size=1)
    await asyncio.wait_for(batch.check_alive(), 30)
    answer = asyncio.ensure_future(anext(batch.stream(make_request("Hello"))))
    await wait_until(slots.entered.is_set)
    sound = asyncio.ensure_future(batch.check_alive())
    await asyncio.sleep(0.05)
    assert not sound.done()
    slots.go.set()
    for failed in (answer, sound):
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(failed, 30)
    await batch.close()
    with pytest.raises(EngineFailed, match="start it again"):
        await batch.check_alive()


async def test_whoever_hangs_up_is_out_of_the_batch(tmp_path: Path) -> None:
    long = CompletionRequest(
        "The bell", Sampling(max_tokens=4000, temperature=0), chars_per_second=10.0, conversation="c"
    )
    async with running_batch_server(tiny_folder(tmp_path)) as (_, batch, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(OpenAIRequest("tiny", long).to_json()))
            assert (await read_head(reader))[0] == 200
            await read_chunk(reader)
        await wait_until(lambda: batch.counters().cut == 1 and not batch.counters().active)
        left = batch.counters()
        await asyncio.sleep(0.1)
        assert (left.active, batch.counters().tokens) == (0, left.tokens)
        page = (await send_request(port, get("/metrics"))).body
        assert b"asr33_batch_cut_total 1\n" in page
        assert b"asr33_batch_active 0\n" in page
