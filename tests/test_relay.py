"""Several servers, and a model here: whatever breaks, the sentence goes on, no character lost or doubled."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from fakes import run_jumping
from fakes_http import (
    FakeModelServer,
    Responder,
    chunk_event,
    error_reply,
    full_reply,
    reply_head,
    send_bytes,
    send_parts,
    stream_body,
    stream_cut_at,
    stream_text,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from model.client.failover import FailoverModel
from model.client.liveness import SILENCE_LIMIT_S
from model.client.local_fallback import shorten_prompt
from model.client.partial_answer import PartialAnswer
from model.client.remote_model import RemoteModel
from model.client.server_health import MAX_RETRY_S, ServerHealth
from model.errors import KeyRefused, ModelNotFound, PromptTooLong, ServerLost
from model.interface import CompletionRequest, Model, Notice, Sampling, TextChunk
from model.openai_api import response

TEXT = "The sun rose over the harbour. Gulls cried “Who is there?” Nobody was."
ANY = Sampling()
GRACE_S = 0.005


@dataclass
class Here:
    """A local model that goes on with the same text, three characters at a time."""

    name: str = "here"
    device: str = "cpu"
    context: int = 1000
    asked: list[tuple[str, Sampling]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    def count_tokens(self, text: str) -> int:
        return len(text)

    async def wait_ready(self) -> None:
        await asyncio.sleep(0.1)

    def prefill(self, prompt: str) -> None:
        self.heard.append(prompt)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.asked.append((prompt, sampling))
        at = next(size for size in range(len(TEXT), -1, -1) if prompt.endswith(TEXT[:size].rstrip()))
        rest = TEXT[at:]
        for start in range(0, len(rest), 3):
            yield TextChunk(rest[start : start + 3], (1,), 0.0)
        yield TextChunk("", (), 0.0, "end")

    async def close(self) -> None:
        pass


def relay(
    *servers: FakeModelServer | RemoteModel, local: Callable[[], Model] | None = None, tries: int | None = None
) -> FailoverModel:
    remotes = [RemoteModel(one.url) if isinstance(one, FakeModelServer) else one for one in servers]
    return FailoverModel(remotes, local, rng=random.Random(33), max_tries=tries)


async def answer(model: FailoverModel, prompt: str = "", sampling: Sampling = ANY) -> list[TextChunk]:
    return [piece async for piece in model.stream(prompt, sampling)]


def text(pieces: list[TextChunk]) -> str:
    return "".join(piece.text for piece in pieces)


def notices(pieces: list[TextChunk]) -> list[Notice | None]:
    return [piece.notice for piece in pieces if piece.notice]


def on_paper(pieces: list[TextChunk]) -> str:
    return "".join(f"[{piece.notice}]" if piece.notice else piece.text for piece in pieces)


async def left_in_mid_sentence() -> tuple[FailoverModel, AsyncGenerator[TextChunk, None], list[TextChunk], int]:
    """A relay without a model here, its stream, what came of it before its only server went, and that one's port."""
    async with FakeModelServer([stream_cut_at(TEXT, at=600, with_tokens=True)], is_asr33=True) as far:
        model = relay(far)
        stream = model.stream("", ANY)
        return model, stream, [await anext(stream)], far.port


def jumped(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(100_000):
            await main()

    run_jumping(timed(), GRACE_S)


async def cut_at(places: range, ours: bool) -> None:
    async with FakeModelServer([], is_asr33=ours) as far:
        model = relay(far)
        for at in places:
            far.responders[:] = [stream_cut_at(TEXT, with_tokens=ours, at=at), stream_text(TEXT, with_tokens=ours)]
            far.requests.clear()
            pieces = await answer(model)
            assert (text(pieces), pieces[-1].finish_reason, notices(pieces)) == (TEXT, "end", [])
            if ours:
                assert [token for piece in pieces for token in piece.tokens] == list(map(ord, TEXT))
        await model.close()


@pytest.mark.parametrize("ours", [True, False])
def test_a_stream_that_is_cut_goes_on_without_a_character_lost_or_doubled(ours: bool) -> None:
    size = len(stream_body(TEXT, with_tokens=ours))
    jumped(lambda: cut_at(range(0, size + 1, 41), ours))


@pytest.mark.soak
@pytest.mark.parametrize("ours", [True, False])
def test_a_stream_may_be_cut_at_every_byte(ours: bool) -> None:
    jumped(lambda: cut_at(range(len(stream_body(TEXT, with_tokens=ours)) + 1), ours))


@given(st.lists(st.integers(0, 600), max_size=6), st.booleans(), st.booleans())
@settings(max_examples=12)
def test_servers_that_break_off_again_and_again_bring_it_to_its_end(cuts: list[int], one: bool, other: bool) -> None:
    async def main() -> None:
        first: list[Responder] = [stream_cut_at(TEXT, "Hi", with_tokens=one, at=at) for at in cuts]
        second: list[Responder] = [stream_cut_at(TEXT, "Hi", with_tokens=other, at=at) for at in reversed(cuts)]
        async with (
            FakeModelServer([*first, stream_text(TEXT, "Hi", with_tokens=one)], is_asr33=one) as far,
            FakeModelServer([*second, stream_text(TEXT, "Hi", with_tokens=other)], is_asr33=other) as further,
        ):
            model = relay(far, further)
            assert text(await answer(model, "Hi")) == TEXT
            await model.close()

    jumped(main)


def test_a_cut_behind_a_full_stop_does_not_hide_the_end_of_the_sentence() -> None:
    async def main() -> None:
        rest = stream_body(" Gulls cried. Nobody was there. ")
        first = send_bytes(reply_head() + chunk_event("The sun rose over the harbour."))
        async with FakeModelServer([first, send_bytes(reply_head() + rest)]) as far:
            model = relay(far)
            pieces = await answer(model, "", Sampling(length=10))
            assert (text(pieces), pieces[-1].finish_reason) == ("The sun rose over the harbour.", "sentence")
            await model.close()

    jumped(main)


BROKEN: dict[str, Responder] = {
    "a stall": send_parts(reply_head(), stream_body(TEXT)[:300], 60.0),
    "a reset": send_parts(reply_head(), stream_body(TEXT)[:300], reset=True),
    "a garbled event": send_parts(reply_head(), chunk_event(TEXT[:9]), b"data: {{\n\n", chunk_event("wrong")),
    "an error inside": send_parts(
        reply_head(), chunk_event(TEXT[:9]), response.encode_event(response.ErrorInfo(500, "x", "no memory"))
    ),
    "a page in HTML": send_bytes(full_reply(502, b"<html><h1>502</h1></html>", "text/html")),
    "not yet": send_bytes(full_reply(503, b"", "text/plain", "Retry-After: 5")),
    "nothing": send_bytes(b""),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_sentence_goes_on_after(what: str) -> None:
    async def main() -> None:
        async with FakeModelServer([BROKEN[what], stream_text(TEXT)]) as far:
            model = relay(far)
            pieces = await answer(model)
            assert (text(pieces), notices(pieces)) == (TEXT, [])
            await model.close()

    jumped(main)


def test_a_proxy_that_buffers_is_only_slow() -> None:
    async def main() -> None:
        async with FakeModelServer([send_parts(20.0, reply_head(), stream_body(TEXT))]) as far:
            model = relay(far)
            assert on_paper(await answer(model)) == TEXT
            assert len(far.posts) == 1
            await model.close()

    jumped(main)


def test_the_next_server_is_asked_where_the_first_does_not_answer() -> None:
    async def main() -> None:
        async with (
            FakeModelServer([stream_cut_at(TEXT, at=300), send_bytes(b"")]) as far,
            FakeModelServer([stream_text(TEXT)]) as further,
        ):
            model = relay(far, further)
            await model.wait_ready()
            assert on_paper(await answer(model)) == TEXT
            assert (len(far.posts), len(further.posts)) == (2, 1)
            await model.close()

    jumped(main)


def test_servers_of_one_vocabulary_hand_tokens_over_and_others_text() -> None:
    async def main(vocabulary: str) -> None:
        async with (
            FakeModelServer([stream_cut_at(TEXT, with_tokens=True, at=600), send_bytes(b"")], is_asr33=True) as far,
            FakeModelServer([stream_text(TEXT, with_tokens=True)], is_asr33=True, vocabulary=vocabulary) as further,
        ):
            model = relay(far, further)
            assert text(await answer(model)) == TEXT
            assert bool(further.posts[0].resume_tokens) is (vocabulary == "letters")
            assert bool(further.posts[0].body["prompt"]) is (vocabulary != "letters")
            await model.close()

    jumped(lambda: main("letters"))
    jumped(lambda: main("words"))


def test_when_no_server_answers_the_model_here_takes_over_and_hands_back_at_the_next_prompt() -> None:
    async def main() -> None:
        here = Here()
        opened: list[Here] = []

        def open_here() -> Here:
            opened.append(here)
            return here

        async with FakeModelServer([stream_cut_at(TEXT, "Hi", at=600)], is_asr33=True) as far:
            model = relay(far, local=open_here)
            await model.wait_ready()
            assert not opened
            port = far.port
            stream = model.stream("Hi", Sampling(max_tokens=500))
            pieces = [await anext(stream)]
        pieces += [piece async for piece in stream]
        shown = on_paper(pieces)
        assert shown.replace("[local]", "") == TEXT
        assert "[local]" in shown[1:-9]
        assert opened == [here]
        assert (model.name, model.device, model.context) == ("here", "cpu", 1000)
        model.prefill("x")
        assert here.heard == ["x"]
        # The next is answered here too, and needs no notice; nor does it wait.
        begun = asyncio.get_running_loop().time()
        assert on_paper(await answer(model, "Hi")) == TEXT
        assert asyncio.get_running_loop().time() - begun < 1
        async with FakeModelServer([stream_text(TEXT, "Hi", with_tokens=True)], is_asr33=True, port=port) as far:
            await asyncio.sleep(2 * MAX_RETRY_S)
            assert on_paper(await answer(model, "Hi")) == TEXT
            assert len(far.posts) == 1
            assert model.name == "m"
            await model.close()
        assert len(here.asked) == 2
        assert len(opened) == 1

    jumped(main)


@pytest.mark.parametrize("ours", [True, False])
def test_a_server_that_takes_the_connection_and_says_nothing_is_soon_lost(ours: bool) -> None:
    async def main() -> None:
        async with FakeModelServer([stream_text(TEXT, with_tokens=ours)], is_asr33=ours) as far:
            model = relay(far, local=Here)
            await model.wait_ready()
            assert on_paper(await answer(model)) == TEXT
            far.is_mute = True
            for seconds in (SILENCE_LIMIT_S + 0.5, 0.5):  # the next prompt does not wait for it again
                begun = asyncio.get_running_loop().time()
                assert on_paper(await answer(model)) == ("[local]" if seconds > SILENCE_LIMIT_S else "") + TEXT
                assert asyncio.get_running_loop().time() - begun < seconds
            far.is_mute = False
            await asyncio.sleep(2 * MAX_RETRY_S)
            assert on_paper(await answer(model)) == TEXT
            assert model.name == "m"
            await model.close()

    jumped(main)


def test_nobody_waits_at_the_beginning_for_a_server_that_says_nothing() -> None:
    async def main() -> None:
        async with FakeModelServer([], is_mute=True) as far:
            model = relay(far, local=Here)
            await model.wait_ready()
            assert on_paper(await answer(model)) == f"[local]{TEXT}"
            assert asyncio.get_running_loop().time() < SILENCE_LIMIT_S + 1
            await model.close()

    jumped(main)


def test_the_next_server_is_asked_where_the_first_says_nothing_and_the_model_here_last() -> None:
    async def main() -> None:
        async with FakeModelServer([]) as far, FakeModelServer([stream_text(TEXT)]) as further:
            model = relay(far, further, local=Here)
            await model.wait_ready()
            far.is_mute = True
            assert on_paper(await answer(model)) == TEXT
            assert asyncio.get_running_loop().time() < SILENCE_LIMIT_S + 1
            further.is_mute = True
            assert on_paper(await answer(model)) == f"[local]{TEXT}"
            await model.close()

    jumped(main)


@pytest.mark.parametrize(
    "slow",
    [
        send_parts(60.0, reply_head(), stream_body(TEXT)),
        send_parts(reply_head(), response.PING, 25.0, stream_body(TEXT)),
    ],
    ids=["busy", "ping"],
)
def test_a_slow_server_that_shows_that_it_lives_is_waited_for(slow: Responder) -> None:
    """Others say nothing before the first word; they are asked beside it whether they are there."""

    async def main() -> None:
        async with FakeModelServer([slow]) as far:
            model = relay(far, local=Here)
            await model.wait_ready()
            assert on_paper(await answer(model)) == TEXT
            assert len(far.posts) == 1
            await model.close()

    jumped(main)


def test_without_a_model_here_the_reader_is_told_once_and_the_sentence_goes_on_when_a_server_returns() -> None:
    async def main() -> None:
        model, stream, pieces, port = await left_in_mid_sentence()

        async def back() -> None:
            await asyncio.sleep(300)
            async with FakeModelServer([stream_text(TEXT, with_tokens=True)], is_asr33=True, port=port):
                await asyncio.sleep(100)

        returning = asyncio.ensure_future(back())
        begun = asyncio.get_running_loop().time()
        pieces += [piece async for piece in stream]
        assert 300 < asyncio.get_running_loop().time() - begun < 300 + MAX_RETRY_S + 5
        shown = on_paper(pieces)
        assert shown.replace("[no server]", "") == TEXT
        assert notices(pieces) == ["no server"]
        returning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await returning
        await model.close()

    jumped(main)


def test_who_asks_when_nobody_has_answered_for_long_is_told_at_once() -> None:
    async def main() -> None:
        async with FakeModelServer([]) as far:
            pass
        model = relay(far)
        await model.wait_ready()
        await asyncio.sleep(60)
        begun = asyncio.get_running_loop().time()
        stream = model.stream("", ANY)
        assert (await anext(stream)).notice == "no server"
        assert asyncio.get_running_loop().time() - begun < 0.1
        await stream.aclose()
        await model.close()

    jumped(main)


def test_a_server_that_begins_and_says_nothing_again_and_again_is_worth_one_line() -> None:
    async def main() -> None:
        async with FakeModelServer(
            [
                stream_cut_at(TEXT, with_tokens=True, at=600),
                *[send_bytes(reply_head())] * 8,
                stream_text(TEXT, with_tokens=True),
            ],
            True,
        ) as far:
            model = relay(far)
            pieces = await answer(model)
            assert (text(pieces), notices(pieces)) == (TEXT, ["no server"])
            await model.close()

    jumped(main)


def test_a_short_silence_is_not_worth_a_word() -> None:
    async def main() -> None:
        model, stream, pieces, port = await left_in_mid_sentence()
        await asyncio.sleep(3)
        async with FakeModelServer([stream_text(TEXT, with_tokens=True)], is_asr33=True, port=port):
            pieces += [piece async for piece in stream]
        assert on_paper(pieces) == TEXT
        await model.close()

    jumped(main)


def test_a_model_here_that_cannot_be_opened_is_none() -> None:
    def missing() -> Model:
        raise ModelNotFound("no such model")

    async def main() -> None:
        async with FakeModelServer([]) as far:
            port = far.port
        model = relay(RemoteModel(far.url), local=missing)
        await model.wait_ready()
        stream = model.stream("", ANY)
        assert (await anext(stream)).notice == "no server"
        async with FakeModelServer([stream_text(TEXT)], port=port):
            assert text([piece async for piece in stream]) == TEXT
        await model.close()

    jumped(main)


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [(401, "", KeyRefused), (404, "", ModelNotFound), (413, "", PromptTooLong), (400, "context length", PromptTooLong)],
)
def test_what_no_try_mends_is_raised_but_the_next_server_is_asked_first(
    status: int, message: str, error: type[Exception]
) -> None:
    async def main() -> None:
        async with (
            FakeModelServer([send_bytes(error_reply(status, message))]) as far,
            FakeModelServer([stream_text(TEXT)]) as further,
        ):
            model = relay(far)
            for _ in range(2):
                with pytest.raises(error):
                    await answer(model)
            await model.close()
            assert len(far.posts) == 2
            model = relay(far, further)
            assert text(await answer(model)) == TEXT
            await model.close()

    jumped(main)


def test_a_prompt_that_grew_too_long_on_the_way_ends_the_answer() -> None:
    async def main() -> None:
        async with FakeModelServer([stream_cut_at(TEXT, at=300), send_bytes(error_reply(413))]) as far:
            model = relay(far)
            pieces = await answer(model)
            assert TEXT.startswith(text(pieces))
            assert pieces[-1].finish_reason == "context"
            await model.close()

    jumped(main)


def test_who_asks_once_is_told_after_a_few_tries() -> None:
    async def main() -> None:
        async with FakeModelServer([]) as far:
            pass
        model = relay(far, tries=3)
        with pytest.raises(ServerLost, match="no answer"):
            await answer(model)
        assert asyncio.get_running_loop().time() < 5
        await model.close()

    jumped(main)


def test_a_server_that_says_when_to_come_back_is_not_asked_before() -> None:
    async def main() -> None:
        async with FakeModelServer(
            [send_bytes(full_reply(429, b"", "text/plain", "Retry-After: 6")), stream_text(TEXT)]
        ) as far:
            model = relay(far)
            assert on_paper(await answer(model)) == TEXT
            assert 6 <= asyncio.get_running_loop().time() < 9.5
            await model.close()

    jumped(main)


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
    async with FakeModelServer([reply]) as far:
        model = relay(far, RemoteModel("http://127.0.0.1:1"))
        stream = model.stream("", ANY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                async for _ in stream:
                    pass
        async with asyncio.timeout(10):  # of six hundred seconds
            await stream.aclose()
        await model.close()


def test_text_is_taken_before_it_is_needed_but_not_all_of_it() -> None:
    async def main(ours: bool) -> int:
        got = 0

        async def count(_: Any, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            writer.write(reply_head())
            writer.transport.set_write_buffer_limits(0)
            for _ in range(3000):
                writer.write(chunk_event("x" * 100, with_tokens=ours))
                await writer.drain()
                got += 100

        async with FakeModelServer([count], is_asr33=ours) as far:
            model = relay(far)
            stream = model.stream("", ANY)
            await anext(stream)
            await asyncio.sleep(5)
            lying = model_tray(stream)
            await stream.aclose()
            await model.close()
            return lying

    assert run_jumping(main(True), GRACE_S) <= 800
    assert 10_000 < run_jumping(main(False), GRACE_S) <= 70_000


def model_tray(stream: AsyncGenerator[TextChunk, None]) -> int:
    waiting: int = cast(Any, stream).ag_frame.f_locals["tray"]._waiting
    return waiting


def test_a_token_whose_text_is_still_to_come_is_not_made_twice() -> None:
    async def main() -> None:
        silent = response.encode_event(response.CompletionChunk("c", 1, "m", "", (ord("T"),)))
        word = response.encode_event(response.CompletionChunk("c", 1, "m", "The", tuple(map(ord, "he"))))
        rest = response.encode_event(response.CompletionChunk("c", 1, "m", TEXT[3:], tuple(map(ord, TEXT[3:])), "end"))
        async with FakeModelServer(
            [send_bytes(reply_head() + one) for one in (silent, word, rest)], is_asr33=True
        ) as far:
            model = relay(far)
            assert text(await answer(model)) == TEXT
            assert [post.resume_tokens for post in far.posts] == [[], [ord("T")], list(map(ord, "The"))]
            await model.close()

    jumped(main)


def test_a_model_here_takes_over_with_as_much_as_it_has_room_for() -> None:
    here = Here(context=40)
    for prompt in ("a" * 100, "one line\n" * 20, "word " * 30, "short"):
        short = shorten_prompt(prompt, here)
        assert prompt.endswith(short)
        assert here.count_tokens(short) <= 30
        assert short
    assert shorten_prompt("first line\nsecond line\n" + "x" * 15, here) == "second line\n" + "x" * 15
    assert shorten_prompt("short", here) == "short"


def test_ever_more_seldom_but_never_more_than_half_a_minute_apart() -> None:
    standing, now, waits = ServerHealth(), 100.0, []
    for _ in range(12):
        standing.record_failure(ServerLost("x"), now, 1.0)
        waits.append(standing.retry_at - now)
        now = standing.retry_at
    assert waits[0] < 0.5
    assert waits[1:4] == [0.5, 1.0, 2.0]
    assert waits[-1] == MAX_RETRY_S
    standing.record_failure(ServerLost("x", 90.0), now, 1.0)
    assert standing.retry_at - now == 90.0 + MAX_RETRY_S
    standing.record_failure(ServerLost("x", 90.0), now, 0.0)
    assert standing.retry_at - now == 90.0


def test_those_who_were_sent_away_together_do_not_come_back_together() -> None:
    chance, crowd = random.Random(33), [ServerHealth() for _ in range(1000)]
    for standing in crowd:
        standing.record_failure(ServerLost("full", 1.0), 0.0, chance.random())
    for _ in range(3):
        tenths = Counter(int(10 * standing.retry_at) for standing in crowd)
        assert max(tenths.values()) < 250
        for standing in crowd:
            before = standing.retry_at
            standing.record_failure(ServerLost("full", 1.0), before, chance.random())
            assert 1.0 <= standing.retry_at - before < 2.0


@given(st.integers(0, len(TEXT)), st.integers(0, 5), st.booleans())
def test_what_is_left_and_what_was_said_is_the_whole(at: int, used: int, tokens: bool) -> None:
    known = tuple(map(ord, TEXT[:at])) if tokens else ()
    said = PartialAnswer(TEXT[:at], 0 if tokens else at, known, "v" if tokens else "", 0 if tokens else used)
    ask = said.for_vocabulary("v" if tokens else "").remaining_request(CompletionRequest("Hi", ANY))
    if tokens:
        assert (ask.prompt, "".join(map(chr, ask.resume_tokens))) == ("Hi", TEXT[:at])
    else:
        assert ask.prompt + said.trailing_blanks == "Hi" + TEXT[:at]
        assert ask.resume_tokens == ()
        assert ask.sampling.max_tokens == 1024 - used * bool(at)
