"""RemoteModel with one server on a real socket: complete answers, and one clear error for every failure."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes_openai_server import (
    FakeModelServer,
    ReceivedRequest,
    Responder,
    answer_from,
    answer_to,
    chunk_event,
    error_reply,
    full_reply,
    on_network_loop,
    reply_head,
    send_bytes,
    send_parts,
    stream_body,
    stream_text,
    text_of,
)
from fakes_teletype import wait_until

from model.client.http_client import ClientConfig
from model.client.partial_answer import PartialAnswer
from model.client.remote_model import RemoteModel
from model.errors import Kind, ModelError, ModelNotFound, PromptTooLong, ServerLost
from model.interface import CompletionRequest, Sampling
from model.openai_api import response
from model.openai_api.request import OpenAIRequest
from model.openai_api.response import CompletionChunk, ErrorInfo, StreamEnd, Usage
from model.openai_api.sse import MAX_EVENT_BYTES

TEXT = "The sun rose over the harbour.\nGulls cried, “Who is there?” Nobody was."


async def test_the_answer_is_the_streamed_text() -> None:
    for is_asr33 in (False, True):
        async with FakeModelServer([stream_text(TEXT, with_tokens=is_asr33)], is_asr33=is_asr33) as server:
            chunks = await answer_from(server)
            assert text_of(chunks) == TEXT
            assert chunks[-1].finish_reason == "end"
            assert [token for chunk in chunks for token in chunk.tokens] == (list(map(ord, TEXT)) if is_asr33 else [])


async def test_the_request_has_template_sampling_and_key() -> None:
    template = CompletionRequest("", Sampling(), alphabet="1963", chars_per_second=10.0, conversation="c")
    sampling = Sampling(length=80, stop=("\n",), seed=7, max_tokens=99)
    async with FakeModelServer([stream_text(TEXT)]) as server:
        await answer_from(server, sampling, ClientConfig(request_template=template, api_key="secret"))
        assert OpenAIRequest.from_json(server.posts[0].body).completion == replace(template, sampling=sampling)
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer secret"}
        assert server.posts[0].body["model"] == "m"


@pytest.mark.parametrize(
    "body",
    [
        b": ping\n\n" + stream_body(TEXT),
        stream_body(TEXT).replace(b"\n", b"\r\n"),
        stream_body(TEXT).replace(b"\n", b"\r"),
        stream_body(TEXT).replace(b"data: {", b"event: message\nid: 5\nretry: 9\ndata:{"),
        stream_body(TEXT).replace(b"data: ", b"data:"),
        chunk_event("") + response.encode_event(CompletionChunk("c", 1, "m", usage=Usage(5, 2))) + stream_body(TEXT),
        stream_body(TEXT).removesuffix(response.encode_event(StreamEnd())),
        b"\xef\xbb\xbf" + stream_body(TEXT),
        b"".join(chunk_event(char) for char in TEXT) + response.encode_event(StreamEnd()),
        json.dumps({"choices": [{"text": TEXT, "finish_reason": "stop"}]}, ensure_ascii=False, indent=1)
        .replace("\n", "\ndata: ")
        .join(["data: ", "\n\n"])
        .encode(),
    ],
    ids=["ping", "crlf", "cr", "fields", "no blank", "count first", "no done", "bom", "done alone", "many lines"],
)
async def test_variants_of_other_servers_give_the_same_answer(body: bytes) -> None:
    chunks = await answer_to(reply_head() + body)
    assert text_of(chunks) == TEXT
    assert chunks[-1].finish_reason == "end"


async def test_a_fault_after_the_end_is_ignored() -> None:
    chunks = await answer_to(reply_head() + stream_body(TEXT).replace(b"[DONE]", b": [DO"))
    assert (text_of(chunks), chunks[-1].finish_reason) == (TEXT, "end")


async def test_single_bytes_give_the_same_answer() -> None:
    parts = [part for byte in stream_body(TEXT[:12]) for part in (bytes([byte]), 0.0)]
    assert text_of(await answer_to(send_parts(reply_head(), *parts))) == TEXT[:12]


async def test_another_servers_answer_ends_at_length_and_stop() -> None:
    reply = reply_head() + stream_body(TEXT)
    assert text_of(await answer_to(reply, Sampling(length=10))) == "The sun rose over the harbour."
    stopped = await answer_to(reply, Sampling(stop=("Gulls",)))
    assert (text_of(stopped), stopped[-1].finish_reason) == ("The sun rose over the harbour.\n", "stop")


async def test_the_stream_is_closed_with_the_generator() -> None:
    async with FakeModelServer([send_parts(reply_head(), chunk_event("Some"), 600.0)]) as server:
        model = RemoteModel(server.url)
        chunks = model.stream("", Sampling())
        assert (await anext(chunks)).text == "Some"
        await chunks.aclose()
        await server.client_left.wait()
        await model.close()


async def test_after_a_break_nothing_is_left_open_and_the_models_are_not_asked_again() -> None:
    hooks, unclosed = sys.get_asyncgen_hooks(), list[str]()

    def note_unclosed(generator: Any) -> None:
        if "client" in Path(generator.ag_code.co_filename).parts:  # httpx2 leaves generators of its own unclosed
            unclosed.append(generator.__qualname__)
        assert hooks.finalizer is not None
        hooks.finalizer(generator)

    reply = send_parts(reply_head(), chunk_event("Some"), 0.0, chunk_event("thing"), 600.0)
    async with FakeModelServer([reply]) as server:
        model = RemoteModel(server.url)
        await model.wait_ready()
        sys.set_asyncgen_hooks(hooks.firstiter, note_unclosed)
        for words in (1, 2):
            chunks = model.stream("", Sampling())
            for _ in range(words):
                await anext(chunks)
            await chunks.aclose()
        sys.set_asyncgen_hooks(*hooks)
        assert unclosed == []
        assert [request.method for request in server.requests] == ["GET", "POST", "POST"]
        await model.close()


async def test_after_a_fault_the_models_are_asked_again() -> None:
    reset = send_parts(reply_head(), chunk_event("Some"), reset=True)
    async with FakeModelServer([reset, stream_text(TEXT)]) as server:
        model = RemoteModel(server.url)
        with pytest.raises(ServerLost):
            assert [chunk async for chunk in model.stream("", Sampling())]
        assert text_of([chunk async for chunk in model.stream("", Sampling())]) == TEXT
        assert [request.method for request in server.requests] == ["GET", "POST", "GET", "POST"]
        await model.close()


LOST: dict[str, tuple[Responder, str]] = {
    "cut": (send_bytes(reply_head() + stream_body(TEXT)[:300]), "ended before the answer did"),
    "reset": (send_parts(reply_head() + stream_body(TEXT)[:300], reset=True), "no answer: "),
    "nothing": (send_bytes(b""), "no answer: "),
    "no http": (send_bytes(b"220 mail.example.org ESMTP\r\n\r\n"), "no answer: "),
    "a page": (send_bytes(full_reply(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")), "behind the proxy"),
    "a page with status 200": (send_bytes(full_reply(200, b"<html>Log in", "text/html")), "is a proxy in between"),
    "an error in the stream": (
        send_bytes(reply_head() + chunk_event("a") + response.encode_event(ErrorInfo(500, "x", "CUDA broke"))),
        "CUDA broke",
    ),
    "no JSON": (send_bytes(reply_head() + b"data: {\n\n"), "malformed"),
    "no UTF-8": (send_bytes(reply_head() + b"data: \xff\n\n"), "malformed"),
    "an endless line": (send_bytes(reply_head() + b"x" * (MAX_EVENT_BYTES + 1)), "malformed"),
    "a huge logprob": (
        send_bytes(reply_head() + b'data: {"choices": [{"logprobs": {"token_logprobs": [%d]}}]}\n\n' % 10**400),
        "malformed",
    ),
    "a huge count": (
        send_bytes(reply_head() + b'data: {"choices": [], "usage": {"prompt_tokens": %d}}\n\n' % 10**400),
        "ended",
    ),
    "gave up": (send_bytes(reply_head() + b'data: {"choices": [{"finish_reason": "abort"}]}\n\n'), "gave up"),
    "busy": (send_bytes(full_reply(429, b"", "text/plain", "Retry-After: 7")), "too many requests"),
}


@pytest.mark.parametrize("failure", LOST)
async def test_a_transient_error_is_server_lost_with_a_message_of_one_line(failure: str) -> None:
    reply, message = LOST[failure]
    with pytest.raises(ServerLost, match=message) as caught:
        await answer_to(reply)
    assert "\n" not in str(caught.value)
    assert caught.value.retry_after_s == (7 if failure == "busy" else 0)


@pytest.mark.parametrize(
    ("reply", "error", "kind", "message"),
    [
        (error_reply(401), ModelError, "denied", "key is needed: name its file"),
        (error_reply(404, "no", "model_not_found"), ModelNotFound, "missing", "has no model"),
        (full_reply(404, b"Not Found", "text/plain"), ModelNotFound, "missing", "is that the URL of a model server"),
        (error_reply(400, "This model's maximum context length is 8"), PromptTooLong, "damaged", "too long"),
        (error_reply(413), PromptTooLong, "damaged", "shorten it"),
        (error_reply(422, "stop: is not a text"), ModelError, "protocol", "stop: is not a text"),
        (full_reply(307, b"", "text/plain", "Location: /x"), ModelError, "protocol", "name the server's own URL"),
        (
            reply_head() + response.encode_event(ErrorInfo(400, "x", "the prompt is too long")),
            PromptTooLong,
            "damaged",
            "too long",
        ),
    ],
)
async def test_a_permanent_error_names_the_cure(
    reply: bytes, error: type[ModelError], kind: Kind, message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        await answer_to(reply)
    assert (type(caught.value), caught.value.kind) == (error, kind)
    assert "\n" not in str(caught.value)


async def test_an_empty_stream_is_explained_by_a_request_without_stream() -> None:
    for reply, error in (
        (error_reply(400, "maximum context length"), PromptTooLong),
        (full_reply(200, b"{}"), ServerLost),
    ):
        async with FakeModelServer([send_bytes(reply_head()), send_bytes(reply)]) as server:
            with pytest.raises(error):
                await answer_from(server)
            assert [post.body["stream"] for post in server.posts] == [True, False]
            assert server.posts[1].body["max_tokens"] == 1


async def test_a_prompt_that_fails_and_whose_end_does_not_is_too_long() -> None:
    prompt = "word " * 40
    failing = send_bytes(full_reply(500, b"Internal Server Error", "text/plain"))
    for last, error in ((send_bytes(full_reply(200, b"{}")), PromptTooLong), (failing, ServerLost)):
        async with FakeModelServer([send_bytes(reply_head()), failing, last]) as server:
            with pytest.raises(error):
                await answer_from(server, prompt=prompt)
            assert [post.body["prompt"] for post in server.posts] == [prompt, prompt, prompt[-64:]]


@on_network_loop
async def test_a_server_silent_to_the_second_request_gets_no_third() -> None:
    replies = [send_bytes(reply_head()), send_parts(1000.0), send_bytes(full_reply(200, b"{}"))]
    async with FakeModelServer(replies) as server:
        with pytest.raises(ServerLost, match="ended before the answer"):
            await answer_from(server, prompt="word " * 40)
        assert len(server.posts) == 2


@on_network_loop
async def test_each_kind_of_silence_has_its_limit() -> None:
    stalled = send_parts(reply_head(), chunk_event("a"), 1000.0)
    pings = send_parts(reply_head(), *[part for _ in range(90) for part in (response.PING, 10.0)])
    for reply, message in (
        (send_parts(1000.0), "no answer within 60"),
        (stalled, "no further word"),
        (pings, "no word came"),
    ):
        with pytest.raises(ServerLost, match=message):
            await answer_to(reply, config=ClientConfig(first_token_s=60))


@on_network_loop
async def test_a_server_that_sends_comments_may_be_slow() -> None:
    slow = send_parts(reply_head(), *[part for _ in range(9) for part in (response.PING, 10.0)], stream_body(TEXT))
    assert text_of(await answer_to(slow)) == TEXT


@on_network_loop
async def test_the_time_limit_starts_again_at_each_word() -> None:
    pings = [part for _ in range(4) for part in (response.PING, 10.0)]
    slow = send_parts(reply_head(), chunk_event("a"), *pings, chunk_event("b"), *pings, stream_body("c"))
    assert text_of(await answer_to(slow, config=ClientConfig(first_token_s=60))) == "abc"


@on_network_loop
async def test_a_slow_reader_meets_no_time_limit() -> None:
    reply = send_parts(reply_head(), chunk_event("a"), 1.0, chunk_event("b"), 1.0, stream_body("c"))
    async with FakeModelServer([reply]) as server:
        model, text = RemoteModel(server.url, ClientConfig(first_token_s=40)), ""
        async for chunk in model.stream("", Sampling()):
            text += chunk.text
            await asyncio.sleep(1000)
        await model.close()
    assert text == "abc"


@on_network_loop
async def test_behind_a_buffering_proxy_no_pacing_is_requested() -> None:
    silent = send_parts(reply_head(), 1000.0)
    buffered = send_bytes(reply_head() + stream_body(TEXT, with_tokens=True))
    words = [part for char in TEXT for part in (chunk_event(char, with_tokens=True), 0.01)]
    unbuffered = send_parts(reply_head(), *words, stream_body(""))
    config = ClientConfig(request_template=CompletionRequest("", Sampling(), chars_per_second=10.0))
    async with FakeModelServer([silent, buffered, unbuffered, unbuffered], is_asr33=True) as server:
        model = RemoteModel(server.url, config)
        with pytest.raises(ServerLost, match="no word came"):
            assert [chunk async for chunk in model.stream("", Sampling())]
        for _ in range(3):
            assert text_of([chunk async for chunk in model.stream("", Sampling())]) == TEXT
        assert [post.body["asr33"]["pace"] for post in server.posts] == [10.0, 0.0, 0.0, 10.0]
        await model.close()


async def test_name_and_context_come_from_the_server() -> None:
    async with FakeModelServer([], is_asr33=True, context=77) as server:
        model = RemoteModel(server.url)
        assert (model.context, model.name) == (512, f"127.0.0.1:{server.port}")
        await model.wait_ready()
        assert (model.context, model.name, model.is_asr33) == (77, "m", True)
        with pytest.raises(ModelNotFound, match="no model 'other'; there are: m"):
            await RemoteModel(f"{server.url}/v1/#other").wait_ready()
        server.models = full_reply(404, b"")
        unlisted = RemoteModel(f"{server.url}#other")
        await unlisted.wait_ready()
        assert (unlisted.name, unlisted.is_asr33) == ("other", False)
        server.models = full_reply(200, b"<html>")
        with pytest.raises(ServerLost, match="is it a model server"):
            await RemoteModel(server.url).wait_ready()
        await model.close()
        await unlisted.close()


async def test_token_counts_are_estimated_from_earlier_usage_on_the_high_side() -> None:
    usage = response.encode_event(CompletionChunk("c", 1, "m", usage=Usage(100, 2)))
    body = stream_body("a").replace(b"data: [DONE]", usage + b"data: [DONE]")
    async with FakeModelServer([send_bytes(reply_head() + body)]) as server:
        model = RemoteModel(server.url)
        assert model.count_tokens("x" * 300) == 100
        assert [chunk async for chunk in model.stream("x" * 450, Sampling())]
        assert 100 < model.count_tokens("x" * 450) <= 112
        await model.close()


async def test_an_answer_that_was_cut_leaves_the_same_estimate() -> None:
    """Another estimate would shorten the conversation that the daemon remembers, after a crash of the server."""
    estimates = []
    for partial in (PartialAnswer(), PartialAnswer("abc", 0, (97, 98, 99), "letters")):
        usage = response.encode_event(CompletionChunk("c", 1, "m", usage=Usage(100 + len(partial.tokens), 2)))
        body = stream_body("a").replace(b"data: [DONE]", usage + b"data: [DONE]")
        async with FakeModelServer([send_bytes(reply_head() + body)], vocabulary="letters", is_asr33=True) as server:
            model = RemoteModel(server.url)
            assert [chunk async for chunk in model.resume("x" * 450, Sampling(), partial)]
            request = OpenAIRequest.from_json(server.posts[0].body).completion
            estimates.append((model.count_tokens("x" * 450), request.resume_tokens))
            await model.close()
    assert estimates == [(112, ()), (112, (97, 98, 99))]


async def test_an_asr33_server_prefills_the_newest_typed_text() -> None:
    gate = asyncio.Event()

    async def read(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(full_reply(200, b"{}"))
        await writer.drain()

    async with FakeModelServer([read], is_asr33=True) as server:
        model = RemoteModel(server.url)
        model.prefill("The client does not know yet what server this is ")
        await model.wait_ready()
        for prompt in ("The", "The old"):
            model.prefill(prompt)
        await wait_until(lambda: server.posts)
        for prompt in ("The old tele", "The old telegraph off"):
            model.prefill(prompt)
            await asyncio.sleep(0.02)
        gate.set()
        await wait_until(lambda: len(server.posts) == 2)
        model.prefill("The old telegraph offi")  # the last word is incomplete
        await asyncio.sleep(0.02)
        assert [post.body["prompt"] for post in server.posts] == ["The", "The old telegraph"]
        assert all(post.body["asr33"]["read"] for post in server.posts)
        await model.close()


async def test_prefill_never_fails() -> None:
    async with FakeModelServer([send_bytes(full_reply(500, b""))], is_asr33=True) as server:
        model = RemoteModel(server.url)
        await model.wait_ready()
        model.prefill("The old")
        await asyncio.sleep(0.05)
    model.prefill("The old telegraph office")
    await asyncio.sleep(0.05)
    await model.close()


async def test_an_answer_resumes_by_tokens_or_by_text() -> None:
    half = TEXT[:20]
    partial = PartialAnswer(half, 0, tuple(map(ord, half)), "letters")
    for is_asr33 in (False, True):
        async with FakeModelServer([stream_text(TEXT, "Hi", with_tokens=is_asr33)], is_asr33=is_asr33) as server:
            model = RemoteModel(server.url)
            chunks = [chunk async for chunk in model.resume("Hi", Sampling(max_tokens=200), partial)]
            assert half + text_of(chunks) == TEXT
            request = OpenAIRequest.from_json(server.posts[0].body).completion
            assert request.resume_tokens == (partial.tokens if is_asr33 else ())
            assert request.sampling.max_tokens == (200 if is_asr33 else 180)
            await model.close()


async def test_trailing_blanks_are_not_repeated() -> None:
    for rest in (" sun rose.", "sun rose."):
        async with FakeModelServer([send_bytes(reply_head() + stream_body(rest))]) as server:
            model = RemoteModel(server.url)
            chunks = [chunk async for chunk in model.resume("Hi ", Sampling(), PartialAnswer("The ", 4))]
            assert server.posts[0].body["prompt"] == "Hi The"
            assert text_of(chunks) == "sun rose."
            await model.close()
