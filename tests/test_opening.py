import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fakes_server import Typist, until

from daemon.notify import Notify
from model.errors import EngineFailed
from model.serving.server import Server
from tools import opening
from tools.hall import Hall
from tools.opening import Unservable, descriptors, may_listen
from tools.porch import Porch


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_all_descriptors_that_can_be_had_are_asked_for(limits: tuple[int, int]) -> None:
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert descriptors(100) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard


def test_more_connections_than_descriptors_are_not_promised(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert descriptors(8192) == 1024 - 64 - 256
    assert "ulimit" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_computer_needs_no_key(host: str) -> None:
    may_listen(host, keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "teletype.local", "127.0.0.1.example", ""])
def test_others_need_one(host: str) -> None:
    with pytest.raises(Unservable, match="--keys FILE"):
        may_listen(host, keys=False)
    may_listen(host, keys=True)


def test_a_port_is_taken_from_the_beginning_and_not_when_the_first_is_let_in() -> None:
    [here] = opening.sockets("127.0.0.1", 0)
    with here, pytest.raises(Unservable, match="is taken"):
        opening.sockets("127.0.0.1", here.getsockname()[1])


async def test_a_word_does_not_wait_until_the_one_before_it_is_acknowledged() -> None:
    """Nagle, and who acknowledges late: forty milliseconds, or a round trip."""
    asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def taken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.transport.abort()

    [here] = opening.sockets("127.0.0.1", 0)
    async with await asyncio.start_server(taken, sock=here):
        _, writer = await asyncio.open_connection(*here.getsockname())
        assert await asked
        writer.close()


class Supervisor(Notify):
    """Counts the signs of life."""

    def __init__(self) -> None:
        super().__init__({})
        self.watchdog_s, self.signs = 0.02, 0

    def alive(self) -> None:
        self.signs += 1


class Engine:
    """Goes round, or stands, or has failed."""

    def __init__(self) -> None:
        self.turning = asyncio.Event()
        self.turning.set()
        self.fault: Exception | None = None

    async def sound(self) -> None:
        await self.turning.wait()
        if self.fault:
            raise self.fault


def life(batch: Typist, notify: Notify, engine: Engine, kind: type[Porch] = Porch) -> Any:
    server = Server(batch, name="tiny")
    porch, sockets = kind(server.app, Hall()), opening.listening("127.0.0.1", 0)
    return server, asyncio.ensure_future(opening.life(server, porch, sockets, 0, "open", notify, engine.sound))


async def test_an_engine_that_stands_is_not_called_alive_though_the_loop_goes_round() -> None:
    supervisor, engine = Supervisor(), Engine()
    _, living = life(Typist(), supervisor, engine)
    await until(lambda: supervisor.signs > 3)
    engine.turning.clear()
    await asyncio.sleep(0.03)
    before = supervisor.signs
    await asyncio.sleep(0.1)
    assert supervisor.signs == before
    engine.turning.set()
    await until(lambda: supervisor.signs > before)
    living.cancel()
    await asyncio.wait((living,))


async def test_a_server_whose_engine_has_failed_ends_so_that_another_is_begun(caplog: pytest.LogCaptureFixture) -> None:
    engine, batch = Engine(), Typist()
    server, living = life(batch, Supervisor(), engine)
    await until(lambda: server.state == "open")
    engine.fault = ZeroDivisionError("a secret")
    with pytest.raises(EngineFailed, match=r"ZeroDivisionError at .*start it again") as caught:
        await asyncio.wait_for(living, 30)
    assert "secret" not in str(caught.value)
    assert server.state == "failed"
    assert batch.shut
    assert "secret" not in caplog.text


class Shut(Porch):
    """It opens only for a while."""

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        for each in sockets:
            each.close()
        await asyncio.sleep(0.05)
        raise OSError(errno.ENOBUFS, "No buffer space available")


@pytest.mark.parametrize("loads", [True, False])
async def test_a_server_into_which_nobody_can_come_ends_at_once(loads: bool) -> None:
    batch = Typist()
    if not loads:
        batch.loaded.clear()
    _, living = life(batch, Supervisor(), Engine(), Shut)
    with pytest.raises(Unservable, match=r"nobody can come in \(No buffer space available\): start it again"):
        await asyncio.wait_for(living, 30)
    assert batch.shut


async def test_whoever_waits_for_a_large_model_is_told_that_it_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "STILL_S", 0.01)
    batch = Typist()
    batch.loaded.clear()
    with caplog.at_level(logging.INFO):
        server, living = life(batch, Supervisor(), Engine())
        await until(lambda: caplog.text.count("still loading tiny") > 2)
        batch.loaded.set()
        await until(lambda: server.state == "open")
    living.cancel()
    await asyncio.wait((living,))


async def test_what_asyncio_says_of_an_accident_has_no_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    _, living = life(Typist(), Supervisor(), Engine())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(lambda: {}["Rumpelstilzchen"])
    await until(lambda: "KeyError at " in caplog.text)
    living.cancel()
    await asyncio.wait((living,))
    assert "KeyError at " in caplog.text
    assert "Rumpel" not in caplog.text.replace("lambda", "")
