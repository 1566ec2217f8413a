"""What a supervisor hears of a daemon: as a process of its own, and of a machine whose strokes are not struck."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fakes import TypingUnitLine, run_jumping
from fakes_daemon import Daemon, ScriptedModel, words_of
from fakes_room import opened, until

from daemon.systemd import SystemdNotifier
from daemon.watchdog import STALL_LIMIT_S, StrikeWatch, run_watchdog


@pytest.fixture
def supervisor() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("")  # a free name of the abstract kind - unix(7)
        heard.setblocking(False)
        yield heard


class Seized(TypingUnitLine):
    """A UART that from a moment on takes no byte any more."""

    seized = False

    @property
    def out_waiting(self) -> int:
        return 1 if self.seized else super().out_waiting


def environ(supervisor: socket.socket) -> dict[str, str]:
    name = supervisor.getsockname()
    assert isinstance(name, bytes)
    return {"NOTIFY_SOCKET": "@" + name[1:].decode(), "WATCHDOG_USEC": "400000"}


def told(supervisor: socket.socket) -> list[str]:
    words: list[str] = []
    with suppress(BlockingIOError):
        while True:
            words += supervisor.recv(4096).decode().split("\n")
    return words


@pytest.mark.pace
def test_a_daemon_without_a_server_is_ready_and_alive_and_says_what_it_is_at(
    tmp_path: Path, supervisor: socket.socket
) -> None:
    heard: list[str] = []

    def says(word: str) -> bool:
        heard.extend(told(supervisor))
        return word in heard

    with opened(tmp_path) as room:
        room.environ |= environ(supervisor)
        machine = room.machine("--fast")
        daemon = room.daemon("--fast", "--model", "http://127.0.0.1:1#tiny")
        until(lambda: says("STATUS=LISTENING, model tiny"))
        assert heard.index("READY=1") < heard.index("WATCHDOG=1")
        assert machine.stdin is not None
        machine.stdin.write(b"GO\n")
        machine.stdin.flush()
        until(lambda: says("STATUS=PRINTING, model tiny"))
        until(lambda: "-- NO SERVER --" in room.paper())
        alive = heard.count("WATCHDOG=1")
        until(lambda: says("WATCHDOG=1") and heard.count("WATCHDOG=1") > alive + 2)
        daemon.terminate()
        assert daemon.wait(30) == 0
        assert says("STOPPING=1")
        assert "EXTEND_TIMEOUT_USEC=45000000" in heard


def test_strokes_that_stand_ready_and_are_not_struck_are_no_life(tmp_path: Path, supervisor: socket.socket) -> None:
    async def main() -> None:
        line = Seized()
        daemon = Daemon(tmp_path, ScriptedModel(words_of("one two three.")), line=line)
        telling = asyncio.ensure_future(run_watchdog(daemon.app, SystemdNotifier(environ(supervisor))))
        await daemon.app.listening.wait()
        for _ in range(60):  # nobody types, and there is nothing to strike
            await asyncio.sleep(1)
            assert "WATCHDOG=1" in told(supervisor)
        line.seized = True
        line.press_keys("GO\r")
        await asyncio.sleep(STALL_LIMIT_S + 1)
        told(supervisor)
        await asyncio.sleep(10)
        assert "WATCHDOG=1" not in told(supervisor)
        line.seized = False
        await asyncio.sleep(1)
        assert "WATCHDOG=1" in told(supervisor)
        for task in (telling, daemon.running):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run_jumping(main())


def test_progress_is_any_stroke_or_none_that_could_be() -> None:
    progress = StrikeWatch()
    assert progress.is_progressing(0.0, 5, blocked=False)
    assert progress.is_progressing(9.0, 5, blocked=False)
    assert not progress.is_progressing(10.0, 5, blocked=False)
    assert progress.is_progressing(11.0, 6, blocked=False)
    assert not progress.is_progressing(30.0, 6, blocked=False)
    assert progress.is_progressing(31.0, 6, blocked=True)
    assert progress.is_progressing(40.0, 6, blocked=False)
