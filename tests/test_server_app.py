"""The application on a real socket: its answers, its refusals, cancellation and draining."""

import asyncio
import logging
import re
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fakes_completion_server import (
    FakeBatchModel,
    get,
    post,
    read_chunk,
    read_head,
    read_reply,
    running_server,
    send_request,
    wait_until,
)

from model.errors import ModelDamaged, ModelError
from model.interface import CompletionRequest, Sampling
from model.openai_api import response
from model.openai_api.models import ModelInfo, decode_models
from model.openai_api.request import OpenAIRequest
from model.server.api_keys import ApiKeys
from model.server.app import create_app
from model.server.limits import RequestLimits

SHORT_WAITS = RequestLimits(first_chunk_s=0.05, keepalive_s=0.05)


def request_body(prompt: object = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": prompt, "max_tokens": 100, **fields}


def parse_events(body: bytes) -> list[response.StreamEvent]:
    return [response.decode_event(part[6:].decode()) for part in body.split(b"\n\n") if part.startswith(b"data: ")]


async def test_a_whole_answer_has_the_shape_of_openai() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        reply = await send_request(port, post(request_body()))
    assert reply.status == 200
    body = reply.json()
    assert body["object"] == "text_completion"
    assert body["choices"][0] == {"index": 0, "text": "Yes.", "logprobs": None, "finish_reason": "stop"}
    assert body["usage"]["prompt_tokens"] == 5
    assert body["usage"]["completion_tokens"] == 4
    assert body["asr33"]["tokens"] == [ord(char) for char in "Yes."]


async def test_a_stream_has_the_chunks_then_the_usage_then_done() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        body = request_body(stream=True, stream_options={"include_usage": True})
        reply = await send_request(port, post(body))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-accel-buffering"] == "no"
    *chunks, count, done = parse_events(reply.body)
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, response.CompletionChunk)) == "Yes."
    assert isinstance(count, response.CompletionChunk)
    assert count.usage == response.Usage(5, 4)
    assert done == response.StreamEnd()


async def test_a_request_of_our_client_arrives_unchanged() -> None:
    model = FakeBatchModel("One two.")
    options = {"alphabet": "1963", "chars_per_second": 10.0, "conversation": "c"}
    request = CompletionRequest("Count:", replace(Sampling(), seed=7), resume_tokens=(79, 110), **options)
    async with running_server(model) as (_, port), httpx2.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}/v1/completions"
        text = ""
        async with client.sse(url, method="POST", json=OpenAIRequest("tiny", request).to_json()) as source:
            async for event in source:
                chunk = response.decode_event(event.data)
                text += chunk.text if isinstance(chunk, response.CompletionChunk) else ""
    assert text == "e two."
    assert model.requests == [request]


async def test_each_chunk_is_sent_at_once() -> None:
    model = FakeBatchModel("ab")
    model.may_step.clear()
    async with running_server(model) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(request_body(stream=True)))
            await wait_until(lambda: model.active)
            model.may_step.set()
            assert (await read_head(reader))[0] == 200
            assert b'"text":"a"' in await read_chunk(reader)


async def test_a_silence_is_filled_with_keepalives() -> None:
    model = FakeBatchModel("ab")
    model.may_step.clear()
    async with running_server(model, limits=SHORT_WAITS) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(request_body(stream=True)))
            assert (await read_head(reader))[0] == 200
            assert [await read_chunk(reader) for _ in range(3)] == [response.PING] * 3
            model.may_step.set()
            while (event := await read_chunk(reader)) == response.PING:
                pass
            assert b'"text":"a"' in event


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_disconnects_costs_no_further_step(stream: bool) -> None:
    model = FakeBatchModel("x" * 1000)
    model.may_step.clear()
    async with running_server(model, limits=SHORT_WAITS) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(request_body(stream=stream)))
        await wait_until(lambda: model.active)
        writer.close()
        await wait_until(lambda: model.ended)
        model.may_step.set()
        await asyncio.sleep(0.02)
        assert model.steps == 0
        assert not server.clients
        assert sum(server.request_counts.values()) == 1


async def test_no_text_is_generated_for_a_client_that_does_not_read() -> None:
    model = FakeBatchModel("x" * 200_000)
    async with running_server(model, limits=RequestLimits(max_tokens=1_000_000)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        with closing(writer):
            writer.write(post(request_body(stream=True, max_tokens=200_000)))
            await wait_until(lambda: model.steps)
            steps = -1
            while model.steps != steps:
                steps = model.steps
                await asyncio.sleep(0.1)
            assert 0 < steps < 100_000
            assert model.active == 1
            await reader.readexactly(100_000)
            await wait_until(lambda: model.steps > steps)


async def test_a_prefill_is_answered_with_its_token_count() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        reply = await send_request(port, post(request_body("Once upon", asr33={"read": True})))
    assert reply.json()["usage"]["prompt_tokens"] == 9
    assert reply.json()["choices"][0]["text"] == ""


async def test_a_prefill_ends_when_its_client_disconnects() -> None:
    model = FakeBatchModel()
    model.may_step.clear()
    async with running_server(model) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(request_body(asr33={"read": True})))
        await wait_until(lambda: model.prefilling)
        writer.close()
        await wait_until(lambda: not model.prefilling)


async def test_the_model_is_described_at_v1_models() -> None:
    async with running_server(FakeBatchModel(), vocabulary="abc", alphabets=("1963", "1968")) as (_, port):
        listed = await send_request(port, get("/v1/models"))
        tiny = await send_request(port, get("/v1/models/tiny"))
        huge = await send_request(port, get("/v1/models/huge"))
    info = ModelInfo("tiny", context=512, alphabets=("1963", "1968"), vocabulary="abc")
    assert decode_models(listed.json()) == [info]
    assert tiny.json() == info.to_json()
    assert (huge.status, huge.error["code"]) == (404, "model_not_found")


INVALID: list[tuple[Any, int, str | None]] = [
    (b"{", 400, None),
    (b"[" * 60_000, 400, None),
    (b'{"prompt": "\xff"}', 400, None),
    (b"[]", 400, "body"),
    (request_body(prompt=[1, 2]), 422, "prompt"),
    (request_body(prompt=7), 422, "prompt"),
    (request_body(temperature="hot"), 400, "temperature"),
    (request_body(temperature=1e9), 422, "temperature"),
    (request_body(max_tokens=5000), 422, "max_tokens"),
    (request_body(n=200), 422, "n"),
    (request_body(prompt="x" * 600), 400, "prompt"),
    (request_body(prompt="x" * 40_000), 400, "prompt"),
    (request_body(model="other"), 404, "model"),
    (request_body(asr33={"said": [1] * 5000}), 422, "said"),
]


async def test_an_invalid_request_is_refused_and_names_the_field() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        for body, status, param in INVALID:
            reply = await send_request(port, post(body))
            assert (reply.status, reply.error["param"]) == (status, param), str(body)[:99]


@pytest.mark.parametrize("prompt", [7, [1], [1, 2], [[1, 2]], [[1], [2]]])
async def test_a_prompt_of_tokens_has_its_own_message(prompt: object) -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        tokens = await send_request(port, post(request_body(prompt)))
    assert "tokens" in tokens.error["message"]


async def test_each_logprob_has_its_offset_in_the_text() -> None:
    model = FakeBatchModel("Yes.")
    model.with_logprobs = True
    async with running_server(model) as (_, port):
        whole = (await send_request(port, post(request_body("Is it?", logprobs=1)))).json()["choices"][0]
        streamed = (await send_request(port, post(request_body("Is it?", logprobs=1, stream=True)))).body
    assert whole["logprobs"]["text_offset"] == [6, 7, 8, 9]
    assert [f'"text_offset":[{offset}]'.encode() in streamed for offset in range(5, 11)] == [False, *[True] * 4, False]


async def test_the_usage_does_not_claim_zero_cached_tokens() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        usage = (await send_request(port, post(request_body()))).json()["usage"]
    assert usage["prompt_tokens_details"] is None


async def test_an_unknown_path_or_method_is_refused_in_the_same_shape() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        bad_path = await send_request(port, get("/v1/embeddings"))
        bad_method = await send_request(port, get("/v1/completions"))
    assert (bad_path.status, bad_path.error["type"]) == (404, "invalid_request_error")
    assert (bad_method.status, bad_method.headers["allow"]) == (405, "POST")
    assert "POST" in bad_method.error["message"]


async def test_a_large_body_is_refused_by_its_length_before_it_arrives() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_bytes=1000)) as (_, port):
        reply = await send_request(port, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    assert (reply.status, reply.error["code"]) == (413, "body_too_large")


async def test_a_body_without_a_length_is_counted_while_it_arrives() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_bytes=1000)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                writer.write(b"190\r\n" + b"x" * 400 + b"\r\n")
            assert (await read_reply(reader)).status == 413


async def test_a_slow_body_is_refused() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_timeout_s=0.05)) as (_, port):
        reply = await send_request(port, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert (reply.status, reply.error["code"]) == (408, "slow_body")


async def test_the_bodies_that_arrive_at_once_are_limited() -> None:
    slow = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900
    limits = RequestLimits(all_bodies_bytes=2000, body_timeout_s=1.0)
    async with running_server(FakeBatchModel(), limits=limits) as (_, port):
        replies = await asyncio.gather(*(send_request(port, slow) for _ in range(5)))
        assert sorted(reply.status for reply in replies) == [408, 408, 503, 503, 503]
        assert (await send_request(port, post(request_body()))).status == 200


async def test_an_answer_beyond_the_limit_is_refused_with_retry_after() -> None:
    model = FakeBatchModel()
    model.may_step.clear()
    async with running_server(model, limits=RequestLimits(open_answers=2)) as (server, port):
        first = [asyncio.ensure_future(send_request(port, post(request_body()))) for _ in range(2)]
        await wait_until(lambda: len(server.clients) == 2)
        reply = await send_request(port, post(request_body()))
        assert (reply.status, reply.headers["retry-after"], reply.error["type"]) == (429, "1", "rate_limit_error")
        model.may_step.set()
        assert [(await task).status for task in first] == [200, 200]
        assert (await send_request(port, post(request_body()))).status == 200


async def test_one_key_cannot_take_all_answers(tmp_path: Any) -> None:
    model, limits = FakeBatchModel(), RequestLimits(open_answers=9, answers_per_key=2)
    model.may_step.clear()
    async with running_server(model, keys=make_keys(tmp_path), limits=limits) as (server, port):
        slow = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nAuthorization: Bearer %s\r\n\r\n"
        requests = (post(request_body(), key=KEY), slow % KEY.encode())
        open_answers = [asyncio.ensure_future(send_request(port, request)) for request in requests]
        await wait_until(lambda: len(server.clients) == 2)
        refused = await send_request(port, post(request_body(), key=KEY))
        assert (refused.status, refused.headers["retry-after"], refused.error["code"]) == (429, "1", "share")
        other = asyncio.ensure_future(send_request(port, post(request_body(), key="south-window-9876543210")))
        await wait_until(lambda: model.active == 2)
        (tmp_path / "keys").write_text(f"{KEY} north\n")  # a key without competitors may open all
        third = asyncio.ensure_future(send_request(port, post(request_body(), key=KEY)))
        await wait_until(lambda: model.active == 3)
        open_answers[1].cancel()
        model.may_step.set()
        assert [(await task).status for task in (open_answers[0], other, third)] == [200] * 3


async def test_conversations_of_two_keys_are_kept_apart(tmp_path: Any) -> None:
    model = FakeBatchModel()
    body = request_body(asr33={"conversation": "c"})
    async with running_server(model, keys=make_keys(tmp_path)) as (_, port):
        for key in (KEY, KEY, "south-window-9876543210"):
            await send_request(port, post(body, key=key))
        await send_request(port, post(request_body(), key=KEY))
    first, second, other, unnamed = (request.conversation for request in model.requests)
    assert first == second != other
    assert unnamed == ""


async def test_no_answer_starts_if_the_body_ends_after_the_drain_began() -> None:
    async with running_server(FakeBatchModel()) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            whole = post(request_body())
            writer.write(whole[:-1])
            await wait_until(lambda: server.clients)
            draining = asyncio.ensure_future(server.drain(5))
            await asyncio.sleep(0)
            writer.write(whole[-1:])
            assert (await read_reply(reader)).error["code"] == "draining"
            await draining


async def test_without_a_seed_each_answer_gets_its_own() -> None:
    model = FakeBatchModel()
    async with running_server(model) as (_, port):
        for _ in range(3):
            await send_request(port, post(request_body()))
        await send_request(port, post(request_body(seed=7)))
    *chosen, requested = (request.sampling.seed for request in model.requests)
    assert (len(set(chosen)), requested) == (3, 7)


async def test_without_keys_a_web_page_is_refused(tmp_path: Any) -> None:
    data = post(request_body()).replace(b"Host: x", b"Host: x\r\nOrigin: http://evil.example")
    async with running_server(FakeBatchModel()) as (_, port):
        refused = await send_request(port, data)
    assert (refused.status, refused.error["type"]) == (403, "permission_error")
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        reply = await send_request(port, data.replace(b"Origin", f"Authorization: bearer {KEY}\r\nOrigin".encode()))
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


async def test_a_target_may_be_a_whole_url_without_evading_the_keys(tmp_path: Any) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        assert (await send_request(port, get("http://x/health"))).status == 200
        assert (await send_request(port, get("http://x:80/v1/models", key=KEY))).status == 200
        evasions = (
            "http://x/v1/models",
            "http://x",
            "/health/../v1/models",
            "http://health",
            "//health",
            "/a://b/health",
        )
        for target in evasions:
            assert (await send_request(port, get(target))).status == 401


async def test_an_error_before_the_first_chunk_has_a_status_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeBatchModel()
    async with running_server(model) as (_, port):
        model.refusal = ModelError("no cache is free; try again", "busy")
        busy = await send_request(port, post(request_body(stream=True)))
        model.refusal = ModelDamaged("the graph is in /home/somebody")
        broken = await send_request(port, post(request_body(stream=True)))
    assert (busy.status, busy.headers["retry-after"]) == (429, "1")
    assert broken.status == 500
    assert b"somebody" not in broken.body
    assert caplog.text.count("the model failed: ModelDamaged at ") == 1
    assert "somebody" not in caplog.text


@pytest.mark.parametrize("failure", [ModelDamaged("a secret"), ZeroDivisionError("a secret")])
async def test_an_error_in_a_stream_is_its_last_event(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    model = FakeBatchModel()
    model.failure = failure
    async with running_server(model) as (_, port):
        reply = await send_request(port, post(request_body(stream=True)))
    assert reply.status == 200
    last = parse_events(reply.body)[-1]
    assert isinstance(last, response.ErrorInfo)
    assert last.status == 500
    assert b"secret" not in reply.body
    assert caplog.text.count(f"{type(failure).__name__} at ") == 1
    assert "secret" not in caplog.text


async def test_an_unforeseen_error_gives_500_and_its_place_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeBatchModel()
    model.refusal = ZeroDivisionError("a secret")
    with caplog.at_level(logging.DEBUG):
        async with running_server(model) as (_, port):
            reply = await send_request(port, post(request_body()))
    assert (reply.status, reply.error["type"]) == (500, "server_error")
    assert "ZeroDivisionError at " in caplog.text
    assert "secret" not in caplog.text + reply.body.decode()


async def test_while_the_model_loads_health_says_so_and_requests_are_refused() -> None:
    model = FakeBatchModel()
    model.loaded.clear()
    async with running_server(model, loaded=False) as (server, port):
        loading = asyncio.ensure_future(server.open_when_loaded())
        health = await send_request(port, get("/health"))
        refused = await send_request(port, post(request_body()))
        page = await send_request(port, get("/metrics"))
        model.loaded.set()
        await loading
        assert (await send_request(port, get("/health"))).json() == {"status": "ok"}
    assert (health.status, health.json()["status"]) == (503, "loading")
    assert (refused.status, refused.headers["retry-after"], refused.error["code"]) == (503, "1", "loading")
    assert b"asr33_up 0\n" in page.body


async def test_draining_finishes_open_answers_and_refuses_others() -> None:
    model = FakeBatchModel("The end.")
    model.may_step.clear()
    async with running_server(model) as (server, port):
        open_answer = asyncio.ensure_future(send_request(port, post(request_body())))
        await wait_until(lambda: model.active)
        draining = asyncio.ensure_future(server.drain(10))
        await asyncio.sleep(0)
        refused = await send_request(port, post(request_body()))
        health = await send_request(port, get("/health"))
        assert not draining.done()
        model.may_step.set()
        assert (await open_answer).json()["choices"][0]["text"] == "The end."
        await draining
    assert (refused.status, refused.error["code"]) == (503, "draining")
    assert (health.status, health.json()["status"]) == (503, "draining")


async def test_an_answer_that_outlasts_the_drain_ends_with_an_error() -> None:
    model = FakeBatchModel("ab", every_s=0.01)
    async with running_server(model, limits=SHORT_WAITS) as (server, port):
        model.text = "a" * 100_000
        streamed = asyncio.ensure_future(send_request(port, post(request_body(stream=True, max_tokens=4000))))
        whole = asyncio.ensure_future(send_request(port, post(request_body(max_tokens=4000))))
        await wait_until(lambda: model.steps > 4)
        await server.drain(0.05)
        last = parse_events((await streamed).body)[-1]
        assert isinstance(last, response.ErrorInfo)
        assert (last.status, last.code) == (503, "draining")
        assert (await whole).status == 503
        assert model.ended == 2


async def test_the_metrics_count_requests_steps_and_connections(tmp_path: Any) -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        await send_request(port, post(request_body()))
        await send_request(port, get("/somewhere/secret"))
        page = (await send_request(port, get("/metrics"))).body.decode()
    assert 'asr33_requests_total{what="completions",status="200"} 1\n' in page
    assert 'asr33_requests_total{what="other",status="404"} 1\n' in page
    assert "asr33_batch_steps_total 4\n" in page
    assert "asr33_batch_active 0\n" in page
    assert "asr33_connections 1\n" in page
    assert "secret" not in page


KEY = "north-window-0123456789"


def make_keys(folder: Any) -> ApiKeys:
    path = folder / "keys"
    path.write_text(f"{KEY} north\nsouth-window-9876543210\n")
    path.chmod(0o600)
    return ApiKeys(path)


async def test_without_a_key_only_health_is_answered(tmp_path: Any) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        for path in ("/v1/models", "/metrics", "/v1/completions", "/nowhere"):
            missing = await send_request(port, get(path))
            wrong = await send_request(port, get(path, key="north-window-0123456788"))
            assert (missing.status, wrong.status) == (401, 401)
            assert missing.headers["www-authenticate"] == "Bearer"
            assert missing.error["code"] == "invalid_api_key"
        assert (await send_request(port, get("/health"))).status == 200


async def test_a_body_without_a_key_is_refused_unread(tmp_path: Any) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 9999)
            assert (await read_reply(reader)).status == 401


async def test_the_log_names_key_and_token_count_and_no_word_of_the_text(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(1):
        async with running_server(FakeBatchModel("Pumpernickel."), keys=make_keys(tmp_path)) as (_, port):
            await send_request(port, post(request_body("Rumpelstilzchen", stream=True), key=KEY))
            await send_request(port, post(request_body("Rumpelstilzchen" * 3000), key=KEY))
            await send_request(port, post(b'{"prompt": "Rumpelstilzchen', key=KEY))
            await send_request(port, get("/Rumpelstilzchen?Rumpelstilzchen", key=KEY))
            await send_request(port, b"Rumpelstilzchen\r\n\r\n")
            page = (await send_request(port, get("/metrics", key=KEY))).body.decode()
    everything = caplog.text + page + "".join(capfd.readouterr())
    for word in ("Rumpelstilz", "Pumpernickel", KEY):
        assert word not in everything.replace("Using selector", "")
    lines = [record.getMessage() for record in caplog.records if record.name == "asr33.serve"]
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d "
    refused = "north, from 127\\.0\\.0\\.1"
    for line, pattern in zip(
        lines,
        (
            r"POST /v1/completions 200, 13 tokens, \d+ ms, \d{4} bytes, north",
            rf"POST /v1/completions 400, 0 tokens, \d+ ms, \d+ bytes, {refused}",
            rf"POST /v1/completions 400, 0 tokens, \d+ ms, \d+ bytes, {refused}",
            rf"GET \(another path\) 404, 0 tokens, \d+ ms, \d+ bytes, {refused}",
            r"\(no request\) 400, from 127\.0\.0\.1",
            r"GET /metrics 200, 0 tokens, \d+ ms, \d+ bytes, north",
        ),
        strict=True,
    ):
        assert re.fullmatch(time + pattern, line), line


async def test_the_lifespan_of_an_app_loads_and_closes_the_model() -> None:
    model = FakeBatchModel()
    app = create_app(model, name="tiny", limits=SHORT_WAITS)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://tiny", trust_env=False) as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
    assert model.is_closed
