"""The app at a real socket: what it answers, what it refuses, whom it stops serving, and how it goes down."""

import asyncio
import logging
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fakes_server import (
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

from model.errors import ModelBusy, ModelDamaged
from model.interface import CompletionRequest, Sampling
from model.openai_api import response
from model.server.api_keys import ApiKeys
from model.server.app import create_app
from model.server.limits import RequestLimits

SOON = RequestLimits(first_chunk_s=0.05, keepalive_s=0.05)


def request_body(prompt: object = "Hello", **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": prompt, "max_tokens": 100, **more}


def parse_events(body: bytes) -> list[response.StreamEvent]:
    return [response.decode_event(part[6:].decode()) for part in body.split(b"\n\n") if part.startswith(b"data: ")]


async def test_an_answer_comes_whole_in_openais_shape() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        reply = await send_request(port, post(request_body()))
    assert reply.status == 200
    body = reply.json()
    assert body["object"] == "text_completion"
    assert body["choices"][0] == {"index": 0, "text": "Yes.", "logprobs": None, "finish_reason": "stop"}
    assert body["usage"]["prompt_tokens"] == 5
    assert body["usage"]["completion_tokens"] == 4
    assert body["asr33"]["tokens"] == [ord(char) for char in "Yes."]


async def test_a_stream_has_the_pieces_then_the_usage_then_done() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        asking = request_body(stream=True, stream_options={"include_usage": True})
        reply = await send_request(port, post(asking))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-accel-buffering"] == "no"
    *chunks, count, done = parse_events(reply.body)
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, response.CompletionChunk)) == "Yes."
    assert isinstance(count, response.CompletionChunk)
    assert count.usage == response.Usage(5, 4)
    assert done == response.StreamEnd()


async def test_httpx2_reads_what_our_own_wire_writes() -> None:
    batch = FakeBatchModel("One two.")
    ask = CompletionRequest(
        "Count:",
        replace(Sampling(), seed=7),
        resume_tokens=(79, 110),
        alphabet="1963",
        chars_per_second=10.0,
        conversation="c",
    )
    async with running_server(batch) as (_, port), httpx2.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}/v1/completions"
        text = ""
        async with client.sse(url, method="POST", json=response.OpenAIRequest("tiny", ask).to_json()) as source:
            async for event in source:
                said = response.decode_event(event.data)
                text += said.text if isinstance(said, response.CompletionChunk) else ""
    assert text == "e two."
    assert batch.requests == [ask]


async def test_each_piece_is_sent_at_once() -> None:
    batch = FakeBatchModel("ab")
    batch.may_step.clear()
    async with running_server(batch) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(request_body(stream=True)))
            await wait_until(lambda: batch.active)
            batch.may_step.set()
            assert (await read_head(reader))[0] == 200
            assert b'"text":"a"' in await read_chunk(reader)


async def test_a_silence_is_filled_with_pings() -> None:
    batch = FakeBatchModel("ab")
    batch.may_step.clear()
    async with running_server(batch, limits=SOON) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(request_body(stream=True)))
            assert (await read_head(reader))[0] == 200
            assert [await read_chunk(reader) for _ in range(3)] == [response.PING] * 3
            batch.may_step.set()
            while (said := await read_chunk(reader)) == response.PING:
                pass
            assert b'"text":"a"' in said


@pytest.mark.parametrize("stream", [False, True])
async def test_whoever_hangs_up_costs_no_further_step(stream: bool) -> None:
    batch = FakeBatchModel("x" * 1000)
    batch.may_step.clear()
    async with running_server(batch, limits=SOON) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(request_body(stream=stream)))
        await wait_until(lambda: batch.active)
        writer.close()
        await wait_until(lambda: batch.ended)
        batch.may_step.set()
        await asyncio.sleep(0.02)
        assert batch.steps == 0
        assert not server.clients
        assert sum(server.request_counts.values()) == 1


async def test_whoever_does_not_read_is_not_written_for() -> None:
    batch = FakeBatchModel("x" * 200_000)
    async with running_server(batch, limits=RequestLimits(max_tokens=1_000_000)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        with closing(writer):
            writer.write(post(request_body(stream=True, max_tokens=200_000)))
            await wait_until(lambda: batch.steps)
            steps = -1
            while batch.steps != steps:
                steps = batch.steps
                await asyncio.sleep(0.1)
            assert 0 < steps < 100_000
            assert batch.active == 1
            await reader.readexactly(100_000)
            await wait_until(lambda: batch.steps > steps)


async def test_a_prompt_read_ahead_is_answered_with_a_count_alone() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        reply = await send_request(port, post(request_body("Once upon", asr33={"read": True})))
    assert reply.json()["usage"]["prompt_tokens"] == 9
    assert reply.json()["choices"][0]["text"] == ""


async def test_reading_ahead_ends_when_its_asker_goes() -> None:
    batch = FakeBatchModel()
    batch.may_step.clear()
    async with running_server(batch) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(request_body(asr33={"read": True})))
        await wait_until(lambda: batch.prefilling)
        writer.close()
        await wait_until(lambda: not batch.prefilling)


async def test_the_model_is_on_its_card() -> None:
    async with running_server(FakeBatchModel(), vocabulary="abc", alphabets=("1963", "1968")) as (_, port):
        found = await send_request(port, get("/v1/models"))
        one = await send_request(port, get("/v1/models/tiny"))
        none = await send_request(port, get("/v1/models/huge"))
    card = response.ModelInfo("tiny", context=512, alphabets=("1963", "1968"), vocabulary="abc")
    assert response.decode_models(found.json()) == [card]
    assert one.json() == card.to_json()
    assert (none.status, none.error["code"]) == (404, "model_not_found")


UNFIT: list[tuple[Any, int, str | None]] = [
    (b"{", 400, None),
    (b"[" * 60_000, 400, None),
    (b'{"prompt": "\xff"}', 400, None),
    (b"[]", 400, "body"),
    (request_body(prompt=[1, 2]), 422, "prompt"),
    (request_body(prompt=7), 422, "prompt"),
    (request_body(temperature="hot"), 400, "temperature"),
    (request_body(temperature=1e9), 422, "temperature"),
    (request_body(max_tokens=5000), 422, "max_tokens"),
    (request_body(n=3), 422, "n"),
    (request_body(prompt="x" * 600), 400, "prompt"),
    (request_body(prompt="x" * 40_000), 400, "prompt"),
    (request_body(model="other"), 404, "model"),
    (request_body(asr33={"said": [1] * 5000}), 422, "said"),
]


async def test_what_cannot_be_answered_is_refused_by_its_name() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        for body, status, param in UNFIT:
            reply = await send_request(port, post(body))
            assert (reply.status, reply.error["param"]) == (status, param), str(body)[:99]


@pytest.mark.parametrize("prompt", [7, [1], [1, 2], [[1, 2]], [[1], [2]]])
async def test_a_prompt_of_tokens_is_told_from_one_of_many(prompt: object) -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        tokens = await send_request(port, post(request_body(prompt)))
        many = await send_request(port, post(request_body(["One", "two"])))
    assert "tokens" in tokens.error["message"]
    assert "not 2" in many.error["message"]


async def test_each_logarithm_has_its_place_in_the_text_as_openai_counts_it() -> None:
    batch = FakeBatchModel("Yes.")
    batch.with_logprobs = True
    async with running_server(batch) as (_, port):
        whole = (await send_request(port, post(request_body("Is it?", logprobs=1)))).json()["choices"][0]
        streamed = (await send_request(port, post(request_body("Is it?", logprobs=1, stream=True)))).body
    assert whole["logprobs"]["text_offset"] == [6, 7, 8, 9]
    assert [f'"text_offset":[{at}]'.encode() in streamed for at in range(5, 11)] == [False, *[True] * 4, False]


async def test_tokens_from_a_cache_are_not_said_to_be_none_where_nobody_counted_them() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        usage = (await send_request(port, post(request_body()))).json()["usage"]
    assert usage["prompt_tokens_details"] is None


async def test_a_path_and_a_method_that_are_not_there_are_refused_in_the_same_shape() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        nowhere = await send_request(port, get("/v1/chat/completions"))
        not_so = await send_request(port, get("/v1/completions"))
    assert (nowhere.status, nowhere.error["type"]) == (404, "invalid_request_error")
    assert (not_so.status, not_so.headers["allow"]) == (405, "POST")
    assert "POST" in not_so.error["message"]


async def test_a_body_too_large_is_refused_by_its_length_before_it_comes() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_bytes=1000)) as (_, port):
        reply = await send_request(port, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    assert (reply.status, reply.error["code"]) == (413, "body_too_large")


async def test_a_body_without_a_length_is_counted_as_it_comes() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_bytes=1000)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                writer.write(b"190\r\n" + b"x" * 400 + b"\r\n")
            assert (await read_reply(reader)).status == 413


async def test_a_slow_body_is_not_waited_for() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_timeout_s=0.05)) as (_, port):
        reply = await send_request(port, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert (reply.status, reply.error["code"]) == (408, "slow_body")


async def test_all_that_comes_in_at_once_has_its_bound() -> None:
    slow = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900
    async with running_server(FakeBatchModel(), limits=RequestLimits(all_bodies_bytes=2000, body_timeout_s=1.0)) as (
        _,
        port,
    ):
        replies = await asyncio.gather(*(send_request(port, slow) for _ in range(5)))
        assert sorted(reply.status for reply in replies) == [408, 408, 503, 503, 503]
        assert (await send_request(port, post(request_body()))).status == 200


async def test_more_lines_than_there_may_be_are_asked_to_come_back() -> None:
    batch = FakeBatchModel()
    batch.may_step.clear()
    async with running_server(batch, limits=RequestLimits(open_answers=2)) as (server, port):
        first = [asyncio.ensure_future(send_request(port, post(request_body()))) for _ in range(2)]
        await wait_until(lambda: len(server.clients) == 2)
        reply = await send_request(port, post(request_body()))
        assert (reply.status, reply.headers["retry-after"], reply.error["type"]) == (429, "1", "rate_limit_error")
        batch.may_step.set()
        assert [(await each).status for each in first] == [200, 200]
        assert (await send_request(port, post(request_body()))).status == 200


async def test_one_key_cannot_take_all_lines(tmp_path: Any) -> None:
    batch, keys = FakeBatchModel(), make_keys(tmp_path)
    batch.may_step.clear()
    async with running_server(batch, keys=keys, limits=RequestLimits(open_answers=9, answers_per_key=2)) as (
        server,
        port,
    ):
        slow = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nAuthorization: Bearer %s\r\n\r\n"
        open_ = [
            asyncio.ensure_future(send_request(port, ask))
            for ask in (post(request_body(), key=KEY), slow % KEY.encode())
        ]
        await wait_until(lambda: len(server.clients) == 2)
        no = await send_request(port, post(request_body(), key=KEY))
        assert (no.status, no.headers["retry-after"], no.error["code"]) == (429, "1", "share")
        other = asyncio.ensure_future(send_request(port, post(request_body(), key="south-window-9876543210")))
        await wait_until(lambda: batch.active == 2)
        (tmp_path / "keys").write_text(f"{KEY} north\n")  # who is alone may have them all
        third = asyncio.ensure_future(send_request(port, post(request_body(), key=KEY)))
        await wait_until(lambda: batch.active == 3)
        open_[1].cancel()
        batch.may_step.set()
        assert [(await each).status for each in (open_[0], other, third)] == [200] * 3


async def test_a_conversation_is_its_keys_own_whatever_others_call_theirs(tmp_path: Any) -> None:
    batch = FakeBatchModel()
    asking = request_body(asr33={"conversation": "c"})
    async with running_server(batch, keys=make_keys(tmp_path)) as (_, port):
        for key in (KEY, KEY, "south-window-9876543210"):
            await send_request(port, post(asking, key=key))
        await send_request(port, post(request_body(), key=KEY))
    one, two, other, none = (ask.conversation for ask in batch.requests)
    assert one == two != other
    assert none == ""


async def test_no_answer_is_begun_for_a_body_that_was_slower_than_the_end() -> None:
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


async def test_without_a_seed_no_two_answers_need_be_alike() -> None:
    batch = FakeBatchModel()
    async with running_server(batch) as (_, port):
        for _ in range(3):
            await send_request(port, post(request_body()))
        await send_request(port, post(request_body(seed=7)))
    *chosen, given = (ask.sampling.seed for ask in batch.requests)
    assert (len(set(chosen)), given) == (3, 7)


async def test_without_keys_no_page_of_a_browser_makes_it_work(tmp_path: Any) -> None:
    asking = post(request_body()).replace(b"Host: x", b"Host: x\r\nOrigin: http://evil.example")
    async with running_server(FakeBatchModel()) as (_, port):
        no = await send_request(port, asking)
    assert (no.status, no.error["type"]) == (403, "permission_error")
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        reply = await send_request(port, asking.replace(b"Origin", f"Authorization: bearer {KEY}\r\nOrigin".encode()))
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


async def test_a_target_may_be_a_whole_url_but_not_to_pass_for_another(tmp_path: Any) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        assert (await send_request(port, get("http://x/health"))).status == 200
        assert (await send_request(port, get("http://x:80/v1/models", key=KEY))).status == 200
        for path in (
            "http://x/v1/models",
            "http://x",
            "/health/../v1/models",
            "http://health",
            "//health",
            "/a://b/health",
        ):
            assert (await send_request(port, get(path))).status == 401


async def test_what_the_batch_says_no_to_has_a_status_before_the_first_piece(caplog: pytest.LogCaptureFixture) -> None:
    batch = FakeBatchModel()
    async with running_server(batch) as (_, port):
        batch.refusal = ModelBusy("no cache is free; try again")
        busy = await send_request(port, post(request_body(stream=True)))
        batch.refusal = ModelDamaged("the graph is in /home/somebody")
        broken = await send_request(port, post(request_body(stream=True)))
    assert (busy.status, busy.headers["retry-after"]) == (429, "1")
    assert broken.status == 500
    assert b"somebody" not in broken.body
    assert caplog.text.count("the model failed: ModelDamaged at ") == 1
    assert "somebody" not in caplog.text


@pytest.mark.parametrize("fault", [ModelDamaged("a secret"), ZeroDivisionError("a secret")])
async def test_what_breaks_in_mid_stream_is_its_last_event(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    batch = FakeBatchModel()
    batch.failure = fault
    async with running_server(batch) as (_, port):
        reply = await send_request(port, post(request_body(stream=True)))
    assert reply.status == 200
    last = parse_events(reply.body)[-1]
    assert isinstance(last, response.ErrorInfo)
    assert last.status == 500
    assert b"secret" not in reply.body
    assert caplog.text.count(f"{type(fault).__name__} at ") == 1
    assert "secret" not in caplog.text


async def test_what_nobody_foresaw_is_a_500_and_its_place_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    batch = FakeBatchModel()
    batch.refusal = ZeroDivisionError("a secret")
    with caplog.at_level(logging.DEBUG):
        async with running_server(batch) as (_, port):
            reply = await send_request(port, post(request_body()))
    assert (reply.status, reply.error["type"]) == (500, "server_error")
    assert "ZeroDivisionError at " in caplog.text
    assert "secret" not in caplog.text + reply.body.decode()


async def test_while_the_model_loads_health_says_so_and_nobody_is_served() -> None:
    batch = FakeBatchModel()
    batch.loaded.clear()
    async with running_server(batch, loaded=False) as (server, port):
        loading = asyncio.ensure_future(server.open_when_loaded())
        health = await send_request(port, get("/health"))
        no = await send_request(port, post(request_body()))
        page = await send_request(port, get("/metrics"))
        batch.loaded.set()
        await loading
        assert (await send_request(port, get("/health"))).json() == {"status": "ok"}
    assert (health.status, health.json()["status"]) == (503, "loading")
    assert (no.status, no.headers["retry-after"], no.error["code"]) == (503, "1", "loading")
    assert b"asr33_up 0\n" in page.body


async def test_going_down_lets_answers_end_and_takes_no_more() -> None:
    batch = FakeBatchModel("The end.")
    batch.may_step.clear()
    async with running_server(batch) as (server, port):
        under_way = asyncio.ensure_future(send_request(port, post(request_body())))
        await wait_until(lambda: batch.active)
        draining = asyncio.ensure_future(server.drain(10))
        await asyncio.sleep(0)
        refused = await send_request(port, post(request_body()))
        health = await send_request(port, get("/health"))
        assert not draining.done()
        batch.may_step.set()
        assert (await under_way).json()["choices"][0]["text"] == "The end."
        await draining
    assert (refused.status, refused.error["code"]) == (503, "draining")
    assert (health.status, health.json()["status"]) == (503, "draining")


async def test_what_does_not_end_in_time_is_told_that_the_server_goes_down() -> None:
    batch = FakeBatchModel("ab", every_s=0.01)
    async with running_server(batch, limits=SOON) as (server, port):
        batch.text = "a" * 100_000
        streamed = asyncio.ensure_future(send_request(port, post(request_body(stream=True, max_tokens=4000))))
        whole = asyncio.ensure_future(send_request(port, post(request_body(max_tokens=4000))))
        await wait_until(lambda: batch.steps > 4)
        await server.drain(0.05)
        last = parse_events((await streamed).body)[-1]
        assert isinstance(last, response.ErrorInfo)
        assert (last.status, last.code) == (503, "draining")
        assert (await whole).status == 503
        assert batch.ended == 2


async def test_the_metrics_are_numbers(tmp_path: Any) -> None:
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


async def test_without_a_key_nothing_is_told_but_health(tmp_path: Any) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        for path in ("/v1/models", "/metrics", "/v1/completions", "/nowhere"):
            none = await send_request(port, get(path))
            wrong = await send_request(port, get(path, key="north-window-0123456788"))
            assert (none.status, wrong.status) == (401, 401)
            assert none.headers["www-authenticate"] == "Bearer"
            assert none.error["code"] == "invalid_api_key"
        assert (await send_request(port, get("/health"))).status == 200


async def test_a_stranger_sends_a_hundred_megabytes_to_nobody(tmp_path: Any) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 9999)
            assert (await read_reply(reader)).status == 401


async def test_the_log_has_who_and_how_much_and_no_word_of_it(
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
    assert "completions 200, 13 tokens, 0." in caplog.text
    assert " s, north" in caplog.text
    for word in ("Rumpelstilz", "Pumpernickel", KEY, "127.0.0.1"):
        assert word not in everything.replace("Using selector", "")


async def test_an_app_by_itself_loads_and_closes_its_batch() -> None:
    batch = FakeBatchModel()
    made = create_app(batch, name="tiny", limits=SOON)
    async with made.router.lifespan_context(made):
        transport = httpx2.ASGITransport(made)
        async with httpx2.AsyncClient(transport=transport, base_url="http://tiny", trust_env=False) as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
    assert batch.is_closed
