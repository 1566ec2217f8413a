"""The app at a real socket: what it answers, what it refuses, whom it stops serving, and how it goes down."""

import asyncio
import logging
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fakes_server import Typist, asked, chunk_of, get, head_of, post, reply_of, serving, until

from model.base import Ask, Sampling
from model.errors import ModelBusy, ModelDamaged
from model.far import wire
from model.serving.door import Limits
from model.serving.keys import Keys
from model.serving.server import app

SOON = Limits(first_s=0.05, ping_s=0.05)


def request(prompt: object = "Hello", **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": prompt, "max_tokens": 100, **more}


def events(body: bytes) -> list[wire.Event]:
    return [wire.read(part[6:].decode()) for part in body.split(b"\n\n") if part.startswith(b"data: ")]


async def test_an_answer_comes_whole_in_openais_shape() -> None:
    async with serving(Typist("Yes.")) as (_, port):
        reply = await asked(port, post(request()))
    assert reply.status == 200
    body = reply.json()
    assert body["object"] == "text_completion"
    assert body["choices"][0] == {"index": 0, "text": "Yes.", "logprobs": None, "finish_reason": "stop"}
    assert body["usage"]["prompt_tokens"] == 5
    assert body["usage"]["completion_tokens"] == 4
    assert body["asr33"]["tokens"] == [ord(char) for char in "Yes."]


async def test_a_stream_has_the_pieces_then_the_usage_then_done() -> None:
    async with serving(Typist("Yes.")) as (_, port):
        asking = request(stream=True, stream_options={"include_usage": True})
        reply = await asked(port, post(asking))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-accel-buffering"] == "no"
    *chunks, count, done = events(reply.body)
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, wire.Chunk)) == "Yes."
    assert isinstance(count, wire.Chunk)
    assert count.usage == wire.Usage(5, 4)
    assert done == wire.Done()


async def test_httpx2_reads_what_our_own_wire_writes() -> None:
    batch = Typist("One two.")
    ask = Ask("Count:", replace(Sampling(), seed=7), said=(79, 110), alphabet="1963", pace=10.0, conversation="c")
    async with serving(batch) as (_, port), httpx2.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}/v1/completions"
        text = ""
        async with client.sse(url, method="POST", json=wire.Request("tiny", ask).to_json()) as source:
            async for event in source:
                said = wire.read(event.data)
                text += said.text if isinstance(said, wire.Chunk) else ""
    assert text == "e two."
    assert batch.asked == [ask]


async def test_each_piece_is_sent_at_once() -> None:
    batch = Typist("ab")
    batch.gate.clear()
    async with serving(batch) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(request(stream=True)))
            await until(lambda: batch.active)
            batch.gate.set()
            assert (await head_of(reader))[0] == 200
            assert b'"text":"a"' in await chunk_of(reader)


async def test_a_silence_is_filled_with_pings() -> None:
    batch = Typist("ab")
    batch.gate.clear()
    async with serving(batch, limits=SOON) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(request(stream=True)))
            assert (await head_of(reader))[0] == 200
            assert [await chunk_of(reader) for _ in range(3)] == [wire.PING] * 3
            batch.gate.set()
            while (said := await chunk_of(reader)) == wire.PING:
                pass
            assert b'"text":"a"' in said


@pytest.mark.parametrize("stream", [False, True])
async def test_whoever_hangs_up_costs_no_further_step(stream: bool) -> None:
    batch = Typist("x" * 1000)
    batch.gate.clear()
    async with serving(batch, limits=SOON) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(request(stream=stream)))
        await until(lambda: batch.active)
        writer.close()
        await until(lambda: batch.closed)
        batch.gate.set()
        await asyncio.sleep(0.02)
        assert batch.steps == 0
        assert not server.lines
        assert sum(server.requests.values()) == 1


async def test_whoever_does_not_read_is_not_written_for() -> None:
    batch = Typist("x" * 200_000)
    async with serving(batch, limits=Limits(max_tokens=1_000_000)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        with closing(writer):
            writer.write(post(request(stream=True, max_tokens=200_000)))
            await until(lambda: batch.steps)
            steps = -1
            while batch.steps != steps:
                steps = batch.steps
                await asyncio.sleep(0.1)
            assert 0 < steps < 100_000
            assert batch.active == 1
            await reader.readexactly(100_000)
            await until(lambda: batch.steps > steps)


async def test_a_prompt_read_ahead_is_answered_with_a_count_alone() -> None:
    async with serving(Typist()) as (_, port):
        reply = await asked(port, post(request("Once upon", asr33={"read": True})))
    assert reply.json()["usage"]["prompt_tokens"] == 9
    assert reply.json()["choices"][0]["text"] == ""


async def test_reading_ahead_ends_when_its_asker_goes() -> None:
    batch = Typist()
    batch.gate.clear()
    async with serving(batch) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(request(asr33={"read": True})))
        await until(lambda: batch.reading)
        writer.close()
        await until(lambda: not batch.reading)


async def test_the_model_is_on_its_card() -> None:
    async with serving(Typist(), vocabulary="abc", alphabets=("1963", "1968")) as (_, port):
        found = await asked(port, get("/v1/models"))
        one = await asked(port, get("/v1/models/tiny"))
        none = await asked(port, get("/v1/models/huge"))
    card = wire.Card("tiny", context=512, alphabets=("1963", "1968"), vocabulary="abc")
    assert wire.cards(found.json()) == [card]
    assert one.json() == card.to_json()
    assert (none.status, none.error["code"]) == (404, "model_not_found")


UNFIT: list[tuple[Any, int, str | None]] = [
    (b"{", 400, None),
    (b"[" * 60_000, 400, None),
    (b'{"prompt": "\xff"}', 400, None),
    (b"[]", 400, "body"),
    (request(prompt=[1, 2]), 422, "prompt"),
    (request(prompt=7), 422, "prompt"),
    (request(temperature="hot"), 400, "temperature"),
    (request(temperature=1e9), 422, "temperature"),
    (request(max_tokens=5000), 422, "max_tokens"),
    (request(n=3), 422, "n"),
    (request(prompt="x" * 600), 400, "prompt"),
    (request(prompt="x" * 40_000), 400, "prompt"),
    (request(model="other"), 404, "model"),
    (request(asr33={"said": [1] * 5000}), 422, "said"),
]


async def test_what_cannot_be_answered_is_refused_by_its_name() -> None:
    async with serving(Typist()) as (_, port):
        for body, status, param in UNFIT:
            reply = await asked(port, post(body))
            assert (reply.status, reply.error["param"]) == (status, param), str(body)[:99]


@pytest.mark.parametrize("prompt", [7, [1], [1, 2], [[1, 2]], [[1], [2]]])
async def test_a_prompt_of_tokens_is_told_from_one_of_many(prompt: object) -> None:
    async with serving(Typist()) as (_, port):
        tokens = await asked(port, post(request(prompt)))
        many = await asked(port, post(request(["One", "two"])))
    assert "tokens" in tokens.error["message"]
    assert "not 2" in many.error["message"]


async def test_each_logarithm_has_its_place_in_the_text_as_openai_counts_it() -> None:
    batch = Typist("Yes.")
    batch.logprobs = True
    async with serving(batch) as (_, port):
        whole = (await asked(port, post(request("Is it?", logprobs=1)))).json()["choices"][0]
        streamed = (await asked(port, post(request("Is it?", logprobs=1, stream=True)))).body
    assert whole["logprobs"]["text_offset"] == [6, 7, 8, 9]
    assert [f'"text_offset":[{at}]'.encode() in streamed for at in range(5, 11)] == [False, *[True] * 4, False]


async def test_tokens_from_a_cache_are_not_said_to_be_none_where_nobody_counted_them() -> None:
    async with serving(Typist()) as (_, port):
        usage = (await asked(port, post(request()))).json()["usage"]
    assert usage["prompt_tokens_details"] is None


async def test_a_path_and_a_method_that_are_not_there_are_refused_in_the_same_shape() -> None:
    async with serving(Typist()) as (_, port):
        nowhere = await asked(port, get("/v1/chat/completions"))
        not_so = await asked(port, get("/v1/completions"))
    assert (nowhere.status, nowhere.error["type"]) == (404, "invalid_request_error")
    assert (not_so.status, not_so.headers["allow"]) == (405, "POST")
    assert "POST" in not_so.error["message"]


async def test_a_body_too_large_is_refused_by_its_length_before_it_comes() -> None:
    async with serving(Typist(), limits=Limits(body=1000)) as (_, port):
        reply = await asked(port, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    assert (reply.status, reply.error["code"]) == (413, "body_too_large")


async def test_a_body_without_a_length_is_counted_as_it_comes() -> None:
    async with serving(Typist(), limits=Limits(body=1000)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                writer.write(b"190\r\n" + b"x" * 400 + b"\r\n")
            assert (await reply_of(reader)).status == 413


async def test_a_slow_body_is_not_waited_for() -> None:
    async with serving(Typist(), limits=Limits(body_s=0.05)) as (_, port):
        reply = await asked(port, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert (reply.status, reply.error["code"]) == (408, "slow_body")


async def test_all_that_comes_in_at_once_has_its_bound() -> None:
    slow = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900
    async with serving(Typist(), limits=Limits(bodies=2000, body_s=1.0)) as (_, port):
        replies = await asyncio.gather(*(asked(port, slow) for _ in range(5)))
        assert sorted(reply.status for reply in replies) == [408, 408, 503, 503, 503]
        assert (await asked(port, post(request()))).status == 200


async def test_more_lines_than_there_may_be_are_asked_to_come_back() -> None:
    batch = Typist()
    batch.gate.clear()
    async with serving(batch, limits=Limits(lines=2)) as (server, port):
        first = [asyncio.ensure_future(asked(port, post(request()))) for _ in range(2)]
        await until(lambda: len(server.lines) == 2)
        reply = await asked(port, post(request()))
        assert (reply.status, reply.headers["retry-after"], reply.error["type"]) == (429, "1", "rate_limit_error")
        batch.gate.set()
        assert [(await each).status for each in first] == [200, 200]
        assert (await asked(port, post(request()))).status == 200


async def test_one_key_cannot_take_all_lines(tmp_path: Any) -> None:
    batch, keys = Typist(), keyed(tmp_path)
    batch.gate.clear()
    async with serving(batch, keys=keys, limits=Limits(lines=9, each=2)) as (server, port):
        slow = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nAuthorization: Bearer %s\r\n\r\n"
        open_ = [asyncio.ensure_future(asked(port, ask)) for ask in (post(request(), key=KEY), slow % KEY.encode())]
        await until(lambda: len(server.lines) == 2)
        no = await asked(port, post(request(), key=KEY))
        assert (no.status, no.headers["retry-after"], no.error["code"]) == (429, "1", "share")
        other = asyncio.ensure_future(asked(port, post(request(), key="south-window-9876543210")))
        await until(lambda: batch.active == 2)
        (tmp_path / "keys").write_text(f"{KEY} north\n")  # who is alone may have them all
        third = asyncio.ensure_future(asked(port, post(request(), key=KEY)))
        await until(lambda: batch.active == 3)
        open_[1].cancel()
        batch.gate.set()
        assert [(await each).status for each in (open_[0], other, third)] == [200] * 3


async def test_a_conversation_is_its_keys_own_whatever_others_call_theirs(tmp_path: Any) -> None:
    batch = Typist()
    asking = request(asr33={"conversation": "c"})
    async with serving(batch, keys=keyed(tmp_path)) as (_, port):
        for key in (KEY, KEY, "south-window-9876543210"):
            await asked(port, post(asking, key=key))
        await asked(port, post(request(), key=KEY))
    one, two, other, none = (ask.conversation for ask in batch.asked)
    assert one == two != other
    assert none == ""


async def test_no_answer_is_begun_for_a_body_that_was_slower_than_the_end() -> None:
    async with serving(Typist()) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            whole = post(request())
            writer.write(whole[:-1])
            await until(lambda: server.lines)
            draining = asyncio.ensure_future(server.drain(5))
            await asyncio.sleep(0)
            writer.write(whole[-1:])
            assert (await reply_of(reader)).error["code"] == "draining"
            await draining


async def test_without_a_seed_no_two_answers_need_be_alike() -> None:
    batch = Typist()
    async with serving(batch) as (_, port):
        for _ in range(3):
            await asked(port, post(request()))
        await asked(port, post(request(seed=7)))
    *chosen, given = (ask.sampling.seed for ask in batch.asked)
    assert (len(set(chosen)), given) == (3, 7)


async def test_without_keys_no_page_of_a_browser_makes_it_work(tmp_path: Any) -> None:
    asking = post(request()).replace(b"Host: x", b"Host: x\r\nOrigin: http://evil.example")
    async with serving(Typist()) as (_, port):
        no = await asked(port, asking)
    assert (no.status, no.error["type"]) == (403, "permission_error")
    async with serving(Typist(), keys=keyed(tmp_path)) as (_, port):
        reply = await asked(port, asking.replace(b"Origin", f"Authorization: bearer {KEY}\r\nOrigin".encode()))
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


async def test_a_target_may_be_a_whole_url_but_not_to_pass_for_another(tmp_path: Any) -> None:
    async with serving(Typist(), keys=keyed(tmp_path)) as (_, port):
        assert (await asked(port, get("http://x/health"))).status == 200
        assert (await asked(port, get("http://x:80/v1/models", key=KEY))).status == 200
        for path in (
            "http://x/v1/models",
            "http://x",
            "/health/../v1/models",
            "http://health",
            "//health",
            "/a://b/health",
        ):
            assert (await asked(port, get(path))).status == 401


async def test_what_the_batch_says_no_to_has_a_status_before_the_first_piece(caplog: pytest.LogCaptureFixture) -> None:
    batch = Typist()
    async with serving(batch) as (_, port):
        batch.refusal = ModelBusy("no cache is free; try again")
        busy = await asked(port, post(request(stream=True)))
        batch.refusal = ModelDamaged("the graph is in /home/somebody")
        broken = await asked(port, post(request(stream=True)))
    assert (busy.status, busy.headers["retry-after"]) == (429, "1")
    assert broken.status == 500
    assert b"somebody" not in broken.body
    assert caplog.text.count("the model failed: ModelDamaged at ") == 1
    assert "somebody" not in caplog.text


@pytest.mark.parametrize("fault", [ModelDamaged("a secret"), ZeroDivisionError("a secret")])
async def test_what_breaks_in_mid_stream_is_its_last_event(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    batch = Typist()
    batch.fault = fault
    async with serving(batch) as (_, port):
        reply = await asked(port, post(request(stream=True)))
    assert reply.status == 200
    last = events(reply.body)[-1]
    assert isinstance(last, wire.Failure)
    assert last.status == 500
    assert b"secret" not in reply.body
    assert caplog.text.count(f"{type(fault).__name__} at ") == 1
    assert "secret" not in caplog.text


async def test_what_nobody_foresaw_is_a_500_and_its_place_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    batch = Typist()
    batch.refusal = ZeroDivisionError("a secret")
    with caplog.at_level(logging.DEBUG):
        async with serving(batch) as (_, port):
            reply = await asked(port, post(request()))
    assert (reply.status, reply.error["type"]) == (500, "server_error")
    assert "ZeroDivisionError at " in caplog.text
    assert "secret" not in caplog.text + reply.body.decode()


async def test_while_the_model_loads_health_says_so_and_nobody_is_served() -> None:
    batch = Typist()
    batch.loaded.clear()
    async with serving(batch, loaded=False) as (server, port):
        loading = asyncio.ensure_future(server.ready())
        health = await asked(port, get("/health"))
        no = await asked(port, post(request()))
        page = await asked(port, get("/metrics"))
        batch.loaded.set()
        await loading
        assert (await asked(port, get("/health"))).json() == {"status": "ok"}
    assert (health.status, health.json()["status"]) == (503, "loading")
    assert (no.status, no.headers["retry-after"], no.error["code"]) == (503, "1", "loading")
    assert b"asr33_up 0\n" in page.body


async def test_going_down_lets_answers_end_and_takes_no_more() -> None:
    batch = Typist("The end.")
    batch.gate.clear()
    async with serving(batch) as (server, port):
        under_way = asyncio.ensure_future(asked(port, post(request())))
        await until(lambda: batch.active)
        draining = asyncio.ensure_future(server.drain(10))
        await asyncio.sleep(0)
        refused = await asked(port, post(request()))
        health = await asked(port, get("/health"))
        assert not draining.done()
        batch.gate.set()
        assert (await under_way).json()["choices"][0]["text"] == "The end."
        await draining
    assert (refused.status, refused.error["code"]) == (503, "draining")
    assert (health.status, health.json()["status"]) == (503, "draining")


async def test_what_does_not_end_in_time_is_told_that_the_server_goes_down() -> None:
    batch = Typist("ab", every_s=0.01)
    async with serving(batch, limits=SOON) as (server, port):
        batch.text = "a" * 100_000
        streamed = asyncio.ensure_future(asked(port, post(request(stream=True, max_tokens=4000))))
        whole = asyncio.ensure_future(asked(port, post(request(max_tokens=4000))))
        await until(lambda: batch.steps > 4)
        await server.drain(0.05)
        last = events((await streamed).body)[-1]
        assert isinstance(last, wire.Failure)
        assert (last.status, last.code) == (503, "draining")
        assert (await whole).status == 503
        assert batch.closed == 2


async def test_the_metrics_are_numbers(tmp_path: Any) -> None:
    async with serving(Typist("Yes.")) as (_, port):
        await asked(port, post(request()))
        await asked(port, get("/somewhere/secret"))
        page = (await asked(port, get("/metrics"))).body.decode()
    assert 'asr33_requests_total{what="completions",status="200"} 1\n' in page
    assert 'asr33_requests_total{what="other",status="404"} 1\n' in page
    assert "asr33_batch_steps_total 4\n" in page
    assert "asr33_batch_active 0\n" in page
    assert "asr33_connections 1\n" in page
    assert "secret" not in page


KEY = "north-window-0123456789"


def keyed(folder: Any) -> Keys:
    path = folder / "keys"
    path.write_text(f"{KEY} north\nsouth-window-9876543210\n")
    path.chmod(0o600)
    return Keys(path)


async def test_without_a_key_nothing_is_told_but_health(tmp_path: Any) -> None:
    async with serving(Typist(), keys=keyed(tmp_path)) as (_, port):
        for path in ("/v1/models", "/metrics", "/v1/completions", "/nowhere"):
            none = await asked(port, get(path))
            wrong = await asked(port, get(path, key="north-window-0123456788"))
            assert (none.status, wrong.status) == (401, 401)
            assert none.headers["www-authenticate"] == "Bearer"
            assert none.error["code"] == "invalid_api_key"
        assert (await asked(port, get("/health"))).status == 200


async def test_a_stranger_sends_a_hundred_megabytes_to_nobody(tmp_path: Any) -> None:
    async with serving(Typist(), keys=keyed(tmp_path)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 9999)
            assert (await reply_of(reader)).status == 401


async def test_the_log_has_who_and_how_much_and_no_word_of_it(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(1):
        async with serving(Typist("Pumpernickel."), keys=keyed(tmp_path)) as (_, port):
            await asked(port, post(request("Rumpelstilzchen", stream=True), key=KEY))
            await asked(port, post(request("Rumpelstilzchen" * 3000), key=KEY))
            await asked(port, post(b'{"prompt": "Rumpelstilzchen', key=KEY))
            await asked(port, get("/Rumpelstilzchen?Rumpelstilzchen", key=KEY))
            await asked(port, b"Rumpelstilzchen\r\n\r\n")
            page = (await asked(port, get("/metrics", key=KEY))).body.decode()
    everything = caplog.text + page + "".join(capfd.readouterr())
    assert "completions 200, 13 tokens, 0." in caplog.text
    assert " s, north" in caplog.text
    for word in ("Rumpelstilz", "Pumpernickel", KEY, "127.0.0.1"):
        assert word not in everything.replace("Using selector", "")


async def test_an_app_by_itself_loads_and_closes_its_batch() -> None:
    batch = Typist()
    made = app(batch, name="tiny", limits=SOON)
    async with made.router.lifespan_context(made):
        transport = httpx2.ASGITransport(made)
        async with httpx2.AsyncClient(transport=transport, base_url="http://tiny", trust_env=False) as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
    assert batch.shut
