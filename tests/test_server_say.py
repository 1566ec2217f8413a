"""`/say` over HTTP: text while it is made, JSON, the place in line, refusals of one line, and callers who go away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes_completion_server import FakeBatchModel, get, read_chunk, read_head, running_server, send_request
from fakes_teletype import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from model.dialogue import NO_PERSONA, Speakers, choose_speakers
from model.errors import EngineFailed, ModelError
from model.interface import Sampling, TextChunk
from model.openai_api.fields import InvalidRequest
from model.server.api_keys import ApiKeys
from model.server.caller_queue import GRACE_S, CallerQueue, QueueFull
from model.server.say_request import MAX_ANSWERS, SayText, parse_say

JSON = "Accept: application/json\r\n"
DEFAULTS = Sampling(seed=7)


def say(query: str, headers: str = "", method: str = "GET") -> bytes:
    return f"{method} /say?{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


def no_persona(name: str | None) -> Speakers:
    try:
        return choose_speakers(name or "", "", ("Ada", "Kim"))
    except ModelError as error:
        raise InvalidRequest("persona", str(error)) from None


async def test_the_text_comes_while_it_is_made() -> None:
    model = FakeBatchModel("Ja, später. Ünï.")
    async with running_server(model) as (_, port):
        model.may_step.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(say("prompt=Wann%3F"))
        await wait_until(lambda: model.active == 1)
        model.may_step.set()
        status, headers = await read_head(reader)
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert headers["x-robots-tag"] == "noindex, nofollow"
        chunks = []
        while chunk := await read_chunk(reader):
            chunks.append(chunk.decode())  # no character is cut
        writer.close()
    assert chunks[0] == "J"
    assert "".join(chunks) == "Ja, später. Ünï.\n"
    assert model.requests[0].prompt == "Wann?"
    assert model.requests[0].gives_way


async def test_answers_come_one_after_another_with_seeds_that_follow() -> None:
    model = FakeBatchModel("Yes.")
    async with running_server(model) as (_, port):
        reply = await send_request(port, say("prompt=Well%3F&n=3&seed=5&temperature=0.5"))
    assert reply.body == b"Yes.\n\nYes.\n\nYes.\n"
    assert [request.sampling.seed for request in model.requests] == [5, 6, 7]
    assert {request.sampling.temperature for request in model.requests} == {0.5}


async def test_json_has_the_texts_with_reason_tokens_and_place() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        reply = await send_request(port, say("prompt=Well%3F&n=2&seed=5", JSON))
    answer = {"text": "Yes.", "finish_reason": "end", "tokens": 4}
    assert reply.json() == {"model": "tiny", "persona": "", "seed": 5, "place": 0, "answers": [answer, answer]}


async def test_a_persona_gets_a_dialogue_and_ends_before_the_next_tag() -> None:
    model = FakeBatchModel(" At noon.")
    speakers = Speakers("Ada", "Kim", ("Ada", "Kim"))
    async with running_server(model, speakers=speakers) as (_, port):
        own = await send_request(port, say("prompt=when%3F%0Anow%3F"))
        other = await send_request(port, say("prompt=when%3F&persona=kim", JSON))
        unknown = await send_request(port, say("prompt=when%3F&persona=Jo"))
        none = await send_request(port, say("prompt=Once&persona="))
    assert own.body == b"At noon.\n"
    assert model.requests[0].prompt == "Kim: when?\n  now?\nAda:"
    assert {"\nAda:", "\nKim:"} == set(model.requests[0].sampling.stop)
    assert other.json()["persona"] == "Kim"
    assert (unknown.status, unknown.body) == (
        400,
        b"persona: the model's corpus has no such speaker; it knows Ada, Kim\n",
    )
    assert none.status == 200
    assert model.requests[-1].prompt == "Once"


async def test_without_a_key_there_is_no_text(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{'a' * 24} ann\n{'b' * 24} bob\n")
    keys.chmod(0o600)
    model = FakeBatchModel("Yes.")
    async with running_server(model, keys=ApiKeys(keys)) as (server, port):
        none = await send_request(port, say("prompt=Well%3F"))
        wrong = await send_request(port, say("prompt=Well%3F", f"Authorization: Bearer {'c' * 24}\r\n"))
        as_json = await send_request(port, say("prompt=Well%3F", JSON))
        right = await send_request(port, say("prompt=Well%3F", f"Authorization: Bearer {'a' * 24}\r\n"))
        robots = await send_request(port, get("/robots.txt"))
    assert (none.status, none.body) == (401, b"a key is needed: Authorization: Bearer KEY\n")
    assert (wrong.status, wrong.body) == (401, b"this key is not known here\n")
    assert as_json.error["code"] == "invalid_api_key"
    assert right.body == b"Yes.\n"
    assert robots.body == b"User-agent: *\nDisallow: /\n"
    assert len(model.requests) == 1
    assert server.request_counts["say", 401] == 3


@pytest.mark.parametrize("header", ["Origin: http://x\r\n", "Sec-Fetch-Site: cross-site\r\n"])
async def test_a_page_of_another_site_gets_nothing_from_a_server_without_keys(header: str) -> None:
    model = FakeBatchModel()
    async with running_server(model) as (_, port):
        reply = await send_request(port, say("prompt=Well%3F", header))
    assert reply.status == 403
    assert not model.requests


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "prompt: is missing: ask for /say?prompt=TEXT"),
        ("prompt=+%0A", "prompt: is missing: ask for /say?prompt=TEXT"),
        ("prompt=%ff", "query: has bytes that are not UTF-8"),
        ("prompt=a&prompt=b", "query: has a field twice"),
        ("prompt=a&n=0", "n: is a whole number from 1 to 10"),
        ("prompt=a&n=1.5", "n: is a whole number from 1 to 10"),
        ("prompt=a&n=1000000", "n: is a whole number from 1 to 10"),
        ("prompt=a&temperature=nan", "temperature: is a number from 0 to 100"),
        ("prompt=a&m=1", "m: is not one of prompt, n, persona, temperature, seed"),
        ("prompt=a&%1b[2J=1", "\\x1b[2J: is not one of prompt, n, persona, temperature, seed"),
        ("&".join(["prompt=a"] * 40), "query: has over 16 fields"),
        (f"prompt={'a' * 101}", "prompt: is over 100 characters: shorten it"),
    ],
)
def test_a_wrong_query_is_told_in_one_line(query: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        parse_say(query.encode(), DEFAULTS, no_persona, 100)
    assert str(told.value) == message


@given(st.text(max_size=80), st.integers(1, MAX_ANSWERS), st.sampled_from(["", "Ada", "kim"]))
def test_any_text_can_be_asked(text: str, count: int, persona: str) -> None:
    encoded = urlencode({"prompt": text, "n": count, "persona": persona}).encode()
    if not text.strip():
        with pytest.raises(InvalidRequest, match="prompt"):
            parse_say(encoded, DEFAULTS, no_persona, 80)
        return
    asked = parse_say(encoded, DEFAULTS, no_persona, 80)
    assert len(asked.answers) == count
    assert all(answer.prompt == answer.prompt.rstrip() for answer in asked.answers)
    assert "".join(text.split()) in "".join(asked.answers[0].prompt.split())


@given(st.lists(st.text(max_size=9), max_size=9), st.sampled_from(["", "\nAda:"]))
def test_a_text_has_no_controls_and_no_tags(texts: list[str], tag: str) -> None:
    [answer] = parse_say(b"prompt=a", DEFAULTS, lambda _: NO_PERSONA, 9).answers
    said = SayText(answer, tag)
    chunks = [*(TextChunk(text, (), 0.0) for text in texts), TextChunk("", (), 0.0, "end")]
    text = "".join(map(said.feed, chunks))
    assert not any(char < " " for char in text.replace("\n", "").replace("\t", ""))
    assert text == text.strip()
    assert not tag or tag not in text


async def test_a_caller_who_goes_away_frees_the_slot_at_once() -> None:
    model = FakeBatchModel("word " * 200, every_s=0.01)
    async with running_server(model, max_say=1) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(say("prompt=Well%3F"))
        await read_head(reader)
        model.may_step.clear()  # nothing is written that could fail
        writer.close()
        await wait_until(lambda: model.ended == 1)
        assert model.steps < 200
        assert not server.clients
        model.may_step.set()
        model.text = "Yes."
        assert (await send_request(port, say("prompt=Well%3F"))).body == b"Yes.\n"


async def test_a_caller_of_json_who_goes_away_frees_the_slot_too() -> None:
    model = FakeBatchModel()
    model.may_step.clear()
    async with running_server(model, max_say=1) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(say("prompt=Well%3F", JSON))
        await wait_until(lambda: model.active == 1)
        writer.close()
        await wait_until(lambda: model.ended == 1)


async def test_who_gets_no_answer_gets_a_place_and_the_time_to_ask_again() -> None:
    model = FakeBatchModel("Yes.")
    model.may_step.clear()
    async with running_server(model, max_say=1) as (_, port):
        first = asyncio.ensure_future(send_request(port, say("prompt=Well%3F")))
        await wait_until(lambda: model.active == 1)
        refused = await send_request(port, say("prompt=Well%3F"))
        as_json = await send_request(port, say("prompt=Well%3F", JSON))
        model.may_step.set()
        assert (await first).body == b"Yes.\n"
    seconds = int(refused.headers["retry-after"])
    line = f"you have your 1 answers open: you are number 1 in line, ask again in {seconds} s\n"
    assert (refused.status, refused.body.decode()) == (429, line)
    assert (as_json.status, as_json.json()["place"]) == (429, 2)
    assert as_json.error["code"] == "share"


@pytest.mark.parametrize(
    ("failure", "status"), [(EngineFailed("no memory"), 500), (ModelError("full", "busy"), 429)], ids=["engine", "busy"]
)
async def test_a_failure_before_the_text_has_a_status(failure: ModelError, status: int) -> None:
    model = FakeBatchModel()
    model.refusal = failure
    async with running_server(model) as (server, port):
        assert (await send_request(port, say("prompt=Well%3F"))).status == status
        assert not server.clients


async def test_a_text_that_breaks_off_is_no_whole_one() -> None:
    model = FakeBatchModel("Yes.")
    model.failure = EngineFailed("no memory")
    async with running_server(model) as (_, port):
        with pytest.raises((asyncio.IncompleteReadError, ValueError)):
            await send_request(port, say("prompt=Well%3F"))


async def test_a_server_that_goes_down_ends_the_texts() -> None:
    model = FakeBatchModel("word " * 200, every_s=0.01)
    async with running_server(model) as (server, port):
        answer = asyncio.ensure_future(send_request(port, say("prompt=Well%3F")))
        await wait_until(lambda: model.steps > 3)
        await server.drain(0.0)
        with pytest.raises((asyncio.IncompleteReadError, ValueError)):
            await answer
        late = await send_request(port, say("prompt=Well%3F"))
    assert (late.status, late.body) == (503, b"the server is going down: ask another\n")


async def test_head_makes_no_answer() -> None:
    model = FakeBatchModel()
    async with running_server(model) as (_, port):
        assert (await send_request(port, say("prompt=Well%3F", method="HEAD"))).status == 200
    assert not model.requests


# The queue, on a clock of the test.


class QueueHarness:
    def __init__(self, max_open: int, per_caller: int) -> None:
        self.now = 0.0
        self.queue = CallerQueue(max_open, per_caller, lambda: self.now)
        self.open: list[tuple[str, Callable[[], Any]]] = []

    def ask(self, caller: str) -> QueueFull | None:
        entry = self.queue.enter(caller)
        try:
            entry.__enter__()
        except QueueFull as full:
            return full
        self.open.append((caller, lambda: entry.__exit__(None, None, None)))
        return None

    def end(self, at: int = 0) -> None:
        self.open.pop(at % len(self.open))[1]()


def test_the_place_counts_and_is_kept_for_its_caller() -> None:
    harness = QueueHarness(2, 1)
    assert [harness.ask(name) for name in "ab"] == [None, None]
    refused = [harness.ask(name) for name in "cdef"]
    assert [full.place for full in refused if full] == [1, 2, 3, 4]
    assert [full.retry_after_s for full in refused if full] == [2, 4, 6, 8]
    harness.now = 2.0
    harness.end()
    assert (full := harness.ask("z"))  # the one free answer is for c, who may ask any moment
    assert full.place == 5
    assert harness.ask("c") is None
    harness.end()
    harness.now = 12.0 + GRACE_S
    assert harness.ask("y") is None  # those who had a place did not come


def test_one_address_of_many_callers_has_a_place_for_each() -> None:
    harness = QueueHarness(4, 4)
    assert [harness.ask("nat") for _ in range(4)] == [None] * 4
    refused = [harness.ask("nat") for _ in range(9)]
    assert [full.place for full in refused if full] == list(range(1, 10))
    other = harness.ask("other")
    assert other
    assert other.place == 5  # a flood of one caller costs another no more than its own answers


def test_callers_who_ask_again_at_once_do_not_pass_a_caller_who_waits_as_told() -> None:
    harness = QueueHarness(2, 1)
    greedy = ["a", "b", "c"]
    patient_at, refusals = 0.5, 0
    while refusals < 10:
        for name in greedy:
            harness.ask(name)
        if harness.now >= patient_at:
            full = harness.ask("patient")
            if full is None:
                break
            refusals += 1
            patient_at = harness.now + full.retry_after_s
        harness.now += 0.25
        if harness.now % 3 == 0:  # an answer ends, and a greedy caller asks before anyone
            harness.end()
    assert refusals <= 3


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["ask", "end", "wait", "return"]), st.integers(0, 9)),
        max_size=60,
    )
)
def test_no_more_answers_than_allowed_and_each_who_comes_back_is_served(steps: list[tuple[str, str, int]]) -> None:
    harness = QueueHarness(3, 2)
    for caller, step, number in steps:
        if step == "ask":
            full = harness.ask(caller)
            assert full is None or (full.place >= 1 and full.retry_after_s >= 1)
        elif step == "end" and harness.open:
            harness.end(number)
        else:
            harness.now += number
        names = [name for name, _ in harness.open]
        assert len(names) <= 3
        assert all(names.count(name) <= 2 for name in names)
    while harness.open:
        harness.end()
    for _ in range(200):  # a caller who asks again when told is served at last
        full = harness.ask("patient")
        if full is None:
            break
        harness.now += full.retry_after_s
    assert full is None
