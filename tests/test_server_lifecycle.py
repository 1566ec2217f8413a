"""The listening sockets, and the life of a server: loading, watchdog, failures."""

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fakes_completion_server import FakeBatchModel, wait_until

from daemon.systemd import SystemdNotifier
from model.errors import EngineFailed, ModelError
from model.server.app import CompletionServer
from model.server.http import lifecycle, sockets
from model.server.http.connections import ConnectionLimiter
from model.server.http.server import HardenedServer
from model.server.http.sockets import limit_to_descriptors, require_keys_for


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_descriptor_limit_is_raised_as_far_as_possible(limits: tuple[int, int]) -> None:
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert limit_to_descriptors(100) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard


def test_connections_are_limited_to_the_descriptors(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert limit_to_descriptors(8192) == 1024 - 64 - 256
    assert "ulimit" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_loopback_address_needs_no_keys(host: str) -> None:
    require_keys_for(host, has_keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "teletype.local", "127.0.0.1.example", ""])
def test_any_other_address_needs_keys(host: str) -> None:
    with pytest.raises(ModelError, match="--keys FILE"):
        require_keys_for(host, has_keys=False)
    require_keys_for(host, has_keys=True)


def test_a_port_is_taken_as_soon_as_it_is_bound() -> None:
    [listener] = sockets.open_sockets("127.0.0.1", 0)
    with listener, pytest.raises(ModelError, match="is taken"):
        sockets.open_sockets("127.0.0.1", listener.getsockname()[1])


async def test_an_accepted_connection_has_nagle_off() -> None:
    """Nagle's algorithm would delay a chunk until the one before is acknowledged: 40 ms, or a round trip."""
    no_delay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        no_delay.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.transport.abort()

    [listener] = sockets.open_sockets("127.0.0.1", 0)
    async with await asyncio.start_server(accept, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await no_delay
        writer.close()


class CountingNotify(SystemdNotifier):
    """Counts the watchdog messages."""

    def __init__(self) -> None:
        super().__init__({})
        self.watchdog_s, self.alive_count = 0.02, 0

    def send_watchdog(self) -> None:
        self.alive_count += 1


class FakeEngine:
    """An engine that runs, hangs, or has failed."""

    def __init__(self) -> None:
        self.is_running = asyncio.Event()
        self.is_running.set()
        self.failure: Exception | None = None

    async def check_alive(self) -> None:
        await self.is_running.wait()
        if self.failure:
            raise self.failure


def start_server(
    model: FakeBatchModel, notify: SystemdNotifier, engine: FakeEngine, kind: type[HardenedServer] = HardenedServer
) -> Any:
    server = CompletionServer(model, name="tiny")
    http_server, listeners = kind(server.app, ConnectionLimiter()), sockets.bind_sockets("127.0.0.1", 0)
    return server, asyncio.ensure_future(
        lifecycle.serve_until_signal(server, http_server, listeners, 0, "open", notify, engine.check_alive)
    )


async def test_a_hanging_engine_stops_the_watchdog_messages() -> None:
    notify, engine = CountingNotify(), FakeEngine()
    _, serving = start_server(FakeBatchModel(), notify, engine)
    await wait_until(lambda: notify.alive_count > 3)
    engine.is_running.clear()
    await asyncio.sleep(0.03)
    before = notify.alive_count
    await asyncio.sleep(0.1)
    assert notify.alive_count == before
    engine.is_running.set()
    await wait_until(lambda: notify.alive_count > before)
    serving.cancel()
    await asyncio.wait((serving,))


async def test_an_engine_failure_ends_the_server(caplog: pytest.LogCaptureFixture) -> None:
    engine, model = FakeEngine(), FakeBatchModel()
    server, serving = start_server(model, CountingNotify(), engine)
    await wait_until(lambda: server.state == "open")
    engine.failure = ZeroDivisionError("a secret")
    with pytest.raises(EngineFailed, match=r"ZeroDivisionError at .*start it again") as caught:
        await asyncio.wait_for(serving, 30)
    assert "secret" not in str(caught.value)
    assert server.state == "failed"
    assert model.is_closed
    assert "secret" not in caplog.text


class FailingServer(HardenedServer):
    """A server whose sockets fail after a moment."""

    async def serve_sockets(self, sockets: Sequence[socket.socket]) -> None:
        for listener in sockets:
            listener.close()
        await asyncio.sleep(0.05)
        raise OSError(errno.ENOBUFS, "No buffer space available")


@pytest.mark.parametrize("loads", [True, False])
async def test_a_server_without_sockets_ends_at_once(loads: bool) -> None:
    model = FakeBatchModel()
    if not loads:
        model.loaded.clear()
    _, serving = start_server(model, CountingNotify(), FakeEngine(), FailingServer)
    message = r"the server takes no connections \(No buffer space available\): start it again"
    with pytest.raises(ModelError, match=message):
        await asyncio.wait_for(serving, 30)
    assert model.is_closed


async def test_the_log_shows_that_a_large_model_is_still_loading(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LOADING_LOG_INTERVAL_S", 0.01)
    model = FakeBatchModel()
    model.loaded.clear()
    with caplog.at_level(logging.INFO):
        server, serving = start_server(model, CountingNotify(), FakeEngine())
        await wait_until(lambda: caplog.text.count("still loading tiny") > 2)
        model.loaded.set()
        await wait_until(lambda: server.state == "open")
    serving.cancel()
    await asyncio.wait((serving,))


async def test_an_error_in_the_event_loop_is_logged_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    _, serving = start_server(FakeBatchModel(), CountingNotify(), FakeEngine())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(lambda: {}["Rumpelstilzchen"])
    await wait_until(lambda: "KeyError at " in caplog.text)
    serving.cancel()
    await asyncio.wait((serving,))
    assert "KeyError at " in caplog.text
    assert "Rumpel" not in caplog.text.replace("lambda", "")
