"""Several servers and a local model: after any failure the sentence continues without a lost or repeated character."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from fakes_openai_server import (
    FakeModelServer,
    Responder,
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
from hypothesis import given, settings
from hypothesis import strategies as st

from model.client.failover import FailoverModel, shorten_prompt
from model.client.partial_answer import PartialAnswer
from model.client.remote_model import RemoteModel
from model.client.server_health import MAX_RETRY_S, ServerHealth
from model.client.server_pool import SILENCE_LIMIT_S
from model.errors import ModelError, ModelNotFound, PromptTooLong, ServerLost
from model.interface import CompletionRequest, Model, Notice, Sampling, TextChunk
from model.openai_api import response
from model.openai_api.response import CompletionChunk, ErrorInfo

TEXT = "The sun rose over the harbour. Gulls cried “Who is there?” Nobody was."
DEFAULTS = Sampling()


@dataclass
class FakeLocalModel:
    """A local model that continues the same text, three characters at a time."""

    name: str = "local"
    device: str = "cpu"
    context: int = 1000
    requests: list[tuple[str, Sampling]] = field(default_factory=list)
    prefills: list[str] = field(default_factory=list)

    def count_tokens(self, text: str) -> int:
        return len(text)

    async def wait_ready(self) -> None:
        await asyncio.sleep(0.1)

    def prefill(self, prompt: str) -> None:
        self.prefills.append(prompt)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.requests.append((prompt, sampling))
        at = next(size for size in range(len(TEXT), -1, -1) if prompt.endswith(TEXT[:size].rstrip()))
        rest = TEXT[at:]
        for start in range(0, len(rest), 3):
            yield TextChunk(rest[start : start + 3], (1,), 0.0)
        yield TextChunk("", (), 0.0, "end")

    async def close(self) -> None:
        pass


def failover_model(
    *servers: FakeModelServer | RemoteModel, local: Callable[[], Model] | None = None, tries: int | None = None
) -> FailoverModel:
    remotes = [RemoteModel(server.url) if isinstance(server, FakeModelServer) else server for server in servers]
    return FailoverModel(remotes, local, rng=random.Random(33), max_tries=tries)


async def answer(model: FailoverModel, prompt: str = "", sampling: Sampling = DEFAULTS) -> list[TextChunk]:
    return [chunk async for chunk in model.stream(prompt, sampling)]


def notices_of(chunks: list[TextChunk]) -> list[Notice | None]:
    return [chunk.notice for chunk in chunks if chunk.notice]


def shown_text(chunks: list[TextChunk]) -> str:
    return "".join(f"[{chunk.notice}]" if chunk.notice else chunk.text for chunk in chunks)


async def interrupted_answer() -> tuple[FailoverModel, AsyncGenerator[TextChunk, None], list[TextChunk], int]:
    """Returns a failover model, its stream, the chunks before its only server stopped, and the server's port."""
    async with FakeModelServer([stream_text(TEXT, cut_at=600, with_tokens=True)], is_asr33=True) as first:
        model = failover_model(first)
        stream = model.stream("", DEFAULTS)
        return model, stream, [await anext(stream)], first.port


async def check_cuts(positions: range, is_asr33: bool) -> None:
    async with FakeModelServer([], is_asr33=is_asr33) as first:
        model = failover_model(first)
        for at in positions:
            first.responders[:] = [stream_text(TEXT, with_tokens=is_asr33, cut_at=end) for end in (at, None)]
            first.requests.clear()
            chunks = await answer(model)
            assert (text_of(chunks), chunks[-1].finish_reason, notices_of(chunks)) == (TEXT, "end", [])
            if is_asr33:
                assert [token for chunk in chunks for token in chunk.tokens] == list(map(ord, TEXT))
        await model.close()


@pytest.mark.parametrize("is_asr33", [True, False])
@on_network_loop
async def test_a_cut_stream_continues_without_a_lost_or_doubled_character(is_asr33: bool) -> None:
    await check_cuts(range(0, len(stream_body(TEXT, with_tokens=is_asr33)) + 1, 41), is_asr33)


@pytest.mark.soak
@pytest.mark.parametrize("is_asr33", [True, False])
@on_network_loop
async def test_a_stream_may_be_cut_at_every_byte(is_asr33: bool) -> None:
    await check_cuts(range(len(stream_body(TEXT, with_tokens=is_asr33)) + 1), is_asr33)


@given(st.lists(st.integers(0, 600), max_size=6), st.booleans(), st.booleans())
@settings(max_examples=12)
@on_network_loop
async def test_servers_that_break_off_repeatedly_complete_the_answer(
    cuts: list[int], is_first_asr33: bool, is_second_asr33: bool
) -> None:
    def cut_then_whole(cuts: list[int], is_asr33: bool) -> list[Responder]:
        return [stream_text(TEXT, "Hi", with_tokens=is_asr33, cut_at=at) for at in (*cuts, None)]

    async with (
        FakeModelServer(cut_then_whole(cuts, is_first_asr33), is_asr33=is_first_asr33) as first,
        FakeModelServer(cut_then_whole(cuts[::-1], is_second_asr33), is_asr33=is_second_asr33) as second,
    ):
        model = failover_model(first, second)
        assert text_of(await answer(model, "Hi")) == TEXT
        await model.close()


@on_network_loop
async def test_a_cut_after_a_full_stop_does_not_hide_the_end_of_the_sentence() -> None:
    rest = stream_body(" Gulls cried. Nobody was there. ")
    cut = send_bytes(reply_head() + chunk_event("The sun rose over the harbour."))
    async with FakeModelServer([cut, send_bytes(reply_head() + rest)]) as first:
        model = failover_model(first)
        chunks = await answer(model, "", Sampling(length=10))
        assert (text_of(chunks), chunks[-1].finish_reason) == ("The sun rose over the harbour.", "sentence")
        await model.close()


FAILURES: dict[str, Responder] = {
    "a stall": send_parts(reply_head(), stream_body(TEXT)[:300], 60.0),
    "a reset": send_parts(reply_head(), stream_body(TEXT)[:300], reset=True),
    "a malformed event": send_parts(reply_head(), chunk_event(TEXT[:9]), b"data: {{\n\n", chunk_event("wrong")),
    "an error in the stream": send_parts(
        reply_head(), chunk_event(TEXT[:9]), response.encode_event(ErrorInfo(500, "x", "no memory"))
    ),
    "a page in HTML": send_bytes(full_reply(502, b"<html><h1>502</h1></html>", "text/html")),
    "not yet": send_bytes(full_reply(503, b"", "text/plain", "Retry-After: 5")),
    "nothing": send_bytes(b""),
}


@pytest.mark.parametrize("failure", FAILURES)
@on_network_loop
async def test_the_sentence_continues_after(failure: str) -> None:
    async with FakeModelServer([FAILURES[failure], stream_text(TEXT)]) as first:
        model = failover_model(first)
        chunks = await answer(model)
        # A server that stops in mid-answer is silent for more than the ten seconds after which the reader is told.
        assert (text_of(chunks), notices_of(chunks)) == (TEXT, ["no server"] if failure == "a stall" else [])
        await model.close()


@on_network_loop
async def test_a_proxy_that_buffers_is_only_slow() -> None:
    async with FakeModelServer([send_parts(20.0, reply_head(), stream_body(TEXT))]) as first:
        model = failover_model(first)
        assert shown_text(await answer(model)) == TEXT
        assert len(first.posts) == 1
        await model.close()


@on_network_loop
async def test_the_next_server_is_asked_if_the_first_does_not_answer() -> None:
    async with (
        FakeModelServer([stream_text(TEXT, cut_at=300), send_bytes(b"")]) as first,
        FakeModelServer([stream_text(TEXT)]) as second,
    ):
        model = failover_model(first, second)
        await model.wait_ready()
        assert shown_text(await answer(model)) == TEXT
        assert (len(first.posts), len(second.posts)) == (2, 1)
        await model.close()


@pytest.mark.parametrize("vocabulary", ["letters", "words"])
@on_network_loop
async def test_servers_of_one_vocabulary_continue_by_tokens_and_others_by_text(vocabulary: str) -> None:
    async with (
        FakeModelServer([stream_text(TEXT, with_tokens=True, cut_at=600), send_bytes(b"")], is_asr33=True) as first,
        FakeModelServer([stream_text(TEXT, with_tokens=True)], is_asr33=True, vocabulary=vocabulary) as second,
    ):
        model = failover_model(first, second)
        assert text_of(await answer(model)) == TEXT
        assert bool(second.posts[0].resume_tokens) is (vocabulary == "letters")
        assert bool(second.posts[0].body["prompt"]) is (vocabulary != "letters")
        await model.close()


@on_network_loop
async def test_the_local_model_continues_when_no_server_answers_and_servers_return_at_a_later_prompt() -> None:
    local = FakeLocalModel()
    opened: list[FakeLocalModel] = []

    def open_local() -> FakeLocalModel:
        opened.append(local)
        return local

    async with FakeModelServer([stream_text(TEXT, "Hi", cut_at=600)], is_asr33=True) as first:
        model = failover_model(first, local=open_local)
        await model.wait_ready()
        assert not opened
        stream = model.stream("Hi", Sampling(max_tokens=500))
        chunks = [await anext(stream)]
    chunks += [chunk async for chunk in stream]
    shown = shown_text(chunks)
    assert shown.replace("[local]", "") == TEXT
    assert "[local]" in shown[1:-9]
    assert opened == [local]
    assert (model.name, model.device, model.context) == ("local", "cpu", 1000)
    model.prefill("x")
    assert local.prefills == ["x"]
    # The next answer is local too, without a notice and without a wait.
    start = asyncio.get_running_loop().time()
    assert shown_text(await answer(model, "Hi")) == TEXT
    assert asyncio.get_running_loop().time() - start < 1
    async with FakeModelServer([stream_text(TEXT, "Hi", with_tokens=True)], is_asr33=True, port=first.port) as first:
        await asyncio.sleep(2 * MAX_RETRY_S)
        assert shown_text(await answer(model, "Hi")) == TEXT
        assert len(first.posts) == 1
        assert model.name == "m"
        await model.close()
    assert len(local.requests) == 2
    assert len(opened) == 1


@pytest.mark.parametrize("is_asr33", [True, False])
@on_network_loop
async def test_a_server_that_accepts_and_is_silent_is_soon_lost(is_asr33: bool) -> None:
    async with FakeModelServer([stream_text(TEXT, with_tokens=is_asr33)], is_asr33=is_asr33) as first:
        model = failover_model(first, local=FakeLocalModel)
        await model.wait_ready()
        assert shown_text(await answer(model)) == TEXT
        first.is_mute = True
        for seconds in (SILENCE_LIMIT_S + 0.5, 0.5):  # the next prompt does not wait for this server
            start = asyncio.get_running_loop().time()
            assert shown_text(await answer(model)) == ("[local]" if seconds > SILENCE_LIMIT_S else "") + TEXT
            assert asyncio.get_running_loop().time() - start < seconds
        first.is_mute = False
        await asyncio.sleep(2 * MAX_RETRY_S)
        assert shown_text(await answer(model)) == TEXT
        assert model.name == "m"
        await model.close()


@on_network_loop
async def test_the_start_does_not_wait_for_a_silent_server() -> None:
    async with FakeModelServer([], is_mute=True) as first:
        model = failover_model(first, local=FakeLocalModel)
        await model.wait_ready()
        assert shown_text(await answer(model)) == f"[local]{TEXT}"
        assert asyncio.get_running_loop().time() < SILENCE_LIMIT_S + 1
        await model.close()


@on_network_loop
async def test_silent_servers_are_replaced_in_order_and_the_local_model_is_last() -> None:
    async with FakeModelServer([]) as first, FakeModelServer([stream_text(TEXT)]) as second:
        model = failover_model(first, second, local=FakeLocalModel)
        await model.wait_ready()
        first.is_mute = True
        assert shown_text(await answer(model)) == TEXT
        assert asyncio.get_running_loop().time() < SILENCE_LIMIT_S + 1
        second.is_mute = True
        assert shown_text(await answer(model)) == f"[local]{TEXT}"
        await model.close()


@pytest.mark.parametrize("start", [(60.0, reply_head()), (reply_head(), response.PING, 25.0)], ids=["busy", "ping"])
@on_network_loop
async def test_a_slow_server_that_is_alive_is_waited_for(start: tuple[bytes | float, ...]) -> None:
    """Some servers send nothing before the first word; meanwhile the client asks whether they are alive."""
    async with FakeModelServer([send_parts(*start, stream_body(TEXT))]) as first:
        model = failover_model(first, local=FakeLocalModel)
        await model.wait_ready()
        assert shown_text(await answer(model)) == TEXT
        assert len(first.posts) == 1
        await model.close()


@on_network_loop
async def test_without_a_local_model_one_notice_comes_and_the_sentence_continues_when_a_server_returns() -> None:
    model, stream, chunks, port = await interrupted_answer()

    async def restart_server() -> None:
        await asyncio.sleep(300)
        async with FakeModelServer([stream_text(TEXT, with_tokens=True)], is_asr33=True, port=port):
            await asyncio.sleep(100)

    returning = asyncio.ensure_future(restart_server())
    start = asyncio.get_running_loop().time()
    chunks += [chunk async for chunk in stream]
    assert 300 < asyncio.get_running_loop().time() - start < 300 + MAX_RETRY_S + 5
    assert (text_of(chunks), notices_of(chunks)) == (TEXT, ["no server"])
    returning.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await returning
    await model.close()


@on_network_loop
async def test_a_prompt_after_a_long_silence_gets_the_notice_at_once() -> None:
    async with FakeModelServer([]) as first:
        pass
    model = failover_model(first)
    await model.wait_ready()
    await asyncio.sleep(60)
    start = asyncio.get_running_loop().time()
    stream = model.stream("", DEFAULTS)
    assert (await anext(stream)).notice == "no server"
    assert asyncio.get_running_loop().time() - start < 0.1
    await stream.aclose()
    await model.close()


@on_network_loop
async def test_a_server_that_begins_and_is_silent_repeatedly_gives_one_notice() -> None:
    cut, whole = stream_text(TEXT, with_tokens=True, cut_at=600), stream_text(TEXT, with_tokens=True)
    async with FakeModelServer([cut, *[send_bytes(reply_head())] * 8, whole], is_asr33=True) as first:
        model = failover_model(first)
        chunks = await answer(model)
        assert (text_of(chunks), notices_of(chunks)) == (TEXT, ["no server"])
        await model.close()


@on_network_loop
async def test_a_short_silence_gives_no_notice() -> None:
    model, stream, chunks, port = await interrupted_answer()
    await asyncio.sleep(3)
    async with FakeModelServer([stream_text(TEXT, with_tokens=True)], is_asr33=True, port=port):
        chunks += [chunk async for chunk in stream]
    assert shown_text(chunks) == TEXT
    await model.close()


@on_network_loop
async def test_a_local_model_that_does_not_open_counts_as_none() -> None:
    def fail_to_open() -> Model:
        raise ModelNotFound("no such model")

    async with FakeModelServer([]) as first:
        pass
    model = failover_model(first, local=fail_to_open)
    await model.wait_ready()
    stream = model.stream("", DEFAULTS)
    assert (await anext(stream)).notice == "no server"
    async with FakeModelServer([stream_text(TEXT)], port=first.port):
        assert text_of([chunk async for chunk in stream]) == TEXT
    await model.close()


@pytest.mark.parametrize(
    ("status", "message", "error", "kind"),
    [
        (401, "", ModelError, "denied"),
        (404, "", ModelNotFound, "missing"),
        (413, "", PromptTooLong, "damaged"),
        (400, "context length", PromptTooLong, "damaged"),
    ],
)
@on_network_loop
async def test_a_permanent_error_is_raised_after_the_next_server_was_asked(
    status: int, message: str, error: type[ModelError], kind: str
) -> None:
    async with (
        FakeModelServer([send_bytes(error_reply(status, message))]) as first,
        FakeModelServer([stream_text(TEXT)]) as second,
    ):
        model = failover_model(first)
        for _ in range(2):
            with pytest.raises(error) as caught:
                await answer(model)
            assert (type(caught.value), caught.value.kind) == (error, kind)
        await model.close()
        assert len(first.posts) == 2
        model = failover_model(first, second)
        assert text_of(await answer(model)) == TEXT
        await model.close()


@on_network_loop
async def test_an_answer_that_fills_the_context_ends() -> None:
    async with FakeModelServer([stream_text(TEXT, cut_at=300), send_bytes(error_reply(413))]) as first:
        model = failover_model(first)
        chunks = await answer(model)
        assert TEXT.startswith(text_of(chunks))
        assert chunks[-1].finish_reason == "context"
        await model.close()


@on_network_loop
async def test_max_tries_limits_the_attempts() -> None:
    async with FakeModelServer([]) as first:
        pass
    model = failover_model(first, tries=3)
    with pytest.raises(ServerLost, match="no answer"):
        await answer(model)
    assert asyncio.get_running_loop().time() < 5
    await model.close()


@on_network_loop
async def test_retry_after_is_obeyed() -> None:
    busy = send_bytes(full_reply(429, b"", "text/plain", "Retry-After: 6"))
    async with FakeModelServer([busy, stream_text(TEXT)]) as first:
        model = failover_model(first)
        assert shown_text(await answer(model)) == TEXT
        assert 6 <= asyncio.get_running_loop().time() < 9.5
        await model.close()


@pytest.mark.parametrize(
    "reply",
    [
        send_parts(600.0),
        send_parts(reply_head(), 600.0),
        send_parts(reply_head(), chunk_event("a"), 600.0),
        send_bytes(full_reply(503, b"")),
    ],
)
async def test_break_ends_any_wait_at_once(reply: Responder) -> None:
    async with FakeModelServer([reply]) as first:
        model = failover_model(first, RemoteModel("http://127.0.0.1:1"))
        stream = model.stream("", DEFAULTS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                async for _ in stream:
                    pass
        async with asyncio.timeout(10):  # the server waits 600 seconds
            await stream.aclose()
        await model.close()


@pytest.mark.parametrize(("is_asr33", "low", "high"), [(True, 0, 800), (False, 10_000, 70_000)])
@on_network_loop
async def test_text_is_read_ahead_up_to_a_limit(is_asr33: bool, low: int, high: int) -> None:
    async def send_all(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_head())
        writer.transport.set_write_buffer_limits(0)
        for _ in range(3000):
            writer.write(chunk_event("x" * 100, with_tokens=is_asr33))
            await writer.drain()

    async with FakeModelServer([send_all], is_asr33=is_asr33) as first:
        model = failover_model(first)
        stream = model.stream("", Sampling(max_tokens=1_000_000))
        await anext(stream)
        await asyncio.sleep(5)
        assert low < cast(Any, stream).ag_frame.f_locals["queue"]._waiting_chars <= high
        await stream.aclose()
        await model.close()


@on_network_loop
async def test_a_token_without_text_is_not_generated_twice() -> None:
    textless = CompletionChunk("c", 1, "m", "", (ord("T"),))
    word = CompletionChunk("c", 1, "m", "The", tuple(map(ord, "he")))
    rest = CompletionChunk("c", 1, "m", TEXT[3:], tuple(map(ord, TEXT[3:])), "end")
    replies = [send_bytes(reply_head() + response.encode_event(chunk)) for chunk in (textless, word, rest)]
    async with FakeModelServer(replies, is_asr33=True) as first:
        model = failover_model(first)
        assert text_of(await answer(model)) == TEXT
        assert [post.resume_tokens for post in first.posts] == [[], [ord("T")], list(map(ord, "The"))]
        await model.close()


def test_the_prompt_is_shortened_to_the_local_models_context() -> None:
    local = FakeLocalModel(context=40)
    for prompt in ("a" * 100, "one line\n" * 20, "word " * 30, "short"):
        short = shorten_prompt(prompt, local)
        assert prompt.endswith(short)
        assert local.count_tokens(short) <= 30
        assert short
    assert shorten_prompt("first line\nsecond line\n" + "x" * 15, local) == "second line\n" + "x" * 15
    assert shorten_prompt("short", local) == "short"


def test_the_backoff_grows_to_half_a_minute() -> None:
    health, now, waits = ServerHealth(), 100.0, []
    for _ in range(12):
        health.record_failure(ServerLost("x"), now, 1.0)
        waits.append(health.retry_at - now)
        now = health.retry_at
    assert waits[0] < 0.5
    assert waits[1:4] == [0.5, 1.0, 2.0]
    assert waits[-1] == MAX_RETRY_S
    health.record_failure(ServerLost("x", 90.0), now, 1.0)
    assert health.retry_at - now == 90.0 + MAX_RETRY_S
    health.record_failure(ServerLost("x", 90.0), now, 0.0)
    assert health.retry_at - now == 90.0


def test_rejected_clients_do_not_return_together() -> None:
    rng, crowd = random.Random(33), [ServerHealth() for _ in range(1000)]
    for health in crowd:
        health.record_failure(ServerLost("full", 1.0), 0.0, rng.random())
    for _ in range(3):
        tenths = Counter(int(10 * health.retry_at) for health in crowd)
        assert max(tenths.values()) < 250
        for health in crowd:
            before = health.retry_at
            health.record_failure(ServerLost("full", 1.0), before, rng.random())
            assert 1.0 <= health.retry_at - before < 2.0


@given(st.integers(0, len(TEXT)), st.integers(0, 5), st.booleans())
def test_the_remaining_request_and_the_partial_answer_are_the_whole(at: int, used: int, tokens: bool) -> None:
    token_ids = tuple(map(ord, TEXT[:at])) if tokens else ()
    partial = PartialAnswer(TEXT[:at], 0 if tokens else at, token_ids, "v" if tokens else "", 0 if tokens else used)
    request = partial.for_vocabulary("v" if tokens else "").remaining_request(CompletionRequest("Hi", DEFAULTS))
    if tokens:
        assert (request.prompt, "".join(map(chr, request.resume_tokens))) == ("Hi", TEXT[:at])
    else:
        assert request.prompt + partial.trailing_blanks == "Hi" + TEXT[:at]
        assert request.resume_tokens == ()
        assert request.sampling.max_tokens == 1024 - used * bool(at)
