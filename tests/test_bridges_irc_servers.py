"""The bridge against servers of IRC from Debian, with people talking there."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes_daemon import ScriptedModel, split_words
from fakes_irc import IRC_SERVERS, ChatPerson, ListedQueue, find_free_port, needs, running_irc_server
from fakes_teletype import wait_until
from fakes_tls import certificates as certificates

from daemon.bridges.chat_answer import ChatVoice
from daemon.bridges.irc.chat_room import ChatRoom, RoomRules
from daemon.bridges.irc.irc_bridge import BridgeParts, IrcBridge
from daemon.bridges.irc.irc_client import IrcClient
from daemon.bridges.irc.irc_connection import IrcConnection
from daemon.bridges.irc.registration import IrcIdentity
from daemon.bridges.irc.send_queue import SendLimits
from daemon.bridges.server_address import ServerAddress
from model.interface import Sampling

FAST = SendLimits(100, 1.0)
PROSE = "The platen turns. " + "A carriage returns with a thump and the paper moves up by one line. " * 10


@asynccontextmanager
async def running_bridge(
    port: int, model: ScriptedModel | None = None, *, rules: RoomRules | None = None, nick: str = "asr33", **parts: Any
) -> AsyncIterator[tuple[IrcBridge, ListedQueue]]:
    queue = ListedQueue()
    bridge = IrcBridge(
        ServerAddress("127.0.0.1", port),
        IrcClient(IrcIdentity(nick, ("#paper",)), FAST),
        {"#paper": ChatRoom("#paper", rules or RoomRules())},
        BridgeParts(
            queue,
            model or ScriptedModel(split_words("It types."), pause_s=0.0, loading_s=0.0, context=10_000),
            ChatVoice(nick),
            Sampling(length=800),
            **parts,
        ),
        random.Random(1),
        first_wait_s=0.1,
    )
    running = asyncio.ensure_future(bridge.run())
    try:
        await wait_until(lambda: bridge.client._is_joined("#paper") or running.done())
        yield bridge, queue
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize("program", IRC_SERVERS)
async def test_three_people_talk_and_the_machine_answers_meanwhile(program: str, tmp_path: Path) -> None:
    port = find_free_port()
    ann, bob, carl = (ChatPerson(nick, "#paper") for nick in ("ann", "[bob]", "carl"))
    model = ScriptedModel(split_words("It types what you say."), pause_s=0.1, loading_s=0.0, context=10_000)
    with running_irc_server(program, tmp_path, port):
        await asyncio.gather(*(person.connect(port) for person in (ann, bob, carl)))
        async with running_bridge(port, model) as (_, queue):
            ann.say("good evening")
            bob.say("\x01ACTION waves\x01")
            carl.say(b"greetings from K\xf6ln")
            await wait_until(lambda: len(queue.jobs) == 3)
            ann.say("!gpt2 what does it do")
            await wait_until(lambda: model.prompts == 1)
            for number in range(3):
                carl.say(f"meanwhile {number}")
            await wait_until(lambda: "carl: meanwhile 2" in queue.lines)
            assert not bob.heard_from("asr33")
            await wait_until(lambda: bob.heard_from("asr33"))
            ann.say(("ab " * 200)[: 510 - len("PRIVMSG #paper :")])
            await wait_until(lambda: len(queue.jobs) == 9)
            model.words, model.pause_s = split_words(PROSE), 0.0
            carl.say("asr33: tell me about paper")
            await wait_until(lambda: len("".join(bob.heard_from("asr33"))) > 700)
            await wait_until(lambda: len(queue.jobs) == 11)
            ann.send("WHOIS asr33")
            await wait_until(lambda: any(b" 318 " in line for line in ann.lines))
        await asyncio.gather(*(person.leave() for person in (ann, bob, carl)))
    first, *parts = bob.heard_from("asr33")
    assert first == "It types what you say."
    assert " ".join(parts) == PROSE.strip()
    assert len(parts) >= 2
    assert all(text.endswith(".") for text in parts)
    assert all(len(line) <= 512 for line in bob.lines)
    if program == "inspircd":  # it has a mode for machines
        assert any(b" 335 ann asr33 " in line for line in ann.lines)
    assert sorted(queue.jobs[:3]) == [
        ("[bob]", "* [bob] waves"),
        ("ann", "ann: good evening"),
        ("carl", "carl: greetings from Köln"),
    ]
    assert queue.lines[3:8] == [
        "ann: !gpt2 what does it do",
        "carl: meanwhile 0",
        "carl: meanwhile 1",
        "carl: meanwhile 2",
        "asr33: It types what you say.",
    ]
    assert queue.lines[8].startswith("ann: ab ab ab")
    assert len(queue.lines[8]) > 450  # the server cuts what is over 512 bytes with her own source
    assert queue.lines[10] == f"asr33: {PROSE.strip()}"
    assert model.last_prompt.splitlines() == [
        "carl: meanwhile 1",
        "carl: meanwhile 2",
        "asr33: It types what you say.",
        queue.lines[8],
        "carl: tell me about paper",
        "asr33:",
    ]


@pytest.mark.parametrize("program", IRC_SERVERS)
async def test_it_gets_its_nick_when_it_is_free_and_comes_back_after_the_server_restarts(
    program: str, tmp_path: Path
) -> None:
    port, ann, squatter = find_free_port(), ChatPerson("ann", "#paper"), ChatPerson("asr33", "#paper")
    async with AsyncExitStack() as stack:
        with running_irc_server(program, tmp_path, port):
            await asyncio.gather(squatter.connect(port), ann.connect(port))
            bridge, queue = await stack.enter_async_context(running_bridge(port))
            assert bridge.client.nick == "asr33_"
            ann.say("asr33_: are you there?")
            await wait_until(lambda: ann.heard_from("asr33_"))
            squatter.send("QUIT")
            await wait_until(lambda: bridge.client.nick == "asr33")
            await squatter.leave()
        await ann.leave()
        await wait_until(lambda: not bridge.client.is_online)
        ann.lines.clear()
        with running_irc_server(program, tmp_path, port):
            await ann.connect(port)
            await wait_until(lambda: bridge.client._is_joined("#paper"))
            ann.say("!gpt2 and after?")
            await wait_until(lambda: ann.heard_from("asr33"))
            await wait_until(lambda: queue.lines[-2:] == ["ann: !gpt2 and after?", "asr33: It types."])
            await ann.leave()


@needs("inspircd")
async def test_two_machines_of_this_kind_do_not_answer_each_other(tmp_path: Path) -> None:
    port, ann = find_free_port(), ChatPerson("ann", "#paper")
    rules = RoomRules(triggers=frozenset({"question"}))
    with running_irc_server("inspircd", tmp_path, port):
        await ann.connect(port)
        models = [ScriptedModel(split_words("So?"), pause_s=0.0, loading_s=0.0, context=10_000) for _ in range(2)]
        async with (
            running_bridge(port, models[0], rules=rules) as (_, one),
            running_bridge(port, models[1], rules=rules, nick="other") as (_, two),
        ):
            ann.say("who is there?")
            await wait_until(lambda: len(one.jobs) >= 3 and len(two.jobs) >= 3)
            ann.say("well")
            await wait_until(lambda: "ann: well" in one.lines and "ann: well" in two.lines)
        await ann.leave()
    assert models[0].prompts == models[1].prompts == 1


@needs("ngircd")
async def test_tls_and_a_password_and_what_is_said_if_one_is_wrong(
    tmp_path: Path, certificates: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    port, tls_port, file = find_free_port(), find_free_port(), certificates(30)
    extra = f"Password = secret\n[SSL]\nCertFile = {file}\nKeyFile = {file}\nPorts = {tls_port}"
    trusting, plain = ssl.create_default_context(cafile=file), ssl.create_default_context()
    with running_irc_server("ngircd", tmp_path, port, extra=extra):
        await wait_until(lambda: "ready" in (tmp_path / "ngircd.log").read_text())
        async with asyncio.TaskGroup() as tasks:
            for words, tls, password in (
                ("asr33 is in #paper", trusting, "secret"),
                ("password_file", trusting, "guess"),
                ("ca_file", plain, "secret"),
            ):
                address = ServerAddress("127.0.0.1", tls_port, tls)
                client = IrcClient(IrcIdentity("asr33", ("#paper",), password=password))
                running = tasks.create_task(IrcConnection(address, client, lambda event: None).run())
                await wait_until(lambda words=words: words in caplog.text)
                running.cancel()
    assert "secret" not in caplog.text
    assert "guess" not in caplog.text


async def test_tls_at_a_plain_port_names_the_cure(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"ERROR :what?\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        address = ServerAddress("127.0.0.1", server.sockets[0].getsockname()[1], ssl.create_default_context())
        running = asyncio.ensure_future(
            IrcConnection(address, IrcClient(IrcIdentity("asr33", ())), lambda event: None).run()
        )
        await wait_until(lambda: "[irc] tls = false" in caplog.text)
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.soak
@pytest.mark.parametrize("program", IRC_SERVERS)
async def test_four_minutes_without_a_ping_of_the_server(program: str, tmp_path: Path) -> None:
    """In the normal suite the time is an argument: tests/test_bridges_irc_protocol.py."""
    port, ann = find_free_port(), ChatPerson("ann", "#paper")
    with running_irc_server(program, tmp_path, port, ping_s=900):
        await ann.connect(port)
        async with running_bridge(port) as (bridge, queue):
            await asyncio.sleep(240)
            assert bridge.client.is_online
            ann.say("!gpt2 still there")
            await wait_until(lambda: ann.heard_from("asr33") == ["It types."])
            assert len(queue.jobs) == 2
        assert not any(line.startswith(b"PING") for line in ann.lines)
        await ann.leave()


@pytest.mark.parametrize("turns", range(12))
async def test_a_stop_just_when_the_server_closes_ends_the_connection(turns: int) -> None:
    """`turns` of the event loop after the client read the end, wherever in its tidying up that is."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1") as server:
        address = ServerAddress("127.0.0.1", server.sockets[0].getsockname()[1])
        client = IrcClient(IrcIdentity("asr33", ()))
        stopped = asyncio.Event()
        stop, client.stop = client.stop, lambda: (stop(), stopped.set())  # type: ignore[method-assign]
        running = asyncio.ensure_future(IrcConnection(address, client, lambda event: None).run())
        await stopped.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        assert running.cancelled()
