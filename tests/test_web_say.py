"""`/say` of the live page: the model of the session answers in text, under the rules of visitors who type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fakes_live_page import ANSWER, PageBench, open_page_bench
from fakes_teletype import wait_until

from daemon.config import WebConfig

TEXT = " ".join(ANSWER.split())
WHAT_IS_IT = {"prompt": "What is it?", "persona": ""}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[PageBench]:
    async with open_page_bench(tmp_path) as bench:
        await bench.wait_for_paper("READY")
        yield bench


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=20) as client:
        yield client


async def test_a_caller_reads_the_answer_and_the_paper_stays_blank(
    bench: PageBench, client: httpx2.AsyncClient
) -> None:
    paper = bench.paper
    text = await client.get(f"{bench.url}say", params={**WHAT_IS_IT, "n": 2})
    assert text.text == f"{TEXT}\n\n{TEXT}\n"
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    reply = await client.get(f"{bench.url}say", params=WHAT_IS_IT, headers={"Accept": "application/json"})
    assert reply.json()["answers"][0] == {"text": TEXT, "finish_reason": "sentence", "tokens": len(bench.model.words)}
    assert bench.model.last_prompt == "What is it?"
    assert bench.paper == paper
    assert (await client.get(f"{bench.url}robots.txt")).text == "User-agent: *\nDisallow: /\n"


async def test_while_the_operator_types_a_caller_gets_a_place(bench: PageBench, client: httpx2.AsyncClient) -> None:
    await bench.machine.type("THE ")
    await wait_until(lambda: bench.session.tty.has_partial_line)
    reply = await client.get(f"{bench.url}say", params=WHAT_IS_IT)
    assert reply.status_code == 429
    assert reply.text.startswith("all answers are taken: you are number 1 in line, ask again in ")
    assert int(reply.headers["retry-after"]) >= 1
    assert bench.model.prompts == 0


async def test_an_open_answer_waits_for_the_operator_and_then_goes_on(
    bench: PageBench, client: httpx2.AsyncClient
) -> None:
    bench.model.pause_s = 0.05
    text = ""
    async with client.stream("GET", f"{bench.url}say", params=WHAT_IS_IT) as reply:
        parts = reply.aiter_text()
        text += await anext(parts)
        bench.model.pause_s = 60.0  # a slow model keeps the operator waiting no longer
        text += await anext(parts)  # the pause before it had begun
        await bench.machine.type("THE ")
        await wait_until(lambda: bench.model.cancelled == 1)  # the model is the operator's
        bench.model.pause_s = 0.001
        await bench.machine.type("TYPE\r")
        await bench.wait_for_paper("THE TYPE\n" + ANSWER[:20])
        async for part in parts:
            text += part
    assert bench.model.last_prompt.startswith("What is it? A MACHINE")
    assert text.endswith(f"{ANSWER.split()[-1]}\n")


async def test_a_caller_who_goes_away_frees_the_model(bench: PageBench, client: httpx2.AsyncClient) -> None:
    bench.model.pause_s = 1.0
    asking = asyncio.ensure_future(client.get(f"{bench.url}say", params=WHAT_IS_IT))
    await wait_until(lambda: bench.model.prompts == 1)
    second = await client.get(f"{bench.url}say", params=WHAT_IS_IT)
    assert second.status_code == 429
    asking.cancel()
    await wait_until(lambda: bench.model.cancelled == 1)
    bench.model.pause_s = 0.0
    await wait_until(lambda: bench.session.is_idle)
    assert (await client.get(f"{bench.url}say", params=WHAT_IS_IT)).text == f"{TEXT}\n"


async def test_in_a_private_time_there_is_no_text(bench: PageBench, client: httpx2.AsyncClient) -> None:
    await bench.machine.type(".PRIVATE\r")
    await wait_until(lambda: bench.session.privacy.is_on and bench.session.is_idle)
    reply = await client.get(f"{bench.url}say", params=WHAT_IS_IT)
    assert (reply.status_code, reply.text) == (409, "the operator uses the machine in private: try again later\n")


async def test_the_rules_of_visitors_hold(tmp_path: Path, client: httpx2.AsyncClient) -> None:
    key = "k" * 24
    (tmp_path / "page.key").write_text(f"{key}\n")
    (tmp_path / "page.key").chmod(0o600)
    web = WebConfig("127.0.0.1:0", tmp_path / "page.key", typing=True)
    async with open_page_bench(tmp_path, web) as bench:
        none = await client.get(f"{bench.url}say", params=WHAT_IS_IT)
        assert (none.status_code, none.text) == (401, "a key is needed: Authorization: Bearer KEY\n")
        await bench.wait_for_paper("READY")
        headers = {"Authorization": f"Bearer {key}"}
        assert (await client.get(f"{bench.url}say", params=WHAT_IS_IT, headers=headers)).text == f"{TEXT}\n"
        long = await client.get(f"{bench.url}say", params={"prompt": "x" * 361}, headers=headers)
        assert (long.status_code, long.text) == (400, "prompt: is over 360 characters: shorten it\n")
        persona = await client.get(f"{bench.url}say", params={"prompt": "x", "persona": "Jo"}, headers=headers)
        assert (persona.status_code, persona.text) == (400, "persona: the model knows no such persona\n")
        cross = await client.get(
            f"{bench.url}say", params=WHAT_IS_IT, headers={**headers, "Sec-Fetch-Site": "cross-site"}
        )
        assert (cross.status_code, cross.text) == (403, "not for pages of other sites\n")
        assert bench.model.prompts == 1


async def test_a_page_to_read_has_no_text_and_a_foreign_name_is_refused(
    tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    async with open_page_bench(tmp_path, WebConfig("127.0.0.1:0")) as bench:
        closed = await client.get(f"{bench.url}say", params=WHAT_IS_IT)
        assert (closed.status_code, closed.text) == (
            403,
            "this page is to read only: [web] typing = true lets callers ask\n",
        )
        foreign = await client.get(f"{bench.url}say", params=WHAT_IS_IT, headers={"Host": "evil.example"})
        assert foreign.status_code == 421
