import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fakes_server import FakeBatchModel, wait_until

from daemon.systemd import SystemdNotifier
from model.errors import EngineFailed
from model.server.app import CompletionServer
from model.server.http import lifecycle
from model.server.http.connections import ConnectionLimiter
from model.server.http.lifecycle import Unservable, limit_to_descriptors, require_keys_for
from model.server.http.server import HardenedServer


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_all_descriptors_that_can_be_had_are_asked_for(limits: tuple[int, int]) -> None:
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert limit_to_descriptors(100) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard


def test_more_connections_than_descriptors_are_not_promised(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert limit_to_descriptors(8192) == 1024 - 64 - 256
    assert "ulimit" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_computer_needs_no_key(host: str) -> None:
    require_keys_for(host, has_keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "teletype.local", "127.0.0.1.example", ""])
def test_others_need_one(host: str) -> None:
    with pytest.raises(Unservable, match="--keys FILE"):
        require_keys_for(host, has_keys=False)
    require_keys_for(host, has_keys=True)


def test_a_port_is_taken_from_the_beginning_and_not_when_the_first_is_let_in() -> None:
    [here] = lifecycle.open_sockets("127.0.0.1", 0)
    with here, pytest.raises(Unservable, match="is taken"):
        lifecycle.open_sockets("127.0.0.1", here.getsockname()[1])


async def test_a_word_does_not_wait_until_the_one_before_it_is_acknowledged() -> None:
    """Nagle, and who acknowledges late: forty milliseconds, or a round trip."""
    asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def taken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.transport.abort()

    [here] = lifecycle.open_sockets("127.0.0.1", 0)
    async with await asyncio.start_server(taken, sock=here):
        _, writer = await asyncio.open_connection(*here.getsockname())
        assert await asked
        writer.close()


class CountingNotify(SystemdNotifier):
    """Counts the signs of life."""

    def __init__(self) -> None:
        super().__init__({})
        self.watchdog_s, self.alive_count = 0.02, 0

    def send_watchdog(self) -> None:
        self.alive_count += 1


class FakeEngine:
    """Goes round, or stands, or has failed."""

    def __init__(self) -> None:
        self.is_running = asyncio.Event()
        self.is_running.set()
        self.fault: Exception | None = None

    async def check_alive(self) -> None:
        await self.is_running.wait()
        if self.fault:
            raise self.fault


def start_server(
    batch: FakeBatchModel, notify: SystemdNotifier, engine: FakeEngine, kind: type[HardenedServer] = HardenedServer
) -> Any:
    server = CompletionServer(batch, name="tiny")
    porch, sockets = kind(server.app, ConnectionLimiter()), lifecycle.bind_sockets("127.0.0.1", 0)
    return server, asyncio.ensure_future(
        lifecycle.serve_until_signal(server, porch, sockets, 0, "open", notify, engine.check_alive)
    )


async def test_an_engine_that_stands_is_not_called_alive_though_the_loop_goes_round() -> None:
    supervisor, engine = CountingNotify(), FakeEngine()
    _, living = start_server(FakeBatchModel(), supervisor, engine)
    await wait_until(lambda: supervisor.alive_count > 3)
    engine.is_running.clear()
    await asyncio.sleep(0.03)
    before = supervisor.alive_count
    await asyncio.sleep(0.1)
    assert supervisor.alive_count == before
    engine.is_running.set()
    await wait_until(lambda: supervisor.alive_count > before)
    living.cancel()
    await asyncio.wait((living,))


async def test_a_server_whose_engine_has_failed_ends_so_that_another_is_begun(caplog: pytest.LogCaptureFixture) -> None:
    engine, batch = FakeEngine(), FakeBatchModel()
    server, living = start_server(batch, CountingNotify(), engine)
    await wait_until(lambda: server.state == "open")
    engine.fault = ZeroDivisionError("a secret")
    with pytest.raises(EngineFailed, match=r"ZeroDivisionError at .*start it again") as caught:
        await asyncio.wait_for(living, 30)
    assert "secret" not in str(caught.value)
    assert server.state == "failed"
    assert batch.is_closed
    assert "secret" not in caplog.text


class FailingServer(HardenedServer):
    """It opens only for a while."""

    async def serve_sockets(self, sockets: Sequence[socket.socket]) -> None:
        for each in sockets:
            each.close()
        await asyncio.sleep(0.05)
        raise OSError(errno.ENOBUFS, "No buffer space available")


@pytest.mark.parametrize("loads", [True, False])
async def test_a_server_into_which_nobody_can_come_ends_at_once(loads: bool) -> None:
    batch = FakeBatchModel()
    if not loads:
        batch.loaded.clear()
    _, living = start_server(batch, CountingNotify(), FakeEngine(), FailingServer)
    with pytest.raises(Unservable, match=r"nobody can come in \(No buffer space available\): start it again"):
        await asyncio.wait_for(living, 30)
    assert batch.is_closed


async def test_whoever_waits_for_a_large_model_is_told_that_it_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LOADING_LOG_INTERVAL_S", 0.01)
    batch = FakeBatchModel()
    batch.loaded.clear()
    with caplog.at_level(logging.INFO):
        server, living = start_server(batch, CountingNotify(), FakeEngine())
        await wait_until(lambda: caplog.text.count("still loading tiny") > 2)
        batch.loaded.set()
        await wait_until(lambda: server.state == "open")
    living.cancel()
    await asyncio.wait((living,))


async def test_what_asyncio_says_of_an_accident_has_no_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    _, living = start_server(FakeBatchModel(), CountingNotify(), FakeEngine())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(lambda: {}["Rumpelstilzchen"])
    await wait_until(lambda: "KeyError at " in caplog.text)
    living.cancel()
    await asyncio.wait((living,))
    assert "KeyError at " in caplog.text
    assert "Rumpel" not in caplog.text.replace("lambda", "")
