"""One server at a URL, on a real socket: what it says reaches the reader whole, and whatever it does ends clearly."""

import asyncio
import contextlib
import json
import random
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from fakes import run_jumping, wait_until
from fakes_http import (
    FakeModelServer,
    ReceivedRequest,
    Responder,
    chunk_event,
    error_reply,
    full_reply,
    reply_head,
    send_bytes,
    send_parts,
    stream_body,
    stream_text,
)

from model.client.api_key import read_api_key
from model.client.http_client import ClientConfig
from model.client.partial_answer import PartialAnswer
from model.client.remote_model import RemoteModel
from model.client.server_url import is_private_host, parse_server_url
from model.errors import (
    AddressWrong,
    KeyRefused,
    ModelError,
    ModelNotFound,
    PromptTooLong,
    RequestRefused,
    ServerLost,
)
from model.interface import CompletionRequest, Sampling, TextChunk
from model.openai_api import response
from model.openai_api.response import CompletionChunk, ErrorInfo, StreamEnd, Usage
from model.openai_api.sse import MAX_EVENT_BYTES

TEXT = "The sun rose over the harbour.\nGulls cried, “Who is there?” Nobody was."
ANY = Sampling()


async def answer(
    far: FakeModelServer, sampling: Sampling = ANY, door: ClientConfig | None = None, prompt: str = ""
) -> list[TextChunk]:
    remote = RemoteModel(far.url, door)
    try:
        return [piece async for piece in remote.stream(prompt, sampling)]
    finally:
        await remote.close()


def text(pieces: list[TextChunk]) -> str:
    return "".join(piece.text for piece in pieces)


async def said(reply: bytes | Responder, sampling: Sampling = ANY, door: ClientConfig | None = None) -> list[TextChunk]:
    async with FakeModelServer([send_bytes(reply) if isinstance(reply, bytes) else reply]) as far:
        return await answer(far, sampling, door)


async def test_what_a_server_says_is_the_answer() -> None:
    for ours in (False, True):
        async with FakeModelServer([stream_text(TEXT, with_tokens=ours)], is_asr33=ours) as far:
            pieces = await answer(far)
            assert text(pieces) == TEXT
            assert pieces[-1].finish_reason == "end"
            assert [token for piece in pieces for token in piece.tokens] == (list(map(ord, TEXT)) if ours else [])


async def test_what_is_asked_has_all_that_shapes_the_answer() -> None:
    about = CompletionRequest("", ANY, alphabet="1963", chars_per_second=10.0, conversation="c")
    sampling = Sampling(length=80, stop=("\n",), seed=7, max_tokens=99)
    async with FakeModelServer([stream_text(TEXT)]) as far:
        await answer(far, sampling, ClientConfig(request_template=about, api_key="secret"))
        assert response.OpenAIRequest.from_json(far.posts[0].body).completion == replace(about, sampling=sampling)
        assert {asked.headers["authorization"] for asked in far.requests} == {"Bearer secret"}
        assert far.posts[0].body["model"] == "m"


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
async def test_the_manners_of_other_servers_change_nothing(body: bytes) -> None:
    pieces = await said(reply_head() + body)
    assert text(pieces) == TEXT
    assert pieces[-1].finish_reason == "end"


async def test_a_fault_behind_the_end_takes_nothing_back() -> None:
    pieces = await said(reply_head() + stream_body(TEXT).replace(b"[DONE]", b": [DO"))
    assert (text(pieces), pieces[-1].finish_reason) == (TEXT, "end")


async def test_a_drip_of_single_bytes_is_the_same_answer() -> None:
    stream = stream_body(TEXT[:12])
    pieces = await said(
        send_parts(reply_head(), *(byte for at in range(len(stream)) for byte in (stream[at : at + 1], 0.0)))
    )
    assert text(pieces) == TEXT[:12]


async def test_another_servers_answer_ends_where_ours_would_have_ended_it() -> None:
    assert text(await said(reply_head() + stream_body(TEXT), Sampling(length=10))) == "The sun rose over the harbour."
    stopped = await said(reply_head() + stream_body(TEXT), Sampling(stop=("Gulls",)))
    assert (text(stopped), stopped[-1].finish_reason) == ("The sun rose over the harbour.\n", "stop")


async def test_the_stream_is_closed_with_the_generator() -> None:
    async with FakeModelServer([send_parts(reply_head(), chunk_event("Some"), 600.0)]) as far:
        remote = RemoteModel(far.url)
        pieces = remote.stream("", ANY)
        assert (await anext(pieces)).text == "Some"
        await pieces.aclose()
        await far.client_left.wait()
        await remote.close()


async def test_after_a_break_nothing_is_left_open_and_the_next_answer_asks_nothing_first() -> None:
    before, forgotten = sys.get_asyncgen_hooks(), list[str]()

    def forget(generator: Any) -> None:
        if "far" in Path(generator.ag_code.co_filename).parts:  # what httpx2 forgets within itself is its own
            forgotten.append(generator.__qualname__)
        assert before.finalizer is not None
        before.finalizer(generator)

    async with FakeModelServer(
        [send_parts(reply_head(), chunk_event("Some"), 0.0, chunk_event("thing"), 600.0)]
    ) as far:
        remote = RemoteModel(far.url)
        await remote.wait_ready()
        sys.set_asyncgen_hooks(before.firstiter, forget)
        for words in (1, 2):
            pieces = remote.stream("", ANY)
            for _ in range(words):
                await anext(pieces)
            await pieces.aclose()
        sys.set_asyncgen_hooks(*before)
        assert forgotten == []
        assert [asked.method for asked in far.requests] == ["GET", "POST", "POST"]
        await remote.close()


async def test_after_a_fault_it_may_be_another_server() -> None:
    async with FakeModelServer([send_parts(reply_head(), chunk_event("Some"), reset=True), stream_text(TEXT)]) as far:
        remote = RemoteModel(far.url)
        with pytest.raises(ServerLost):
            assert [piece async for piece in remote.stream("", ANY)]
        assert text([piece async for piece in remote.stream("", ANY)]) == TEXT
        assert [asked.method for asked in far.requests] == ["GET", "POST", "GET", "POST"]
        await remote.close()


async def test_a_connection_is_kept_for_the_next_answer() -> None:
    connections = []

    async def serve(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("peername"))
        body = stream_body(TEXT)
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await asyncio.sleep(600)

    async with FakeModelServer([serve]) as far:
        remote = RemoteModel(far.url)
        begun = asyncio.get_running_loop().time()
        assert text([piece async for piece in remote.stream("", ANY)]) == TEXT
        assert asyncio.get_running_loop().time() - begun < 60
        await remote.close()


VAST = b'data: {"choices": []}\n\n'

LOST: dict[str, tuple[Responder, str]] = {
    "cut": (send_bytes(reply_head() + stream_body(TEXT)[:300]), "ended before the answer did"),
    "reset": (send_parts(reply_head() + stream_body(TEXT)[:300], reset=True), "no answer: "),
    "nothing": (send_bytes(b""), "no answer: "),
    "no http": (send_bytes(b"220 mail.example.org ESMTP\r\n\r\n"), "no answer: "),
    "a page": (send_bytes(full_reply(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")), "behind the proxy"),
    "a page that is well": (send_bytes(full_reply(200, b"<html>Log in, please", "text/html")), "is a proxy in between"),
    "an error inside": (
        send_bytes(reply_head() + chunk_event("a") + response.encode_event(ErrorInfo(500, "x", "CUDA broke"))),
        "CUDA broke",
    ),
    "no JSON": (send_bytes(reply_head() + b"data: {\n\n"), "garbled"),
    "no UTF-8": (send_bytes(reply_head() + b"data: \xff\n\n"), "garbled"),
    "no end of line": (send_bytes(reply_head() + b"x" * (MAX_EVENT_BYTES + 1)), "garbled"),
    "a number without end": (
        send_bytes(
            reply_head() + VAST.replace(b"]", b'{"text": "a", "logprobs": {"token_logprobs": [%d]}}]' % 10**400)
        ),
        "garbled",
    ),
    "a count without end": (
        send_bytes(reply_head() + VAST.replace(b"}", b', "usage": {"prompt_tokens": %d}}' % 10**400)),
        "ended",
    ),
    "gave up": (send_bytes(reply_head() + b'data: {"choices": [{"finish_reason": "abort"}]}\n\n'), "gave up"),
    "busy": (send_bytes(full_reply(429, b"", "text/plain", "Retry-After: 7")), "too many ask it"),
}


@pytest.mark.parametrize("what", LOST)
async def test_what_another_try_may_mend_is_said_in_a_line(what: str) -> None:
    reply, why = LOST[what]
    with pytest.raises(ServerLost, match=why) as caught:
        await said(reply)
    assert "\n" not in str(caught.value)
    assert caught.value.retry_after_s == (7 if what == "busy" else 0)


@pytest.mark.parametrize(
    ("reply", "error", "why"),
    [
        (error_reply(401), KeyRefused, "wants a key: name its key_file"),
        (error_reply(404, "no", "model_not_found"), ModelNotFound, "has no model"),
        (full_reply(404, b"Not Found", "text/plain"), ModelNotFound, "is that the URL of a model server"),
        (error_reply(400, "This model's maximum context length is 8"), PromptTooLong, "too long"),
        (error_reply(413), PromptTooLong, "shorten it"),
        (error_reply(422, "stop: is not a text"), RequestRefused, "stop: is not a text"),
        (full_reply(307, b"", "text/plain", "Location: /x"), RequestRefused, "name the URL where"),
        (
            reply_head() + response.encode_event(ErrorInfo(400, "x", "the prompt is too long")),
            PromptTooLong,
            "too long",
        ),
    ],
)
async def test_what_no_other_try_mends_names_the_cure(reply: bytes, error: type[ModelError], why: str) -> None:
    with pytest.raises(error, match=why) as caught:
        await said(reply)
    assert "\n" not in str(caught.value)


async def test_why_a_stream_ended_before_it_began_is_asked_for() -> None:
    for reply, error in (
        (error_reply(400, "maximum context length"), PromptTooLong),
        (full_reply(200, b"{}"), ServerLost),
    ):
        async with FakeModelServer([send_bytes(reply_head()), send_bytes(reply)]) as far:
            with pytest.raises(error):
                await answer(far)
            assert [post.body["stream"] for post in far.posts] == [True, False]
            assert far.posts[1].body["max_tokens"] == 1


async def test_what_is_failed_of_whole_and_not_of_its_last_words_was_too_long() -> None:
    prompt = "word " * 40
    broken, well = (
        send_bytes(full_reply(500, b"Internal Server Error", "text/plain")),
        send_bytes(full_reply(200, b"{}")),
    )
    for last, error in ((well, PromptTooLong), (broken, ServerLost)):
        async with FakeModelServer([send_bytes(reply_head()), broken, last]) as far:
            with pytest.raises(error):
                await answer(far, prompt=prompt)
            assert [post.body["prompt"] for post in far.posts] == [prompt, prompt, prompt[-64:]]


def test_who_says_nothing_of_a_whole_answer_is_asked_no_further() -> None:
    async def asked() -> int:
        async with FakeModelServer(
            [send_bytes(reply_head()), send_parts(1000.0), send_bytes(full_reply(200, b"{}"))]
        ) as far:
            with pytest.raises(ServerLost, match="ended before the answer"):
                await answer(far, prompt="word " * 40)
            return len(far.posts)

    assert run_jumping(asked(), grace_s=0.01) == 2


def test_each_silence_has_its_limit() -> None:
    begun = send_parts(reply_head(), chunk_event("a"), 1000.0)
    ping = send_parts(reply_head(), *[part for _ in range(90) for part in (response.PING, 10.0)])
    for reply, why in ((send_parts(1000.0), "no answer within 60"), (begun, "no further word"), (ping, "no word came")):
        with pytest.raises(ServerLost, match=why):
            run_jumping(said(reply, door=ClientConfig(first_token_s=60)), grace_s=0.01)


def test_a_server_that_says_it_is_alive_may_take_its_time() -> None:
    slow = send_parts(reply_head(), *[part for _ in range(9) for part in (response.PING, 10.0)], stream_body(TEXT))
    assert text(run_jumping(said(slow), grace_s=0.01)) == TEXT


def test_the_limit_is_between_two_words_and_not_of_the_whole() -> None:
    pings = [part for _ in range(4) for part in (response.PING, 10.0)]
    slow = send_parts(reply_head(), chunk_event("a"), *pings, chunk_event("b"), *pings, stream_body("c"))
    assert text(run_jumping(said(slow, door=ClientConfig(first_token_s=60)), grace_s=0.01)) == "abc"


def test_the_reader_may_take_his_time() -> None:
    async def read() -> str:
        async with FakeModelServer(
            [send_parts(reply_head(), chunk_event("a"), 1.0, chunk_event("b"), 1.0, stream_body("c"))]
        ) as far:
            remote, got = RemoteModel(far.url, ClientConfig(first_token_s=40)), ""
            async for piece in remote.stream("", ANY):
                got += piece.text
                await asyncio.sleep(1000)
            await remote.close()
            return got

    assert run_jumping(read(), grace_s=0.02) == "abc"


async def test_nobody_there_is_said_at_once() -> None:
    async with FakeModelServer([]) as far:
        pass
    with pytest.raises(ServerLost, match="nobody listens there: start the server, or see to the port"):
        await answer(far)


async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_http_where_https_is_spoken_and_the_other_way_round_name_the_cure(
    certificates: Callable[[int], Path],
) -> None:
    async with (
        await asyncio.start_server(refuse, "127.0.0.1", 0) as plain,
        FakeModelServer([stream_text(TEXT)], tls=served(certificates(9))) as secure,
    ):
        port = plain.sockets[0].getsockname()[1]
        for url, cure in ((f"https://127.0.0.1:{port}", "write http://"), (f"http://{secure.url[8:]}", "https://")):
            remote = RemoteModel(url, ClientConfig(ca_file=certificates(9)))
            with pytest.raises(ServerLost, match=cure) as caught:
                await remote.wait_ready()
            assert "\n" not in str(caught.value)
            await remote.close()


async def test_a_name_that_nobody_knows_is_said_to_be_one() -> None:
    remote = RemoteModel("http://nobody.invalid:8033")
    with pytest.raises(ServerLost, match="nobody knows that name"):
        await remote.wait_ready()
    await remote.close()


@pytest.mark.parametrize("host", ["xn--0", "-a", "a_b.invalid", "\u2603.invalid"])
async def test_a_name_that_can_be_nobodys_is_said_to_be_wrong_and_no_more(host: str) -> None:
    for door in (ClientConfig(), ClientConfig(api_key="secret")):
        with pytest.raises(ModelError, match=":") as caught:
            await RemoteModel(f"http://{host}:8033", door).wait_ready()
        assert "\n" not in str(caught.value)


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with FakeModelServer([stream_text(TEXT)]) as far:
        assert text(await answer(far)) == TEXT


def test_what_waits_for_the_paper_and_is_held_back_is_asked_for_at_once() -> None:
    """By our own server, which says each ten seconds that it is there."""

    async def main() -> None:
        held = send_parts(reply_head(), 1000.0)
        freely = send_parts(
            reply_head(),
            *[part for char in TEXT for part in (chunk_event(char, with_tokens=True), 0.01)],
            stream_body(""),
        )
        about = CompletionRequest("", ANY, chars_per_second=10.0)
        async with FakeModelServer(
            [held, send_bytes(reply_head() + stream_body(TEXT, with_tokens=True)), freely, freely], is_asr33=True
        ) as far:
            remote = RemoteModel(far.url, ClientConfig(request_template=about))
            with pytest.raises(ServerLost, match="no word came"):
                assert [piece async for piece in remote.stream("", ANY)]
            for _ in range(3):
                assert text([piece async for piece in remote.stream("", ANY)]) == TEXT
            assert [post.body["asr33"]["pace"] for post in far.posts] == [10.0, 0.0, 0.0, 10.0]
            await remote.close()

    run_jumping(main(), grace_s=0.01)


async def test_a_server_is_asked_what_it_has() -> None:
    async with FakeModelServer([], is_asr33=True, context=77) as far:
        remote = RemoteModel(far.url)
        assert (remote.context, remote.name) == (512, f"127.0.0.1:{far.port}")
        await remote.wait_ready()
        assert (remote.context, remote.name, remote.is_asr33) == (77, "m", True)
        with pytest.raises(ModelNotFound, match="no model 'other'; there are: m"):
            await RemoteModel(f"{far.url}/v1/#other").wait_ready()
        far.models = full_reply(404, b"")
        unlisted = RemoteModel(f"{far.url}#other")
        await unlisted.wait_ready()
        assert (unlisted.name, unlisted.is_asr33) == ("other", False)
        far.models = full_reply(200, b"<html>")
        with pytest.raises(ServerLost, match="is it a model server"):
            await RemoteModel(far.url).wait_ready()
        await remote.close()
        await unlisted.close()


async def test_a_text_is_counted_by_what_was_counted_before_and_never_as_less() -> None:
    counted = response.encode_event(CompletionChunk("c", 1, "m", usage=Usage(100, 2)))
    async with FakeModelServer(
        [send_bytes(reply_head() + stream_body("a").replace(b"data: [DONE]", counted + b"data: [DONE]"))]
    ) as far:
        remote = RemoteModel(far.url)
        assert remote.count_tokens("x" * 300) == 100
        assert [piece async for piece in remote.stream("x" * 450, ANY)]
        assert 100 < remote.count_tokens("x" * 450) <= 112
        await remote.close()


async def test_an_answer_that_was_cut_leaves_the_same_count_behind() -> None:
    """Else a daemon would forget earlier what was said, because its server fell over."""
    found = []
    for said in (PartialAnswer(), PartialAnswer("abc", 0, (97, 98, 99), "letters")):
        counted = response.encode_event(CompletionChunk("c", 1, "m", usage=Usage(100 + len(said.tokens), 2)))
        last = stream_body("a").replace(b"data: [DONE]", counted + b"data: [DONE]")
        async with FakeModelServer([send_bytes(reply_head() + last)], vocabulary="letters", is_asr33=True) as far:
            remote = RemoteModel(far.url)
            assert [piece async for piece in remote.resume("x" * 450, ANY, said)]
            asked = response.OpenAIRequest.from_json(far.posts[0].body).completion
            found.append((remote.count_tokens("x" * 450), asked.resume_tokens))
            await remote.close()
    assert found == [(112, ()), (112, (97, 98, 99))]


async def test_what_is_typed_is_read_by_our_own_server_and_the_newest_wins() -> None:
    gate = asyncio.Event()

    async def read(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(full_reply(200, b"{}"))
        await writer.drain()

    async with FakeModelServer([read], is_asr33=True) as far:
        remote = RemoteModel(far.url)
        remote.prefill("It is not known yet whose server that is ")
        await remote.wait_ready()
        for prompt in ("The", "The old"):
            remote.prefill(prompt)
        await wait_until(lambda: far.posts)
        for prompt in ("The old tele", "The old telegraph off"):
            remote.prefill(prompt)
            await asyncio.sleep(0.02)
        gate.set()
        await wait_until(lambda: len(far.posts) == 2)
        remote.prefill("The old telegraph offi")  # no word more is settled
        await asyncio.sleep(0.02)
        assert [post.body["prompt"] for post in far.posts] == ["The", "The old telegraph"]
        assert all(post.body["asr33"]["read"] for post in far.posts)
        await remote.close()


async def test_to_listen_never_fails() -> None:
    async with FakeModelServer([send_bytes(full_reply(500, b""))], is_asr33=True) as far:
        remote = RemoteModel(far.url)
        await remote.wait_ready()
        remote.prefill("The old")
        await asyncio.sleep(0.05)
    remote.prefill("The old telegraph office")
    await asyncio.sleep(0.05)
    await remote.close()


async def test_an_answer_goes_on_behind_its_tokens_or_behind_its_text() -> None:
    half = TEXT[:20]
    so_far = PartialAnswer(half, 0, tuple(map(ord, half)), "letters")
    for ours in (False, True):
        async with FakeModelServer([stream_text(TEXT, "Hi", with_tokens=ours)], is_asr33=ours) as far:
            remote = RemoteModel(far.url)
            pieces = [piece async for piece in remote.resume("Hi", Sampling(max_tokens=200), so_far)]
            assert half + text(pieces) == TEXT
            asked = response.OpenAIRequest.from_json(far.posts[0].body).completion
            assert asked.resume_tokens == (so_far.tokens if ours else ())
            assert asked.sampling.max_tokens == (200 if ours else 180)
            await remote.close()


async def test_blanks_at_the_end_of_what_was_said_come_once() -> None:
    for rest in (" sun rose.", "sun rose."):
        async with FakeModelServer([send_bytes(reply_head() + stream_body(rest))]) as far:
            remote = RemoteModel(far.url)
            pieces = [piece async for piece in remote.resume("Hi ", ANY, PartialAnswer("The ", 4))]
            assert far.posts[0].body["prompt"] == "Hi The"
            assert text(pieces) == "sun rose."
            await remote.close()


# The key, and where it goes.


def test_a_key_comes_from_a_file_or_from_systemd(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("one\n")
    (tmp_path / "two").write_text("two two\n")
    assert read_api_key(tmp_path / "api-key", {}) == "one"
    assert read_api_key(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "one"
    assert read_api_key(None, {}) == read_api_key(None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) == ""
    with pytest.raises(KeyRefused, match="No such file"):
        read_api_key(tmp_path / "none", {})
    with pytest.raises(KeyRefused, match="one line"):
        read_api_key(tmp_path / "two", {})


async def test_the_key_does_not_go_over_plain_http_to_a_stranger() -> None:
    with pytest.raises(KeyRefused, match=r"does not go to 8\.8\.8\.8 over plain http.*allow_plain"):
        await RemoteModel("http://8.8.8.8", ClientConfig(api_key="secret")).wait_ready()
    assert "secret" not in repr(ClientConfig(api_key="secret"))


@pytest.mark.parametrize(
    ("host", "is_near"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("192.168.1.5", True),
        ("fd00::1", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("169.254.7.7", True),
        ("fe80::1%eth0", True),
        ("::ffff:10.1.2.3", True),
        ("::ffff:8.8.8.8", False),
        ("100.64.0.9", False),  # carriers share it among strangers
        ("2001::1", False),  # Teredo
        ("2002:c0a8:105::1", False),  # 6to4, of 192.168.1.5
        ("64:ff9b::a01:203", False),  # NAT64, of 10.1.2.3
        ("64:ff9b:1::1", False),
        ("192.0.2.1", False),  # for documentation
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("2001:db8::1", False),
        ("198.18.0.1", False),  # for measuring
        ("240.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("8.8.8.8", False),
        ("2606:4700::1", False),
        ("224.0.0.1", False),
        ("example.org", None),
    ],
)
def test_what_is_near_is_known_by_its_address(host: str, is_near: bool | None) -> None:
    assert is_private_host(host) is is_near


@pytest.mark.parametrize(
    ("url", "base", "model"),
    [
        ("http://gpu:8033", "http://gpu:8033", ""),
        ("http://gpu:8033/", "http://gpu:8033", ""),
        ("https://gpu/v1#gpt2", "https://gpu", "gpt2"),
        ("https://gpu/models/v1/completions", "https://gpu/models", ""),
        ("http://[::1]:80#a/b", "http://[::1]:80", "a/b"),
    ],
)
def test_a_url_is_taken_as_people_write_it(url: str, base: str, model: str) -> None:
    assert (parse_server_url(url).base_url, parse_server_url(url).model) == (base, model)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://gpu",
        "http://",
        "http://gpu:99999",
        "http://me:key@gpu",
        "http://gpu?key=5",
        "http://g pu",
        "://",
        "http://a..b",
        f"http://{'x' * 64}",
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(AddressWrong):
        parse_server_url(url)


# TLS.


AUTHORITY = """
[ca]
default_ca = us
[us]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = names
copy_extensions = copy
[names]
commonName = supplied
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A certificate for this machine that is good for so many days, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")

    def made(days: int) -> Path:
        file, begin = folder / f"{days}.pem", "20200101000000Z"
        if not file.exists():
            (folder / "index").write_text("")
            (folder / "serial").write_text("01")
            (folder / "ca").write_text(AUTHORITY)
            dates = f"-startdate {begin} -enddate {'20200201000000Z' if days < 0 else '20991231000000Z'}"
            key, name = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes", "-subj /CN=localhost"
            for command in (
                f"req -new {key} {name} -addext subjectAltName=IP:127.0.0.1 -keyout key -out request",
                f"ca -config ca -selfsign -keyfile key -in request -out {file} -batch {dates}",
            ):
                subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, check=True)
            file.write_text(file.read_text() + (folder / "key").read_text())
        return file

    return made


def served(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_certificate_of_ones_own_is_good_where_it_is_named(certificates: Callable[[int], Path]) -> None:
    async with FakeModelServer([stream_text(TEXT)], tls=served(certificates(9))) as far:
        assert text(await answer(far, door=ClientConfig(api_key="secret", ca_file=certificates(9)))) == TEXT
        with pytest.raises(ServerLost, match=r"certificate is no good: self.signed certificate.*ca_file"):
            await answer(far)


async def test_a_certificate_that_ran_out_is_said_to_have(certificates: Callable[[int], Path]) -> None:
    async with FakeModelServer([stream_text(TEXT)], tls=served(certificates(-9))) as far:
        with pytest.raises(ServerLost, match="certificate has expired: renew it there"):
            await answer(far, door=ClientConfig(ca_file=certificates(-9)))


async def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for name, why in (("none", "No such file"), ("empty", "no certificate in it")):
        with pytest.raises(AddressWrong, match=why):
            await RemoteModel("https://localhost:1", ClientConfig(ca_file=tmp_path / name)).wait_ready()


# Streams that were damaged on the way.


def reference(body: bytes) -> tuple[str, bool]:
    """What a stream says up to its first fault or its end, read all at once; whether that was an end."""
    whole_text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    got = ""
    for event in whole_text.split(b"\n\n")[:-1]:
        lines = [line for line in event.split(b"\n") if line.partition(b":")[0] == b"data"]
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines)
        if not lines:
            continue
        try:
            said = response.decode_event(data.decode())
        except ValueError:
            return got, False
        if isinstance(said, ErrorInfo):
            return got, False
        if isinstance(said, StreamEnd):
            return got, True
        got += said.text
        if said.finish:
            return got, True
    return got, False


def mutated(body: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(body)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        if not damaged:
            break
        at = chance.randrange(len(damaged))
        end = min(len(damaged), at + chance.choice((1, 1, 2, 10, 200)))
        match chance.randrange(5):
            case 0:
                damaged[at] ^= 1 << chance.randrange(8)
            case 1:
                del damaged[at:end]
            case 2:
                damaged[at:at] = damaged[at:end]
            case 3:
                damaged[at:at] = chance.choice((b"\n", b"\r", b"\n\n", b"\0", b"\xff", b"data:", b"{", b'"', b":"))
            case _:
                del damaged[at + 1 :]
    return bytes(damaged)


async def read(remote: RemoteModel, body: bytes) -> None:
    """Each character once and none wrong up to the first fault, and an end that is known for one."""
    got, ended = "", False
    try:
        async with asyncio.timeout(30):
            async for piece in remote.resume("", ANY):
                got, ended = got + piece.text, piece.finish_reason is not None
    except ModelError:
        pass
    expected, complete = reference(body)
    assert expected.startswith(got), body
    assert (got if complete else "") == (expected if complete else ""), body
    assert ended == complete, body


CLEAN = stream_body(TEXT.replace("\n", " "))


def cut(body: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        size = chance.choice((1, 7, 100, 5000))
        yield body[at : at + size]
        at += size


async def mutations(count: int, seed: int) -> None:
    chance = random.Random(seed)
    bodies: list[bytes] = []

    async def damaged(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_head())
        for part in cut(bodies[-1], chance):
            writer.write(part)
            if chance.random() < 0.1:
                await writer.drain()
                await asyncio.sleep(0)

    async with FakeModelServer([damaged]) as far:
        remote = RemoteModel(far.url)
        for _ in range(count):
            far.requests.clear()
            bodies.append(mutated(CLEAN, chance))
            await read(remote, bodies[-1])
        await remote.close()


@dataclass
class Told:
    """A reply that is here already, in its parts."""

    data: Iterable[bytes]
    status: int = 200
    kind: str = "text/event-stream"
    again: str = ""

    async def parts(self) -> AsyncGenerator[bytes, None]:
        for part in self.data:
            yield part

    async def body(self, most: int, limit_s: float) -> bytes:
        return b"".join(self.data)[:most]


class Unwired:
    """In place of a way to a server: no socket, and all the rest as it is."""

    def __init__(self) -> None:
        self.told: Iterable[bytes] = ()

    @contextlib.asynccontextmanager
    async def asked(self, method: str, path: str, limit_s: float, body: object = None) -> AsyncIterator[Told]:
        catalogue = json.dumps(response.encode_models([response.ModelInfo("m", "x")])).encode()
        yield Told([catalogue], kind="application/json") if method == "GET" else Told(self.told)

    async def close(self) -> None:
        pass


async def test_a_damaged_stream_ends_clearly_and_no_character_is_wrong() -> None:
    await mutations(300, 33)


@pytest.mark.soak
async def test_a_hundred_thousand_damaged_streams_end_clearly() -> None:
    await mutations(5_000, 33)
    chance, way, remote = random.Random(34), Unwired(), RemoteModel("http://127.0.0.1:1")
    cast(Any, remote)._way = way
    for _ in range(95_000):
        body = mutated(CLEAN, chance)
        way.told = cut(body, chance)
        await read(remote, body)


async def test_a_damaged_head_ends_clearly() -> None:
    chance = random.Random(33)
    for _ in range(60):
        reply = mutated(reply_head(), chance) + stream_body(TEXT)
        with contextlib.suppress(ModelError):
            async with asyncio.timeout(30):
                await said(reply, door=ClientConfig(read_timeout_s=1, first_token_s=1))
