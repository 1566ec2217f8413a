"""The server with the real model engine: same text as without it, and no step for a client that is gone."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from fakes_batch_engine import FakeBatchedSession, make_engine, make_request
from fakes_completion_server import get, post, read_chunk, read_head, running_server, send_request, wait_until
from fakes_model import tiny_folder

from model.errors import EngineFailed
from model.generate.local_model import LocalModel
from model.interface import CompletionRequest, Sampling
from model.openai_api.request import OpenAIRequest
from model.server.app import CompletionServer
from model.server.engine.engine_thread import BatchModel


@asynccontextmanager
async def running_batch_server(folder: Path) -> AsyncIterator[tuple[CompletionServer, BatchModel, int]]:
    model = BatchModel(folder, batch_size=4, memory=1 << 24, threads=1)
    try:
        async with running_server(model) as (server, port):
            yield server, model, port
    finally:
        await model.close()


async def test_the_text_over_http_is_the_same_as_in_process(tmp_path: Path) -> None:
    folder, sampling = tiny_folder(tmp_path), Sampling(max_tokens=30, seed=5)
    local = LocalModel(folder, threads=1)
    chunks = [chunk async for chunk in local.stream("The bell", sampling)]
    await local.close()
    body = {**OpenAIRequest("tiny", CompletionRequest("The bell", sampling)).to_json(), "stream": False}
    async with running_batch_server(folder) as (_, _, port):
        replies = await asyncio.gather(*(send_request(port, post(body)) for _ in range(3)))
    for reply in replies:
        answer = json.loads(reply.body)
        assert answer["choices"][0]["text"] == "".join(chunk.text for chunk in chunks)
        assert answer["asr33"]["tokens"] == [token for chunk in chunks for token in chunk.tokens]


async def test_unknown_resume_tokens_are_refused_and_harm_no_other(tmp_path: Path) -> None:
    async with running_batch_server(tiny_folder(tmp_path)) as (_, model, port):
        for resumed in ([2_000_000_000], [3, 99_999]):
            reply = await send_request(port, post({"prompt": "The bell", "asr33": {"said": resumed}}))
            assert (reply.status, reply.error["param"]) == (422, "said")
        assert (await send_request(port, post({"prompt": "The bell"}))).status == 200
        await model.check_alive()


class StuckSession(FakeBatchedSession):
    """A session whose prefill waits, and then fails."""

    def __init__(self) -> None:
        super().__init__(2, 60)
        self.entered, self.may_fail = threading.Event(), threading.Event()

    def prefill(self, *_: Any) -> Any:
        self.entered.set()
        self.may_fail.wait(60)
        raise ZeroDivisionError


async def test_the_model_is_alive_while_its_thread_answers() -> None:
    session = StuckSession()
    model = BatchModel(lambda: make_engine(session), batch_size=1)
    await asyncio.wait_for(model.check_alive(), 30)
    answer = asyncio.ensure_future(anext(model.stream(make_request("Hello"))))
    await wait_until(session.entered.is_set)
    check = asyncio.ensure_future(model.check_alive())
    await asyncio.sleep(0.05)
    assert not check.done()
    session.may_fail.set()
    for failed in (answer, check):
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(failed, 30)
    await model.close()
    with pytest.raises(EngineFailed, match="start it again"):
        await model.check_alive()


async def test_a_disconnected_client_is_out_of_the_batch(tmp_path: Path) -> None:
    sampling = Sampling(max_tokens=4000, temperature=0)
    long = CompletionRequest("The bell", sampling, chars_per_second=10.0, conversation="c")
    async with running_batch_server(tiny_folder(tmp_path)) as (_, model, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(OpenAIRequest("tiny", long).to_json()))
            assert (await read_head(reader))[0] == 200
            await read_chunk(reader)
        await wait_until(lambda: model.counters().cut == 1 and not model.counters().active)
        after = model.counters()
        await asyncio.sleep(0.1)
        assert (after.active, model.counters().tokens) == (0, after.tokens)
        page = (await send_request(port, get("/metrics"))).body
        assert b"asr33_batch_cut_total 1\n" in page
        assert b"asr33_batch_active 0\n" in page


async def test_a_chat_is_the_continuation_of_its_dialogue(tmp_path: Path) -> None:
    options = {"max_tokens": 12, "temperature": 0, "logprobs": 3}
    messages = [{"role": "system", "content": "A talk."}, {"role": "user", "content": "The bell"}]
    chat = {**options, "messages": messages, "n": 3, "logprobs": True, "top_logprobs": 3}
    completion = {**options, "prompt": ["A talk.\nUser: The bell\nAssistant:"], "stop": "\nUser:"}
    async with running_batch_server(tiny_folder(tmp_path)) as (_, model, port):
        talk = (await send_request(port, post(chat, path="/v1/chat/completions"))).json()
        plain = (await send_request(port, post(completion))).json()
        counters = model.counters()
    assert {choice["message"]["content"] for choice in talk["choices"]} == {plain["choices"][0]["text"].strip()}
    assert talk["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    assert counters.read < 2 * talk["usage"]["prompt_tokens"]  # of four answers to one prompt
    logprobs, entries = plain["choices"][0]["logprobs"], talk["choices"][2]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == logprobs["tokens"]
    for entry, tops, number in zip(entries, logprobs["top_logprobs"], logprobs["token_logprobs"], strict=True):
        assert entry["logprob"] == pytest.approx(number, abs=1e-4)
        best = max(tops, key=tops.__getitem__)
        assert entry["top_logprobs"][0]["token"] == best == entry["token"]  # greedy
        assert len(entry["top_logprobs"]) == 3
    assert "".join(logprobs["tokens"]) == plain["choices"][0]["text"] or "bytes:" in str(logprobs["tokens"])
