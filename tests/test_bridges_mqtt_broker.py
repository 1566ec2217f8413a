"""The bridge to home automation against mosquitto from Debian."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes_irc import ListedQueue, find_free_port, needs
from fakes_mqtt import Home, read_retained, running_broker, running_home
from fakes_sandbox import open_sandbox
from fakes_teletype import wait_until

from daemon.bridges.backoff import Backoff
from daemon.bridges.mqtt.broker import BrokerAccount, LastWill, connect_broker
from daemon.bridges.mqtt.discovery import DeviceTopics, MachineReading, make_discovery
from daemon.bridges.mqtt.mqtt_bridge import MqttBridge
from daemon.bridges.print_queue import PrintReceipt
from daemon.bridges.server_address import ServerAddress

pytestmark = needs("mosquitto")
TOPICS = DeviceTopics("den")
IDLE = MachineReading("idle", 0, None, 1.5)


@asynccontextmanager
async def running_bridge(port: int, **options: Any) -> AsyncIterator[tuple[MqttBridge, ListedQueue]]:
    queue = ListedQueue()
    account = BrokerAccount(
        ServerAddress("127.0.0.1", port), "asr33-den", options.pop("user", ""), options.pop("password", "")
    )
    discovery = make_discovery(TOPICS, "Teletype", "0.1", is_motor_switched=False)
    backoff = Backoff(random.Random(1), first_wait_s=0.1)
    read_machine = options.pop("read_machine", lambda: IDLE)
    bridge = MqttBridge(account, TOPICS, discovery, queue, read_machine, backoff=backoff, **options)
    running = asyncio.ensure_future(bridge.run())
    try:
        yield bridge, queue
    finally:
        running.cancel()
        await asyncio.wait({running})


def write_passwords(folder: Path) -> Path:
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "passwords"), "asr33", "right"], check=True)
    return folder / "passwords"


async def wait_until_online(home: Home) -> None:
    await wait_until(lambda: home.last(TOPICS.availability) == "online")


async def test_a_home_discovers_the_device_and_sees_its_state(tmp_path: Path) -> None:
    port = find_free_port()
    reading = IDLE

    with running_broker(tmp_path, port):
        async with running_home(port) as home:
            async with running_bridge(port, read_machine=lambda: reading):
                await wait_until_online(home)
                components = json.loads(home.last(TOPICS.config))["components"]
                assert components["print"]["command_topic"] == TOPICS.notify
                state_topic = components["state"]["state_topic"]
                assert json.loads(home.last(state_topic))["state"] == "idle"
                reading = MachineReading("typing", 12, 640, 1.5)
                await wait_until(lambda: json.loads(home.last(state_topic))["state"] == "typing")
                assert json.loads(home.last(state_topic))["paper_left"] == 640
            await wait_until(lambda: home.last(TOPICS.availability) == "offline")
        assert set(await read_retained(port)) == {TOPICS.config, TOPICS.state, TOPICS.availability}


async def test_a_message_is_a_job_and_no_text_of_it_stays_at_the_broker(tmp_path: Path) -> None:
    port = find_free_port()
    with running_broker(tmp_path, port):
        async with running_home(port) as home, running_bridge(port) as (_, queue):
            await wait_until_online(home)
            await home.client.publish(TOPICS.notify, "Die Tür ist offen.\nSeit 14 Uhr", qos=1)
            await home.client.publish(TOPICS.notify, "kept by mistake", qos=1, retain=True)
            await wait_until(lambda: len(home.all_of(TOPICS.receipt)) == 2)
            assert queue.jobs == [("home", "Die Tür ist offen.\nSeit 14 Uhr"), ("home", "kept by mistake")]
            assert json.loads(home.last(TOPICS.receipt)) == {"place": 1, "seconds": 0}
            queue.refusals["home"] = PrintReceipt(refusal="your budget is spent", seconds=600.0)
            await home.client.publish(TOPICS.notify, "one more", qos=1)
            await wait_until(lambda: len(home.all_of(TOPICS.receipt)) == 3)
            assert json.loads(home.last(TOPICS.receipt)) == {"refusal": "your budget is spent", "seconds": 600}
        assert set(await read_retained(port)) == {TOPICS.config, TOPICS.state, TOPICS.availability}


async def test_bad_messages_are_refused_and_the_next_one_prints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = find_free_port()
    with running_broker(tmp_path, port):
        async with running_home(port) as home:
            await home.client.publish(TOPICS.notify, "of yesterday", qos=1, retain=True)
            async with running_bridge(port) as (_, queue):
                await wait_until_online(home)
                bad = [b"\xff\xd8\xff\xe0" * 100, b"\0\1\2", b"a" * 1_000_000, b"a" * 17_000, b"\n \n", b"x\n" * 100]
                for payload in bad:
                    await home.client.publish(TOPICS.notify, payload, qos=1)
                await home.client.publish(TOPICS.notify, "good", qos=1)
                await wait_until(lambda: queue.lines == ["good"])
                receipts = [json.loads(text).get("refusal", "") for text in home.all_of(TOPICS.receipt)]
                assert "retained" in receipts[0]
                assert [text for text in receipts if "UTF-8" in text or "NUL" in text or "lines" in text]
        assert TOPICS.notify not in await read_retained(port)
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in told if "not printed" in text]) == 1
    assert "yesterday" not in caplog.text


async def test_a_thousand_messages_at_once_leave_the_connection_alive(tmp_path: Path) -> None:
    port = find_free_port()
    with running_broker(tmp_path, port, "max_queued_messages 2000"):
        async with running_home(port) as home, running_bridge(port) as (_, queue):
            await wait_until_online(home)
            for number in range(1000):
                await home.client.publish(TOPICS.notify, f"message {number}")
            await home.client.publish(TOPICS.notify, "the end", qos=1)
            await wait_until(lambda: home.all_of(TOPICS.receipt) != [])
            assert 0 < len(queue.jobs) <= 1001
            for _ in range(500):  # those that come before the others are done are dropped
                await home.client.publish(TOPICS.notify, "afterwards", qos=1)
                if "afterwards" in queue.lines:
                    break
                await asyncio.sleep(0.05)
            assert "afterwards" in queue.lines


async def test_a_broker_that_restarts_has_the_device_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = find_free_port()
    async with running_bridge(port) as (bridge, queue):
        await wait_until(lambda: "trying again" in caplog.text)
        for turn in range(2):
            with running_broker(tmp_path, port):
                async with running_home(port) as home:
                    await wait_until_online(home)
                    await home.client.publish(TOPICS.notify, f"turn {turn}", qos=1)
                    await wait_until(lambda turn=turn: f"turn {turn}" in queue.lines)
            bridge.backoff.note_end(1000.0)


async def test_a_wrong_password_is_told_once_with_its_cure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = find_free_port()
    passwords = write_passwords(tmp_path)
    with running_broker(tmp_path, port, f"password_file {passwords}", anonymous=False):
        async with running_bridge(port, user="asr33", password="wrong-secret"):
            await wait_until(lambda: "see [mqtt] user and password_file" in caplog.text)
        assert "wrong-secret" not in caplog.text
        async with (
            running_home(port, username="asr33", password="right") as home,
            running_bridge(port, user="asr33", password="right"),
        ):
            await wait_until_online(home)


async def test_a_bridge_ends_although_its_end_comes_together_with_an_answer_of_the_broker(tmp_path: Path) -> None:
    """The library's wait for an answer would lose the cancellation, in Python 3.11."""
    port = find_free_port()
    with running_broker(tmp_path, port):
        async with connect_broker(
            BrokerAccount(ServerAddress("127.0.0.1", port), "a"), LastWill("w", ""), 100
        ) as broker:
            for answered_first in (False, True):
                publishing = asyncio.ensure_future(broker.publish("t", "x"))
                for _ in range(100):  # to the wait for the answer, and no further
                    if broker._client._pending_publishes:
                        break
                    await asyncio.sleep(0)
                [confirmation] = broker._client._pending_publishes.values()
                if answered_first:
                    confirmation.set()
                    await asyncio.sleep(0)  # the answer is there, and the caller does not know it yet
                publishing.cancel()
                await asyncio.wait({publishing}, timeout=30)
                assert publishing.cancelled(), answered_first


async def test_a_machine_with_the_same_name_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = find_free_port()
    with running_broker(tmp_path, port):
        async with running_home(port) as home, running_bridge(port):
            await wait_until_online(home)
            async with running_bridge(port):
                await wait_until(lambda: "another client has the same name: see [mqtt] id" in caplog.text)


async def test_a_peer_that_does_not_speak_mqtt_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>log in to the WiFi</html>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with running_bridge(port):
            await wait_until(lambda: "trying again" in caplog.text)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def check_daemon(folder: Path, stop: signal.Signals, limit_s: float) -> None:
    """A notify becomes paper; a daemon that is stopped so shows as offline in time, and online after its next start."""
    port = find_free_port()
    config = folder / "mqtt.toml"
    config.write_text(f'[mqtt]\nserver = "127.0.0.1:{port}"\nid = "den"\n[spool]\nidle_s = 0\n')
    with running_broker(folder, port), open_sandbox(folder) as sandbox:
        sandbox.start_machine("--fast")
        async with running_home(port) as home:
            daemon = sandbox.start("run", "--line", str(sandbox.link), "--fast", "--config", str(config))
            await wait_until(lambda: home.last(TOPICS.availability) == "online", 60)
            await home.client.publish(TOPICS.notify, "The washing machine is done.", qos=1)
            await wait_until(lambda: "THE WASHING MACHINE IS DONE.\n" in sandbox.paper_text(), 60)
            await wait_until(lambda: json.loads(home.last(TOPICS.state))["characters_today"] > 50, 60)
            daemon.send_signal(stop)
            stopped_at = time.monotonic()
            await wait_until(lambda: home.last(TOPICS.availability) == "offline", 90)
            assert time.monotonic() - stopped_at < limit_s
            daemon.kill()
            daemon.wait(30)
        retained = await read_retained(port)
        assert "WASHING" not in json.dumps(retained).upper()
        async with running_home(port) as home:
            sandbox.start("run", "--line", str(sandbox.link), "--fast", "--config", str(config))
            await wait_until(lambda: home.last(TOPICS.availability) == "online", 60)
            assert json.loads(home.last(TOPICS.state))["characters_today"] > 20  # of the same day


async def test_a_notify_becomes_paper_and_a_killed_daemon_is_offline(tmp_path: Path) -> None:
    await check_daemon(tmp_path, signal.SIGKILL, 60.0)


@pytest.mark.soak
async def test_a_daemon_that_vanishes_without_a_word_is_offline_within_a_minute(tmp_path: Path) -> None:
    """Stopped, not killed: its socket stays open, as that of a computer without power does."""
    await check_daemon(tmp_path, signal.SIGSTOP, 60.0)
