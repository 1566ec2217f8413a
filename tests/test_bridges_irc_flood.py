"""A flood of hostile lines, and an operator at the machine: bridge, spool, session and paper."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from fakes_daemon import ScriptedModel, split_words
from fakes_teletype import run_jumping
from test_spool_desk import SpoolBench

from daemon.bridges.chat_answer import ChatVoice
from daemon.bridges.irc.chat_room import ChatRoom
from daemon.bridges.irc.irc_bridge import BridgeParts, IrcBridge
from daemon.bridges.irc.irc_client import IrcClient
from daemon.bridges.irc.registration import IrcIdentity
from daemon.bridges.server_address import ServerAddress
from daemon.bridges.spool_queue import SpoolQueue
from daemon.spool.budget import BudgetLimits
from daemon.spool.rules import SpoolRules
from model.interface import Sampling

HOSTILE = [
    b"\x1b[2J\x07\x05\x12\x13\x00 you",
    "\u202egnp.exe\u2066".encode(),
    ("z" + "\u0334\u0321\u0489" * 60).encode(),
    b"\xff\xfe\xc3(",
    b"x" * 100_000,
    b"W" * 400,
    b"\x01ACTION \x1b]0;owned\x07 dances\x01",
    "\U0001f600".encode() * 40,
]
LINE_S = 72 * 0.1 + 0.4  # the rest of a line, and its carriage return
READY_S = 2.25  # CR LF, LF, READY, CR LF


@pytest.mark.soak
def test_the_operator_is_served_within_a_line_and_the_paper_stays_readable(tmp_path: Path) -> None:
    rng = random.Random(3)

    async def main() -> None:
        rules = SpoolRules(person_budget=BudgetLimits(3_000, 12_000), source_budget=BudgetLimits(12_000, 60_000))
        spool = SpoolBench(tmp_path, rules=rules)
        client = IrcClient(IrcIdentity("asr33", ("#paper",)))
        client.start(0.0)
        client.feed(b":s 001 asr33 :hi\r\n:asr33!a@h JOIN #paper\r\n", 0.0)
        model = ScriptedModel(split_words("No."), loading_s=0.0, context=1000)
        parts = BridgeParts(SpoolQueue(spool.desk), model, ChatVoice("asr33"), Sampling(length=100))
        bridge = IrcBridge(ServerAddress("h", 1), client, {"#paper": ChatRoom("#paper")}, parts)
        working = asyncio.ensure_future(bridge.work())

        async def flood(lines: int, every_s: float) -> None:
            for _ in range(lines):
                nick = rng.choice([b"eve", b"[eve]", b"eve%d" % rng.randrange(1000)])
                line = b":%s!x@y PRIVMSG #paper :%s\r\n" % (nick, rng.choice(HOSTILE))
                for event in client.feed(line, asyncio.get_running_loop().time()):
                    bridge._on_event(event)
                await asyncio.sleep(every_s)

        await spool.daemon.session.listening.wait()
        await flood(1000, 0.001)
        while "EVE" not in spool.paper:  # noqa: ASYNC110 - the paper is looked at
            await asyncio.sleep(1)
        flooding = asyncio.ensure_future(flood(500, 0.1))
        for _ in range(3):
            await asyncio.sleep(rng.uniform(3, 12))
            pressed_at = asyncio.get_running_loop().time()
            spool.press("Q")
            while not spool.paper.endswith("READY\nQ"):  # noqa: ASYNC110
                await asyncio.sleep(0.25)
            assert asyncio.get_running_loop().time() - pressed_at <= LINE_S + READY_S
            await asyncio.sleep(5)
            assert spool.paper.endswith("READY\nQ")
            spool.press("\r")
            await asyncio.sleep(20)
        await flooding
        await asyncio.sleep(200)
        talk = [line for line in spool.paper.splitlines() if "EVE" in line]
        assert len(talk) > 5
        assert any("LINES OF A FLOOD LEFT OUT" in line for line in spool.paper.splitlines())
        assert all(len(line) <= 72 for line in spool.paper.splitlines())
        spool.daemon.bench.assert_clean()
        assert not {0x05, 0x11, 0x12, 0x13, 0x14, 0x1B} & {byte & 0x7F for byte in spool.daemon.line.written}
        working.cancel()
        await asyncio.wait({working})
        await spool.stop()

    run_jumping(main())
