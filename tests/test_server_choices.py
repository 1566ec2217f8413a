"""The application on a real socket: chats, several answers of one request, echo, logprobs."""

import asyncio
import json
from contextlib import closing
from typing import Any

import pytest
from fakes_completion_server import (
    FakeBatchModel,
    get,
    post,
    read_head,
    running_server,
    send_request,
    wait_until,
)
from test_server_app import KEY, make_keys, parse_events, request_body

from model.dialogue import Speakers
from model.errors import ModelDamaged, ModelError
from model.openai_api import response
from model.server.limits import RequestLimits

CHAT = "/v1/chat/completions"


def chat_body(content: object = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **fields}


def chat_events(body: bytes) -> list[Any]:
    parts = [part[6:] for part in body.decode().split("\n\n") if part.startswith("data: ")]
    assert parts.pop() == "[DONE]"
    return [json.loads(part) for part in parts]


async def test_a_whole_chat_answer_has_the_shape_of_openai() -> None:
    model = FakeBatchModel(" Yes.\n  Why?\n")
    async with running_server(model) as (_, port):
        reply = await send_request(port, post(chat_body(), path=CHAT))
    body = reply.json()
    assert (body["object"], body["id"][:9]) == ("chat.completion", "chatcmpl-")
    message = {"role": "assistant", "content": "Yes.\nWhy?", "refusal": None}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["prompt_tokens"] == len("User: Hello\nAssistant:")
    assert model.requests[0].prompt == "User: Hello\nAssistant:"
    assert model.requests[0].sampling.stop == ("\nUser:",)


async def test_a_chat_stream_begins_with_the_role_and_ends_with_usage_and_done() -> None:
    async with running_server(FakeBatchModel(" Yes.")) as (_, port):
        body = chat_body(stream=True, stream_options={"include_usage": True})
        reply = await send_request(port, post(body, path=CHAT))
    role, *texts, finish, usage = chat_events(reply.body)
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(event["choices"][0]["delta"]["content"] for event in texts) == "Yes."
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 5)


async def test_the_personas_own_tag_is_not_part_of_its_message() -> None:
    model = FakeBatchModel(" Yes.\nAnn: Sure.")
    async with running_server(model, speakers=Speakers("Ann", "Bob", ("Ann", "Bob", "Cleo"))) as (_, port):
        whole = await send_request(port, post(chat_body(), path=CHAT))
        streamed = await send_request(port, post(chat_body(stream=True), path=CHAT))
    assert whole.json()["choices"][0]["message"]["content"] == "Yes.\nSure."
    deltas = [event["choices"][0]["delta"] for event in chat_events(streamed.body)]
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes.\nSure."
    assert model.requests[0].prompt == "Bob: Hello\nAnn:"
    assert model.requests[0].sampling.stop == ("\nBob:", "\nCleo:")


async def test_a_chat_answer_without_a_limit_fills_the_context() -> None:
    model = FakeBatchModel("Yes.")
    async with running_server(model, limits=RequestLimits(max_tokens=100)) as (_, port):
        await send_request(port, post(chat_body(), path=CHAT))
        await send_request(port, post(chat_body("x" * 450), path=CHAT))
        refused = await send_request(port, post(chat_body(max_tokens=101), path=CHAT))
        await send_request(port, post(chat_body("x" * 480 + "yz" * 4), path=CHAT))
    most, left, one = (request.sampling.max_tokens for request in model.requests)
    assert (most, left) == (100, 512 - 1 - len("User: \nAssistant:") - 450)
    assert one > 0
    assert (refused.status, refused.error["param"]) == (422, "max_tokens")


async def test_a_chat_that_is_too_long_or_unfit_is_refused() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        long = await send_request(port, post(chat_body("x" * 600), path=CHAT))
        image = await send_request(port, post(chat_body([{"type": "image_url"}]), path=CHAT))
        other = await send_request(port, post({**chat_body(), "model": "gpt-4o"}, path=CHAT))
        method = await send_request(port, get(CHAT))
    assert (long.status, long.error["code"]) == (400, "context_length_exceeded")
    assert (image.status, image.error["param"]) == (422, "messages[0].content")
    assert "image_url" in image.error["message"]
    assert (other.status, other.error["code"]) == (404, "model_not_found")
    assert (method.status, method.headers["allow"]) == (405, "POST")


async def test_several_answers_are_choices_with_an_index_and_seeds_of_their_own() -> None:
    model = FakeBatchModel("Yes.")
    async with running_server(model) as (_, port):
        many = await send_request(port, post(request_body(["One", "two"], n=2, seed=7)))
        await send_request(port, post(request_body(["a", "a"], n=2)))
    body = many.json()
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(at, "Yes.") for at in range(4)]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (6, 16)
    assert "asr33" not in body
    asked = [(request.prompt, request.sampling.seed) for request in model.requests]
    assert sorted(asked[:4]) == [("One", 7), ("One", 8), ("two", 7), ("two", 8)]
    assert len({seed for _, seed in asked[4:]}) == 4


async def test_a_stream_of_several_answers_interleaves_their_events() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        reply = await send_request(port, post(request_body(["One", "two"], stream=True, echo=True)))
        chats = await send_request(port, post(chat_body(n=3, stream=True), path=CHAT))
    texts, events = ["", ""], [json.loads(part[6:]) for part in reply.body.decode().split("\n\n")[:-2]]
    for event in events:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == ["OneYes.", "twoYes."]
    assert {event["choices"][0]["index"] for event in events[:2]} == {0, 1}
    messages, roles = ["", "", ""], 0
    for event in chat_events(chats.body):
        messages[event["choices"][0]["index"]] += event["choices"][0]["delta"].get("content", "")
        roles += "role" in event["choices"][0]["delta"]
    assert (messages, roles) == (["Yes."] * 3, 3)


async def test_an_echo_puts_the_prompt_before_the_answer() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        reply = await send_request(port, post(request_body(echo=True)))
    assert reply.json()["choices"][0]["text"] == "HelloYes."


async def test_each_choice_counts_as_an_open_answer(tmp_path: Any) -> None:
    model, limits = FakeBatchModel(), RequestLimits(open_answers=4, answers_per_key=3)
    model.may_step.clear()
    async with running_server(model, keys=make_keys(tmp_path), limits=limits) as (server, port):
        never = await send_request(port, post(request_body(n=4), key=KEY))
        assert (never.status, never.error["param"]) == (422, "n")
        first = asyncio.ensure_future(send_request(port, post(request_body(n=2), key=KEY)))
        await wait_until(lambda: model.active == 2)
        assert server.answers.count == 2
        share = await send_request(port, post(request_body(n=2), key=KEY))
        assert (share.status, share.error["code"]) == (429, "share")
        assert server.answers.count == 2
        full = await send_request(port, post(request_body(n=3), key="south-window-9876543210"))
        assert (full.status, full.error["code"]) == (429, "busy")
        model.may_step.set()
        assert (await first).status == 200
        assert server.answers.count == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_all_its_choices(stream: bool) -> None:
    model = FakeBatchModel("x" * 1000)
    model.may_step.clear()
    async with running_server(model, limits=RequestLimits(first_chunk_s=0.05, keepalive_s=0.05)) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(chat_body(n=3, stream=stream), path=CHAT))
        await wait_until(lambda: model.active == 3)
        writer.close()
        await wait_until(lambda: model.ended == 3)
        model.may_step.set()
        await asyncio.sleep(0.02)
        assert (model.steps, server.answers.count) == (0, 0)


async def test_an_error_of_one_choice_ends_all() -> None:
    model = FakeBatchModel()
    async with running_server(model) as (_, port):
        model.refusal = ModelError("no cache is free; try again", "busy")
        busy = await send_request(port, post(chat_body(n=3, stream=True), path=CHAT))
        model.refusal, model.failure = None, ModelDamaged("a secret")
        failed = await send_request(port, post(request_body(n=3, stream=True)))
    assert (busy.status, busy.headers["retry-after"]) == (429, "1")
    last = parse_events(failed.body)[-1]
    assert isinstance(last, response.ErrorInfo)
    assert last.status == 500
    assert model.active == 0


async def test_a_slow_choice_does_not_delay_another_and_a_silence_has_keepalives() -> None:
    model = FakeBatchModel("ab")
    model.may_step.clear()
    limits = RequestLimits(first_chunk_s=0.05, keepalive_s=0.05)
    async with running_server(model, limits=limits) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(chat_body(n=2, stream=True), path=CHAT))
            assert (await read_head(reader))[0] == 200
            assert await reader.readuntil(b"ping\n\n\r\n")
            model.may_step.set()
            text = (await reader.readuntil(b"[DONE]")).decode()
    assert text.count('"content":"a"') == text.count('"content":"b"') == 2


async def test_logprobs_come_with_the_texts_of_the_likeliest_tokens() -> None:
    model = FakeBatchModel("Yes.")
    model.with_logprobs = True
    async with running_server(model) as (_, port):
        whole = await send_request(port, post(request_body(logprobs=2)))
        chat = await send_request(port, post(chat_body(logprobs=True, top_logprobs=2), path=CHAT))
        stream = await send_request(port, post(chat_body(logprobs=True, stream=True), path=CHAT))
    logprobs = whole.json()["choices"][0]["logprobs"]
    assert (logprobs["tokens"], logprobs["token_logprobs"]) == (["Y", "e", "s", "."], [-1.0] * 4)
    assert logprobs["top_logprobs"][0] == {"A": -0.5, "Y": -1.0, "B": -1.5}
    content = chat.json()["choices"][0]["logprobs"]["content"]
    assert [(entry["token"], entry["bytes"]) for entry in content[:2]] == [("Y", [89]), ("e", [101])]
    assert [top["token"] for top in content[0]["top_logprobs"]] == ["A", "B"]
    entries = [event["choices"][0]["logprobs"] for event in chat_events(stream.body) if event["choices"]]
    assert [entry["content"][0]["token"] for entry in entries if entry] == ["Y", "e", "s", "."]
    assert model.requests[0].sampling.top_logprobs == 2
