"""Servers that mean harm or are broken: every answer ends here, and every failure is one line with its cure."""

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from fakes_hostile_server import (
    STREAM_HEAD,
    HostileServer,
    HostileServerOnLoop,
    Play,
    end_event,
    event,
    gzip_bomb,
    json_reply,
    models_reply,
    play,
    play_forever,
    redirect,
    stream_of,
    trickle,
)
from fakes_openai_server import FakeModelServer, on_network_loop, reply_head, send_parts, stream_text
from hypothesis import given
from hypothesis import strategies as st

from model.client.failover import FailoverModel
from model.client.http_client import ClientConfig
from model.client.liveness import StallMeter
from model.client.partial_answer import LENGTH_FACTOR, LENGTH_MARGIN_CHARS, AnswerLimit, PartialAnswer
from model.client.remote_model import RemoteModel
from model.errors import ModelError, ServerLost
from model.interface import Model, Notice, Sampling, TextChunk
from model.openai_api.sse import SurrogateJoiner

PING = b": ping\n\n"
LATE_S = 0.2  # no other task of the loop may wait longer


@dataclass
class LocalWords:
    """A local model with one word."""

    name: str = "local"
    device: str = "cpu"
    context: int = 1000
    opened: list[float] = field(default_factory=list)

    def count_tokens(self, text: str) -> int:
        return len(text)

    async def wait_ready(self) -> None:
        self.opened.append(time.monotonic())

    def prefill(self, prompt: str) -> None:
        pass

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        yield TextChunk(" local", (), 0.0)
        yield TextChunk("", (), 0.0, "end")

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def remote_model(server: HostileServer, config: ClientConfig | None = None) -> AsyncGenerator[RemoteModel, None]:
    model = RemoteModel(server.url, config)
    try:
        yield model
    finally:
        await model.close()


async def read_answer(model: Model, sampling: Sampling) -> tuple[str, str, float]:
    """Returns the text, its finish reason, and the longest time that the loop was blocked."""
    text, finish, gaps = "", "", [time.monotonic()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic())

    ticking = asyncio.ensure_future(tick())
    try:
        async with asyncio.timeout(60):
            async for chunk in model.stream("", sampling):
                text, finish = text + chunk.text, chunk.finish_reason or finish
    finally:
        ticking.cancel()
        gaps.append(time.monotonic())
    return text, finish, max(after - before for before, after in pairwise(gaps))


ENDLESS: dict[str, Play] = {
    "words": play_forever(event("word ")),
    "one sentence": play_forever(event("word ") * 100),
    "a huge event": play_forever(event("word " * 150_000)),
    "one word": play_forever(event("x" * 700_000)),
    "lines": play_forever(event("\n" * 1000)),
    "tokens that are long": play_forever(event("word " * 10_000, asr33={"tokens": [1]})),
    "many tokens": play_forever(event("word ", asr33={"tokens": [7] * 100})),
    "no end of sentence": play_forever(event("x.y,")),
}


@pytest.mark.pace
@pytest.mark.parametrize("owner", ["x", "asr33"])
@pytest.mark.parametrize("case", ENDLESS)
async def test_an_endless_answer_ends_at_max_tokens_and_at_a_multiple_of_length(case: str, owner: str) -> None:
    with HostileServer([ENDLESS[case]], models=play(models_reply(owner=owner))) as server:
        async with remote_model(server) as model:
            for sampling, most in (
                (Sampling(max_tokens=50), 16 * 50 if "token" in case else 4 * 50),
                (Sampling(max_tokens=100_000, length=60), LENGTH_FACTOR * 60 + LENGTH_MARGIN_CHARS),
            ):
                text, finish, blocked_s = await read_answer(model, sampling)
                assert len(text) <= most
                assert finish in ("length", "sentence")
                assert blocked_s < LATE_S
        assert server.sent_bytes < 20_000_000  # the connection is closed


async def test_an_answer_that_fills_max_tokens_exactly_is_whole() -> None:
    with HostileServer([play(stream_of("four", "more", "text"))]) as server:
        async with remote_model(server) as model:
            assert (await read_answer(model, Sampling(max_tokens=3)))[:2] == ("fourmoretext", "end")
            assert (await read_answer(model, Sampling(max_tokens=2)))[:2] == ("fourmore", "length")


@given(
    st.lists(st.tuples(st.text(max_size=40), st.integers(0, 5)), max_size=20),
    st.integers(1, 60),
    st.none() | st.integers(1, 30),
    st.integers(0, 30),
)
def test_the_limit_holds_over_any_chunks(
    chunks: list[tuple[str, int]], max_tokens: int, length: int | None, done: int
) -> None:
    partial = PartialAnswer("x" * done, done, (), "", done)
    limit, text, tokens = AnswerLimit(partial, Sampling(max_tokens=max_tokens, length=length)), "", 0
    for chunk, count in chunks:
        part, finish = limit.cut(chunk, count, None)
        assert chunk.startswith(part)
        assert finish or part == chunk
        text, tokens = text + part, tokens + count
        if finish:
            break
    assert len(text) <= 16 * max(0, max_tokens - done)
    assert length is None or len(text) <= max(0, LENGTH_FACTOR * length + LENGTH_MARGIN_CHARS - done)


HARMFUL: dict[str, tuple[Play, str]] = {
    "301": (play(redirect(301, "http://127.0.0.1:9/")), "redirects .* name the server's own URL"),
    "302": (play(redirect(302, "//evil.example\x1b[2J")), "name the server's own URL"),
    "307 to itself": (play(redirect(307, "/v1/completions")), "name the server's own URL"),
    "308": (play(redirect(308, "https://evil.example/v1/completions")), "name the server's own URL"),
    "303": (play(redirect(303, "file:///etc/passwd")), "name the server's own URL"),
    "an endless header": (
        play_forever(b"X-A: " + b"a" * 4000 + b"\r\n", start=b"HTTP/1.1 200 OK\r\n"),
        "is it a model server",
    ),
    "an endless status line": (play_forever(b"x" * 4000, start=b"HTTP/1.1 200 "), "is it a model server"),
    "100 Continue for ever": (play_forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 50, start=b""), "is it a model server"),
    "103 Early Hints for ever": (
        play_forever(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 50, start=b""),
        "is it a model server",
    ),
    "a compressed bomb": (play(gzip_bomb(200)), "compressed reply .gzip.*is a proxy in between"),
    "an unknown compression": (
        play(STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: \x1b[2Jbr\xe9\r\n\r\n")),
        "compressed reply|rules of HTTP",
    ),
    "a huge chunk": (
        play(STREAM_HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFF\r\n" + PING),
        "no answer: |ended before",
    ),
    "a chunk size without end": (
        play_forever(b"F" * 4000, start=STREAM_HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked")),
        "rules of HTTP",
    ),
    "garbage for a chunk": (
        play(STREAM_HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"\x1b\x9b\xff\r\n" * 9),
        "rules of HTTP",
    ),
    "another content type": (
        play(STREAM_HEAD.replace(b"text/event-stream", b"text/\x1b]0;t\x07html\xe2\x80\xae")),
        "is a proxy in between|rules of HTTP",
    ),
    "a long content type": (
        play(STREAM_HEAD.replace(b"text/event-stream", b"x" * 9000)),
        "is a proxy in between",
    ),
    "comments for ever": (play_forever(PING * 500), "without a word: is it a model server"),
    "empty events for ever": (play_forever(event("") * 500), "without a word"),
    "a line for ever": (play_forever(b"x" * 65536), "malformed"),
    "data for ever": (play_forever(b"data: x\n" * 5000), "malformed|without a word"),
    "an error with controls": (
        play(json_reply({"error": {"message": "\x1b[2J\u009b1m\u202eno\r\nroot# \x07"}}, "400 Bad")),
        "refuses the request",
    ),
    "an error page without end": (
        play_forever(b"<p>" * 20_000, start=b"HTTP/1.1 500 X\r\nContent-Type: text/html\r\n\r\n"),
        "the request fails",
    ),
    "an error in the stream": (
        play(STREAM_HEAD + b'data: {"error": {"message": "\\u001b]0;x\\u0007 \\ud800 %s"}}\n\n' % (b"long " * 10_000)),
        "the request fails",
    ),
    "nested JSON": (play(STREAM_HEAD + b"data: " + b"[" * 100_000 + b"\n\n"), "malformed"),
    "a text that is a number": (play(STREAM_HEAD + b'data: {"choices": [{"text": 5}]}\n\n'), "malformed"),
    "binary": (play(bytes(range(256)) * 20), "does not speak HTTP: check the port"),
    "SSH": (play(b"SSH-2.0-OpenSSH_9.6\r\n"), "does not speak HTTP: check the port"),
    "an alert of TLS": (play(b"\x15\x03\x01\x00\x02\x02\x16"), "the server uses TLS: write https://"),
    "half a head": (play(b"HTTP/1.1 200 OK\r\nContent-"), "no answer: the connection ended in the middle"),
    "half a chunk": (
        play(STREAM_HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"FF\r\n" + event("a")),
        "no answer: the connection ended in the middle",
    ),
    "switched protocols": (play(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\x1b"), "rules of HTTP"),
    "an unknown status": (play(b"HTTP/1.1 999 \x1b[2J\r\nContent-Length: 0\r\n\r\n"), "fails .999.|does not|rules"),
    "no content": (play(b"HTTP/1.1 204 X\r\n\r\n"), "refuses the request .204."),
    "nothing": (play(), "closed the connection without a reply: if the server uses TLS, write https://"),
}


@pytest.mark.parametrize("case", HARMFUL)
async def test_a_harmful_reply_is_one_line_with_the_cure(case: str) -> None:
    script, message = HARMFUL[case]
    with HostileServer([script]) as server:
        async with remote_model(server, ClientConfig(api_key="secret", first_token_s=20, read_timeout_s=20)) as model:
            with pytest.raises(ModelError, match=message) as caught:
                await read_answer(model, Sampling())
        assert_printable(str(caught.value))
        assert len(str(caught.value)) < 500
        assert server.post_count <= 3
        assert server.sent_bytes < 30_000_000


def assert_printable(text: str) -> None:
    """Checks that the text is one line, and no bytes of a server are quoted raw or as Python writes them."""
    assert text.isprintable(), repr(text)
    assert "bytearray" not in text
    assert "b'" not in text


async def test_no_redirect_gets_the_key() -> None:
    with HostileServer([]) as other:
        with HostileServer([play(redirect(307, f"{other.url}/v1/completions"))]) as server:
            async with remote_model(server, ClientConfig(api_key="secret")) as model:
                with pytest.raises(ModelError):
                    await read_answer(model, Sampling())
        with HostileServer([], models=play(redirect(302, f"{other.url}/v1/models"))) as server:
            async with remote_model(server, ClientConfig(api_key="secret")) as model:
                with pytest.raises(ModelError, match="name the server's own URL"):
                    await model.wait_ready()
        assert other.requests == []


LISTS: dict[str, tuple[Play, str]] = {
    "without end": (
        play_forever(b'{"id": "m"},' * 1000, start=b'HTTP/1.1 200 OK\r\n\r\n{"data": ['),
        "is it a model server",
    ),
    "nested": (play(json_reply(b"[" * 100_000)), "is it a model server"),
    "compressed": (play(gzip_bomb(100)), "is a proxy in between"),
    "of names with controls": (play(models_reply("\x1b[2J\u202eevil", "a\r\nb")), "there are: "),
    "of long names": (play(models_reply(*("n" * 50_000 for _ in range(9)))), "there are: "),
    "a huge number": (play(json_reply(b'{"data": [{"id": "m", "max_model_len": ' + b"9" * 5000 + b"}]}")), "is it a"),
}


@pytest.mark.parametrize("case", LISTS)
async def test_a_harmful_list_of_models_is_one_line_with_the_cure(case: str) -> None:
    script, message = LISTS[case]
    with HostileServer([], models=script) as server:
        model = RemoteModel(f"{server.url}#wanted", ClientConfig(read_timeout_s=5))
        with pytest.raises(ModelError, match=message) as caught:
            await model.wait_ready()
        await model.close()
    assert_printable(str(caught.value))
    assert len(str(caught.value)) < 1000


async def test_the_name_of_a_model_is_short_and_printable() -> None:
    with HostileServer(
        [play(stream_of("x"))], models=play(models_reply("\x1b[2J\nWATCHDOG=trigger" + "n" * 9000))
    ) as server:
        async with remote_model(server) as model:
            await model.wait_ready()
            assert_printable(model.name)
            assert len(model.name) <= 100
            assert (await read_answer(model, Sampling()))[0] == "x"
        assert b"WATCHDOG=trigger" in server.requests[-1]  # the server gets its name back as it is


async def test_cookies_are_not_kept() -> None:
    head = STREAM_HEAD.replace(b"Connection", b"Set-Cookie: a=%s; Path=/\r\nConnection" % (b"x" * 3000))
    with HostileServer([play(head + stream_of("x").removeprefix(STREAM_HEAD))]) as server:
        async with remote_model(server) as model:
            for _ in range(2):
                await read_answer(model, Sampling())
        assert not [request for request in server.requests if b"ookie" in request]


# Halves of characters.


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (("a\ud83d", "\ude00b"), "a😀b"),
        (("a\ud83d", "b"), "ab"),
        (("a", "\ude00b"), "ab"),
        (("\ud83d", "\ud83d", "\ude00"), "😀"),
        (("\ud83d", "", "\ude00"), "😀"),
        (("a\ud83db\ude00c",), "abc"),
        (("😀\ud83d",), "😀"),
        (("\ud83d",), ""),
    ],
)
async def test_halves_of_characters_are_joined_or_dropped_and_end_no_answer(texts: tuple[str, ...], shown: str) -> None:
    with HostileServer([play(stream_of(*texts, "."))]) as server:
        async with remote_model(server) as model:
            assert (await read_answer(model, Sampling()))[:2] == (f"{shown}.", "end")
        assert server.post_count == 1


@given(st.text(st.characters()), st.lists(st.integers(0, 1000)))
def test_a_text_cut_between_halves_is_whole(text: str, cuts: list[int]) -> None:
    units = [data.decode("utf-16-le", "surrogatepass") for data in _units(text)]
    joiner, edges = SurrogateJoiner(), sorted({0, len(units), *(cut % (len(units) + 1) for cut in cuts)})
    joined = "".join(joiner.feed("".join(units[start:end])) for start, end in pairwise(edges))
    assert joined == re.sub("[\ud800-\udfff]", "", _paired(text))


def _units(text: str) -> list[bytes]:
    data = text.encode("utf-16-le", "surrogatepass")
    return [data[at : at + 2] for at in range(0, len(data), 2)]


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


# Servers that trickle, on a loop whose time jumps.


@dataclass
class TimedAnswer:
    text: str
    notices: list[tuple[Notice, float]]  # with the seconds since the last text before
    ended_s: float


async def timed_answer(model: FailoverModel, limit_s: float, until: Callable[[TimedAnswer], bool]) -> TimedAnswer:
    """Reads until the condition holds, the answer ends or the limit is over."""
    now = asyncio.get_running_loop().time
    start = last = now()
    result = TimedAnswer("", [], 0.0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s), contextlib.aclosing(model.stream("", Sampling())) as chunks:
            async for chunk in chunks:
                if chunk.notice:
                    result.notices.append((chunk.notice, now() - last))
                result.text += chunk.text
                if chunk.text:
                    last = now()
                if until(result):
                    break
    result.ended_s = now() - start
    return result


def failover(*servers: HostileServer | HostileServerOnLoop, local: Callable[[], Model] | None = None) -> FailoverModel:
    return FailoverModel([RemoteModel(server.url) for server in servers], local, rng=random.Random(33))


SLOW: dict[str, Play] = {
    "a head byte by byte": trickle(STREAM_HEAD),
    "interim replies": play_forever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.5, start=b""),
    "an event byte by byte": trickle(event("word ") * 9, STREAM_HEAD),
    "the second event byte by byte": trickle(event("word ") * 9, STREAM_HEAD + event("First")),
    "comments after a word": play_forever(PING, 1.0, start=STREAM_HEAD + event("First")),
    "empty events after a word": play_forever(event(""), 0.5, start=STREAM_HEAD + event("First")),
    "a letter each three seconds": play_forever(3.0, event("x"), start=STREAM_HEAD + event("First")),
    "silence after a word": play(STREAM_HEAD + event("First"), 600.0),
    "silence, and no health": play(STREAM_HEAD + event("First"), 600.0),
    "nothing at all": play(600.0),
}


def slow_server(case: str) -> HostileServerOnLoop:
    if case in ("silence, and no health", "nothing at all"):
        return HostileServerOnLoop([SLOW[case]], health=None)
    return HostileServerOnLoop([SLOW[case]])


@on_network_loop
async def test_the_next_server_continues_for_one_that_trickles(caplog: pytest.LogCaptureFixture) -> None:
    async def run(case: str) -> tuple[str, TimedAnswer]:
        async with slow_server(case) as first, HostileServerOnLoop([play(stream_of(" next"))]) as second:
            model = failover(first, second)
            result = await timed_answer(model, 60, lambda answer: "next" in answer.text)
            await model.close()
            return case, result

    for case, result in await asyncio.gather(*map(run, SLOW)):
        assert result.text.endswith(" next"), case
        assert result.ended_s < (14 if "letter" in case else 8), (case, result)
        assert not result.notices, case
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == len(SLOW)
    assert all("byte by byte" in line or "sign of life" in line or "too few words" in line for line in warnings)


@on_network_loop
async def test_the_local_model_continues_for_a_server_that_trickles() -> None:
    async def run(case: str) -> tuple[str, TimedAnswer]:
        async with slow_server(case) as first:
            model = failover(first, local=LocalWords)
            result = await timed_answer(model, 60, lambda answer: "local" in answer.text)
            await model.close()
            return case, result

    for case, result in await asyncio.gather(*map(run, SLOW)):
        assert [notice for notice, _ in result.notices] == ["local"], case
        waited_s = result.notices[0][1] if "First" in result.text else result.ended_s
        assert waited_s < (3 if "no health" in case else 8.5), (case, result)


@on_network_loop
async def test_without_another_model_the_notice_comes_after_ten_seconds_and_once() -> None:
    async def run(case: str) -> tuple[str, TimedAnswer]:
        async with slow_server(case) as first:
            model = failover(first)
            result = await timed_answer(model, 25, lambda answer: False)
            await model.close()
            assert first.post_count == 1, case  # it is not cut off
            return case, result

    for case, result in await asyncio.gather(*map(run, SLOW)):
        assert [notice for notice, _ in result.notices] == ["no server"], case
        if "letter" not in case:
            assert 9.5 < result.notices[0][1] < 12, (case, result)


@on_network_loop
async def test_a_slow_server_that_sends_words_now_and_then_is_left_alone() -> None:
    """Half a token a second, with and without another model: it is slower than the wheel, and better than nothing."""

    async def run(is_alone: bool) -> TimedAnswer:
        script = play_forever(2.0, event("wor "), start=STREAM_HEAD)
        async with HostileServerOnLoop([script]) as first, HostileServerOnLoop([play(stream_of("next"))]) as second:
            model = failover(first) if is_alone else failover(first, second, local=LocalWords)
            result = await timed_answer(model, 25, lambda answer: False)
            await model.close()
            return result

    for result in await asyncio.gather(run(True), run(False)):
        assert result.text == "wor " * (len(result.text) // 4)
        assert len(result.text) > 30
        assert not result.notices


@on_network_loop
async def test_a_long_prompt_with_comments_is_waited_for() -> None:
    """As an asr33 server does while it reads a prompt or others go first."""

    async def run(*others: HostileServerOnLoop, local: Callable[[], Model] | None = None) -> TimedAnswer:
        script = play(STREAM_HEAD, *[part for _ in range(7) for part in (PING, 2.5)], event("Done"), end_event())
        async with HostileServerOnLoop([script], models=play(models_reply(owner="asr33"))) as first:
            model = failover(first, *others, local=local)
            result = await timed_answer(model, 60, lambda answer: False)
            await model.close()
            assert first.post_count == 1
            return result

    async with HostileServerOnLoop([play(stream_of("next"))]) as other:
        for result in await asyncio.gather(run(), run(other), run(local=LocalWords)):
            assert result.text == "Done"
            assert not result.notices


@on_network_loop
async def test_comments_alone_are_waited_for_as_long_as_is_configured() -> None:
    """Then the next server is asked at once; without one the reader is told after half a minute."""
    pings = send_parts(reply_head(), *[part for _ in range(60) for part in (PING, 10.0)])
    loop = asyncio.get_running_loop()
    async with FakeModelServer([pings], is_asr33=True) as first, FakeModelServer([stream_text("next")]) as second:
        model = FailoverModel([RemoteModel(first.url), RemoteModel(second.url)], rng=random.Random(33))
        assert "".join([chunk.text async for chunk in model.stream("", Sampling())]) == "next"
        assert 115 < loop.time() < 125
        assert len(first.posts) == 1
        await model.close()
        start, model = loop.time(), FailoverModel([RemoteModel(first.url)], rng=random.Random(33))
        stream = model.stream("", Sampling())
        assert (await anext(stream)).notice == "no server"
        assert 29 < loop.time() - start < 36
        await stream.aclose()
        await model.close()


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 30)), max_size=20))
def test_a_reader_who_gets_a_character_a_second_never_stalls(steps: list[tuple[float, int]]) -> None:
    meter, waited_s = StallMeter(5.0, 0.0), 0.0
    for wait_s, chars in steps:
        before = meter.stalled_s(waited_s)
        waited_s += wait_s
        assert 0 <= meter.stalled_s(waited_s) <= min(5.0, before + wait_s + 1e-6)
        meter.note_text(chars, waited_s)
        assert meter.stalled_s(waited_s) <= max(0.0, before + wait_s - chars) + 1e-6


async def test_a_server_that_is_down_has_no_device(caplog: pytest.LogCaptureFixture) -> None:
    """The daemon logs "model ... runs on ..." only with a device."""
    model = FailoverModel([RemoteModel("http://127.0.0.1:1")], rng=random.Random(33))
    await model.wait_ready()
    assert model.device == ""
    await model.close()
    with HostileServer([]) as server:
        model = failover(server)
        await model.wait_ready()
        assert model.device == server.url
        await model.close()


async def test_the_errors_of_a_server_that_answers_no_model_are_server_lost() -> None:
    with HostileServer([play(STREAM_HEAD + event("a"), 0.1)]) as server:
        async with remote_model(server) as model:
            with pytest.raises(ServerLost, match="ended before the answer"):
                await read_answer(model, Sampling())
