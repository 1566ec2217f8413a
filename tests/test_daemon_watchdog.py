"""Messages of a daemon to systemd: as a process, and with a machine that strikes nothing."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_sandbox import open_sandbox, wait_for
from fakes_teletype import TypingUnitLine, run_jumping

from daemon.systemd import STALL_LIMIT_S, StrikeWatch, SystemdNotifier, run_watchdog


@pytest.fixture
def service_manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
        messages.bind("")  # a free abstract name - unix(7)
        messages.setblocking(False)
        yield messages


class StuckLine(TypingUnitLine):
    """A UART that can be made to accept no more bytes."""

    is_stuck = False

    @property
    def out_waiting(self) -> int:
        return 1 if self.is_stuck else super().out_waiting


def environ(service_manager: socket.socket) -> dict[str, str]:
    name = service_manager.getsockname()
    assert isinstance(name, bytes)
    return {"NOTIFY_SOCKET": "@" + name[1:].decode(), "WATCHDOG_USEC": "400000"}


def receive_messages(service_manager: socket.socket) -> list[str]:
    words: list[str] = []
    with suppress(BlockingIOError):
        while True:
            words += service_manager.recv(4096).decode().split("\n")
    return words


@pytest.mark.alone  # a status is sent once, and is dropped while its reader is late
@pytest.mark.pace
def test_a_daemon_without_a_server_is_ready_and_alive_and_reports_its_status(
    tmp_path: Path, service_manager: socket.socket
) -> None:
    messages: list[str] = []

    def is_sent(word: str) -> bool:
        messages.extend(receive_messages(service_manager))
        return word in messages

    with open_sandbox(tmp_path) as sandbox:
        sandbox.environ |= environ(service_manager)
        machine = sandbox.start_machine("--fast")
        daemon = sandbox.start_daemon("--fast", "--model", "http://127.0.0.1:1#tiny")
        wait_for(lambda: is_sent("STATUS=LISTENING, model tiny"))
        assert messages.index("READY=1") < messages.index("WATCHDOG=1")
        assert machine.stdin is not None
        machine.stdin.write(b"GO\n")
        machine.stdin.flush()
        wait_for(lambda: is_sent("STATUS=PRINTING, model tiny"))
        wait_for(lambda: "-- NO SERVER --" in sandbox.paper_text())
        alive = messages.count("WATCHDOG=1")
        wait_for(lambda: is_sent("WATCHDOG=1") and messages.count("WATCHDOG=1") > alive + 2)
        daemon.terminate()
        assert daemon.wait(30) == 0
        assert is_sent("STOPPING=1")
        assert "EXTEND_TIMEOUT_USEC=45000000" in messages


def test_ready_strokes_that_are_not_struck_stop_the_watchdog(tmp_path: Path, service_manager: socket.socket) -> None:
    async def main() -> None:
        line = StuckLine()
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words("one two three.")), line=line)
        watchdog = asyncio.ensure_future(run_watchdog(daemon.session, SystemdNotifier(environ(service_manager))))
        await daemon.session.listening.wait()
        for _ in range(60):  # no key comes, and no stroke is ready
            await asyncio.sleep(1)
            assert "WATCHDOG=1" in receive_messages(service_manager)
        line.is_stuck = True
        line.press_keys("GO\r")
        await asyncio.sleep(STALL_LIMIT_S + 1)
        receive_messages(service_manager)
        await asyncio.sleep(10)
        assert "WATCHDOG=1" not in receive_messages(service_manager)
        line.is_stuck = False
        await asyncio.sleep(1)
        assert "WATCHDOG=1" in receive_messages(service_manager)
        for task in (watchdog, daemon.running):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run_jumping(main())


def test_progress_is_a_stroke_or_none_being_ready() -> None:
    progress = StrikeWatch()
    assert progress.is_progressing(0.0, 5, blocked=False)
    assert progress.is_progressing(9.0, 5, blocked=False)
    assert not progress.is_progressing(10.0, 5, blocked=False)
    assert progress.is_progressing(11.0, 6, blocked=False)
    assert not progress.is_progressing(30.0, 6, blocked=False)
    assert progress.is_progressing(31.0, 6, blocked=True)
    assert progress.is_progressing(40.0, 6, blocked=False)
