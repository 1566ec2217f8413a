"""The bridge without a network: events in, lines for the paper and the server out, on the jumping clock."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from fakes_daemon import ScriptedModel, split_words
from fakes_irc import ListedQueue
from fakes_teletype import on_jumping_loop

from daemon.archive.answer_code import compute_chat_code
from daemon.bridges.backoff import REFUSED_WAIT_S
from daemon.bridges.chat_answer import ChatAnswer, ChatVoice
from daemon.bridges.irc.chat_room import AskModel, ChatRoom, RoomRules
from daemon.bridges.irc.irc_bridge import MAX_QUESTIONS, MAX_TRIES, QUESTION_KEEP_S, BridgeParts, IrcBridge
from daemon.bridges.irc.irc_client import ConnectionEnded, IrcClient
from daemon.bridges.irc.irc_connection import IrcConnection
from daemon.bridges.irc.registration import IrcIdentity
from daemon.bridges.irc.send_queue import SendLimits
from daemon.bridges.print_queue import PrintReceipt
from daemon.bridges.server_address import ServerAddress
from model.errors import ModelError
from model.interface import Sampling


@dataclass
class BridgeBench:
    """A bridge whose client is in the channel; `said` has what the server got."""

    bridge: IrcBridge
    model: ScriptedModel
    queue: ListedQueue = field(default_factory=ListedQueue)

    def hear(self, nick: str, text: str | bytes) -> None:
        text = text if isinstance(text, bytes) else text.encode()
        now = asyncio.get_running_loop().time()
        for event in self.bridge.client.feed(b":%s!x@y PRIVMSG #paper :%s\r\n" % (nick.encode(), text), now):
            self.bridge._on_event(event)

    def said(self) -> list[str]:
        return self.bridge.client.take_output(asyncio.get_running_loop().time()).decode().splitlines()


@asynccontextmanager
async def running_bench(
    words: str = "It types.", *, rules: RoomRules | None = None, pause_s: float = 0.5, **parts: Any
) -> AsyncIterator[BridgeBench]:
    model = ScriptedModel(split_words(words), pause_s=pause_s, context=1000)
    queue = ListedQueue()
    client = IrcClient(IrcIdentity("asr33", ("#paper",)), SendLimits(1000, 1.0))
    client.start(0.0)
    client.feed(b":s 001 asr33 :hi\r\n:asr33!a@h JOIN #paper\r\n", 0.0)
    client.take_output(0.0)
    bridge = IrcBridge(
        ServerAddress("127.0.0.1", 1),
        client,
        {"#paper": ChatRoom("#paper", rules or RoomRules())},
        BridgeParts(queue, model, ChatVoice("asr33"), Sampling(length=400), **parts),
    )
    answering = asyncio.ensure_future(bridge.work())
    yield BridgeBench(bridge, model, queue)
    answering.cancel()
    await asyncio.wait({answering})


@on_jumping_loop
async def test_a_person_who_may_not_print_is_not_answered() -> None:
    async with running_bench() as bench:
        bench.queue.refusals["eve"] = PrintReceipt(refusal="denied", is_denied=True)
        bench.hear("eve", "!gpt2 hello")
        await asyncio.sleep(10)
        assert bench.model.prompts == 0
        assert bench.said() == []


@on_jumping_loop
async def test_a_budget_that_is_spent_costs_the_paper_and_not_the_answer() -> None:
    async with running_bench() as bench:
        bench.queue.refusals["ann"] = PrintReceipt(refusal="your budget is spent", seconds=600.0)
        bench.hear("ann", "!gpt2 hello")
        await asyncio.sleep(10)
        assert bench.said() == ["PRIVMSG #paper :It types.", "NOTICE ann :Not on paper: your budget is spent"]
        assert bench.queue.jobs == []


@on_jumping_loop
async def test_who_asks_is_told_when_the_answer_comes_to_paper() -> None:
    async with running_bench() as bench:
        bench.queue.receipt = PrintReceipt(4, 170.0)
        bench.hear("ann", "!gpt2 hello")
        bench.hear("bob", "asr33: hello")
        await asyncio.sleep(10)
        assert bench.said() == ["PRIVMSG #paper :It types.", "NOTICE ann :On paper in 3 minutes, at place 4."]
        assert set(bench.queue.talks) == {"#paper"}


@on_jumping_loop
async def test_a_receipt_is_said_in_the_room_and_noted_but_not_struck() -> None:
    noted: list[tuple[int, ChatAnswer]] = []

    def note(channel: str, ask: AskModel, seed: int, answer: ChatAnswer) -> None:
        noted.append((seed, answer))

    async with running_bench(has_receipt=True, note_answer=note) as bench:
        bench.hear("ann", "!gpt2 what is it?")
        await asyncio.sleep(30)
        [(seed, answer)] = noted
        assert answer.code == compute_chat_code("irc", seed, answer.prompt)
        assert answer.text == "It types."
        assert bench.said() == [f"PRIVMSG #paper :It types. [{answer.code}]"]
        assert bench.queue.lines[-1] == "asr33: It types."


@on_jumping_loop
async def test_the_operator_has_the_model_first_and_the_same_seed_gives_the_same_answer() -> None:
    is_free, seeds = True, []
    async with running_bench(is_model_free=lambda: is_free) as bench:
        bench.hear("ann", "!gpt2")
        await asyncio.sleep(1.7)
        assert bench.model.prompts == 1
        seeds.append(bench.model.seed)
        is_free = False
        await asyncio.sleep(300)
        assert bench.model.cancelled == 1
        assert bench.said() == []
        is_free = True
        await asyncio.sleep(10)
        seeds.append(bench.model.seed)
        assert bench.said() == ["PRIVMSG #paper :It types."]
        assert seeds[0] == seeds[1]
        bench.hear("ann", "!gpt2")
        await asyncio.sleep(10)
        assert bench.model.seed == seeds[0] + 1


@on_jumping_loop
async def test_a_question_that_waited_ten_minutes_is_dropped() -> None:
    async with running_bench(is_model_free=lambda: False) as bench:
        bench.hear("ann", "!gpt2")
        await asyncio.sleep(QUESTION_KEEP_S + 60)
        assert bench.bridge._questions == []
        assert bench.said() == []


@on_jumping_loop
async def test_more_questions_than_it_can_answer_are_refused_with_a_reason_once() -> None:
    async with running_bench(pause_s=5.0) as bench:
        for number in range(MAX_QUESTIONS + 3):
            bench.hear(f"ann{number}", "!gpt2")
            bench.hear(f"ann{number}", "!gpt2 again")
            await asyncio.sleep(0.01)
        assert len(bench.bridge._questions) == MAX_QUESTIONS
        assert bench.said() == ["NOTICE ann3 :3 questions wait: ask again in a minute."]
        await asyncio.sleep(60)
        assert len(bench.said()) == MAX_QUESTIONS


@on_jumping_loop
async def test_an_empty_answer_is_tried_again_and_a_failure_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with running_bench("") as bench:
        bench.hear("ann", "!gpt2")
        await asyncio.sleep(10)
        assert bench.model.prompts == MAX_TRIES
        assert bench.said() == []
        bench.model.failure = ModelError("the server is away")
        bench.hear("ann", "!gpt2")
        await asyncio.sleep(10)
        bench.model.failure, bench.model.words = None, split_words("Back again.")
        bench.hear("ann", "!gpt2")
        await asyncio.sleep(10)
        assert bench.said() == ["PRIVMSG #paper :Back again."]
    assert caplog.text.count("the server is away") == 1


@on_jumping_loop
async def test_the_prompt_has_the_cue_and_never_ends_in_a_blank() -> None:
    async with running_bench(rules=RoomRules(memory_lines=50)) as bench:
        bench.bridge.parts = BridgeParts(
            bench.queue, bench.model, ChatVoice("Teletype", "A chat."), Sampling(length=400)
        )
        bench.model.context = 150
        for number in range(20):
            bench.hear(f"ann{number % 5}", f"line {number}   ")
        bench.hear("bob", "!gpt2")
        await asyncio.sleep(10)
        lines = bench.model.last_prompt.splitlines()
        assert lines[:2] == ["A chat.", ""]
        assert lines[-2:] == ["ann4: line 19", "Teletype:"]
        assert bench.model.count_tokens(bench.model.last_prompt) <= 150 - 37
        assert bench.queue.lines[-1] == "Teletype: It types."


@on_jumping_loop
async def test_an_answer_is_the_models_first_line_and_speaks_for_nobody_else() -> None:
    async with running_bench() as bench:
        bench.model.words = ["\n", " It", " types.", "\n", "bob: And", " so", " on."]
        bench.hear("ann", "!gpt2")
        await asyncio.sleep(10)
        assert bench.said() == ["PRIVMSG #paper :It types."]
        assert bench.model.cancelled == 1
        voice = ChatVoice("asr33")
        assert voice.find_stops([("a", ""), ("b", ""), ("asr33", ""), ("a", "")]) == ("\na:", "\nb:")


@on_jumping_loop
async def test_a_thousand_hostile_lines_leave_the_paper_readable_and_memory_flat() -> None:
    rng = random.Random(18)
    hostile = [
        b"\x1b[2J\x07\x00 you",
        "\u202egnp.exe\u2066".encode(),
        ("z" + "\u0334\u0321\u0489" * 60).encode(),
        b"\xff\xfe\xc3(",
        b"x" * 100_000,
        b"\x01ACTION \x1b]0;owned\x07 dances\x01",
        b"\x01DCC SEND a 1 2 3\x01",
        "\U0001f600".encode() * 40,
    ]
    async with running_bench(pause_s=0.0) as bench:
        for number in range(200):  # the caches of Python are warm then
            bench.hear(f"e{number % 5}", hostile[number % len(hostile)])
        await asyncio.sleep(60)
        tracemalloc.start()
        bench.queue.jobs.clear()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1000):
            bench.hear(rng.choice(["eve", "[eve]", "e\u202ev", f"e{number}"]), rng.choice(hostile))
            await asyncio.sleep(0.001)
        printed, grown = list(bench.queue.lines), tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < 100_000
    assert 0 < len(printed) <= 50
    assert all(line.isprintable() and len(line) <= 560 and "\u0334\u0321\u0489" not in line for line in printed)


@on_jumping_loop
async def test_a_server_that_is_away_is_tried_with_growing_waits_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    starts: list[float] = []

    class Unreachable(IrcConnection):
        outcome = ConnectionEnded("no answer")

        async def _connect_once(self) -> ConnectionEnded:
            starts.append(asyncio.get_running_loop().time())
            return self.outcome

    client = IrcClient(IrcIdentity("asr33", ()))
    connection = Unreachable(ServerAddress("h", 1), client, lambda event: None, rng=random.Random(1))
    running = asyncio.ensure_future(connection.run())
    await asyncio.sleep(3600)
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert 1.5 <= waits[0] <= 2.5
    assert waits[5] > 8 * waits[0]
    assert max(waits) <= 375
    assert caplog.text.count("no answer") == 1
    connection.outcome = ConnectionEnded("the server refuses the password", is_refused=True)
    count = len(starts)
    await asyncio.sleep(3600)
    assert len(starts) - count <= 3600 / (0.75 * REFUSED_WAIT_S) + 1
    assert caplog.text.count("refuses the password") == 1
    running.cancel()
    await asyncio.wait({running})
