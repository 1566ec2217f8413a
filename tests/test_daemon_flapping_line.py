"""A line that comes and goes: little paper, few attempts, one message a change; and strangers on it are named."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import termios
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_serial_line import FakeSerialServer, far_end
from fakes_teletype import TypingUnitLine, raises_driver_error, run_jumping, wait_until

from daemon.config import Config
from daemon.line_connection import HOLD_S, ReconnectingLine, open_and_test_line, reopen_line, watch_for_others
from drivers.clock import WallClock
from drivers.errors import DriverError
from drivers.line.line import open_line
from drivers.line.tty_holders import TtyHolder, find_holders, find_terminal_user
from drivers.teletype import Teletype

# As its session leader it makes the pty its terminal, and may then drop the name of this program.
SHELL = "import fcntl, os, sys, termios, time; fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)"


class FlappingPort:
    """Opens at each attempt, and hangs up after a while."""

    def __init__(self, line: TypingUnitLine, lives_s: float) -> None:
        self.line = line
        self.opened_at: list[float] = []
        self._lives_s = lives_s

    async def open(self) -> TypingUnitLine:
        loop = asyncio.get_running_loop()
        self.opened_at.append(loop.time())
        self.line = self.line.reconnect()
        loop.call_later(self._lives_s, self.line.hang_up)
        return self.line


class RefusingPort:
    """Refuses each attempt for the next of the reasons, and the last one for ever."""

    def __init__(self, *errors: DriverError) -> None:
        self.tries = 0
        self._errors = errors

    async def open(self) -> TypingUnitLine:
        self.tries += 1
        raise self._errors[min(self.tries, len(self._errors)) - 1]


def run_with_port(
    tmp_path: Path, make_port: Callable[[TypingUnitLine], object], seconds: float
) -> tuple[DaemonBench, str, str]:
    """Returns the bench, and the paper at READY and after so many seconds with this port."""

    async def main() -> tuple[DaemonBench, str, str]:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words("yes.")), wait_for_line=True)
        await daemon.session.listening.wait()
        await asyncio.sleep(5)
        before = daemon.paper
        port = make_port(daemon.bench.line)
        reopen: Callable[[], Awaitable[TypingUnitLine]] = port.open  # type: ignore[attr-defined]
        reconnecting = asyncio.ensure_future(ReconnectingLine(daemon.bench.line, reopen).reconnect_forever(daemon.tty))
        daemon.bench.line.hang_up()
        await asyncio.sleep(seconds)
        for task in (reconnecting, daemon.running):
            task.cancel()
        return daemon, before, daemon.paper

    return run_jumping(main())


@pytest.mark.parametrize("lives_s", [0.0, 0.05, 0.15, 0.25, 1.0, 3.0, 9.0])
def test_a_flapping_line_feeds_one_line_of_paper(
    tmp_path: Path, lives_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    ports: list[FlappingPort] = []

    def make(line: TypingUnitLine) -> FlappingPort:
        ports.append(FlappingPort(line, lives_s))
        return ports[0]

    with caplog.at_level("INFO", "asr33"):
        _, before, after = run_with_port(tmp_path, make, 600.0)
    assert len(ports[0].opened_at) > 10
    assert after.startswith(before)
    assert after[len(before) :].strip() == ""
    assert after.count("\n") - before.count("\n") <= 2
    assert len([at for at in ports[0].opened_at if at < 60 + ports[0].opened_at[0]]) <= 8
    hang_ups = [record for record in caplog.records if "hung up" in record.message]
    returns = [record for record in caplog.records if "is back;" in record.message]
    assert len(hang_ups) + len(returns) <= 2 * len(ports[0].opened_at) + 1


def test_a_line_that_lived_begins_with_short_waits_again(tmp_path: Path) -> None:
    ports: list[FlappingPort] = []

    def make(line: TypingUnitLine) -> FlappingPort:
        ports.append(FlappingPort(line, 100.0))
        return ports[0]

    run_with_port(tmp_path, make, 1000.0)
    waits = [later - sooner - 100.0 for sooner, later in zip(ports[0].opened_at, ports[0].opened_at[1:], strict=False)]
    assert waits
    assert max(waits) < 1.5


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DriverError("port: it is held by another program", "busy"), 1),
        (DriverError("port: you may not open it", "denied"), 1),
        (DriverError("port: the far end hung up at once", "busy"), 1),
        (DriverError("no port memory", "missing"), 0),
    ],
)
def test_a_line_that_is_back_but_cannot_be_used_is_told_once(
    tmp_path: Path, error: DriverError, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    missing = DriverError("no port memory", "missing")
    port = RefusingPort(missing, error, missing, error)
    with caplog.at_level("INFO", "asr33"):
        run_with_port(tmp_path, lambda line: port, 600.0)
    messages = [record.message for record in caplog.records if str(error) in record.message]
    assert len(messages) == told
    if error.kind != "missing":
        assert port.tries < 30


async def test_a_server_that_hangs_up_at_once_is_no_line() -> None:
    async with FakeSerialServer() as server:
        opening = asyncio.ensure_future(reopen_line(Config(), server.url))
        await server.wait_accepted()
        server.send(b"Port already in use\r\n\x1b[31m")
        server.send_eof()
        with raises_driver_error("busy", match=r"hung up at once and said 'Port already in use \[31m'"):
            await opening


async def test_what_a_server_says_first_is_no_key(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeSerialServer() as server:
        opening = asyncio.ensure_future(open_and_test_line(Config(), server.url, 0.1))
        await server.wait_accepted()
        with caplog.at_level("INFO", "asr33"):
            for _ in range(6):  # in pieces, longer than the first second
                server.send(b"Welcome to ttyS0\r\n")
                await asyncio.sleep(0.2)
            line, _, _ = await opening
        received: list[object] = []
        line.listen(received.append)
        server.send(b"A")
        await wait_until(lambda: received)
        assert len(received) == 1
        await line.close()
    assert "the serial server says 'Welcome to ttyS0 Welcome" in caplog.text


async def test_nothing_is_struck_before_the_line_has_held() -> None:
    async with FakeSerialServer() as server:
        loop = asyncio.get_running_loop()
        opening = asyncio.ensure_future(reopen_line(Config(), server.url))
        await server.wait_accepted()
        start = loop.time()
        line = await opening
        assert loop.time() - start >= HOLD_S - 0.05
        await line.close()


# Another program on the line.


def start_reader(path: str, *, as_terminal: bool) -> subprocess.Popen[bytes]:
    """Starts a process that has the tty open, as its session's terminal or not."""
    words = SHELL if as_terminal else "import os, sys, time; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)"
    program = f"{words}\nprint('open', flush=True)\nimport time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    return process


@pytest.mark.parametrize("as_terminal", [False, True])
def test_another_process_on_the_line_is_found(as_terminal: bool) -> None:
    with far_end() as end:
        assert find_holders(end.path) == []
        process = start_reader(end.path, as_terminal=as_terminal)
        try:
            [holder] = find_holders(end.path)
            assert (holder.pid, holder.has_as_terminal) == (process.pid, as_terminal)
            assert f"(process {process.pid}) is on the line too" in holder.describe(end.path)
            assert (find_terminal_user(end.path) is not None) == as_terminal
        finally:
            process.kill()
            process.communicate()
        assert find_holders(end.path) == []


def test_the_far_end_of_a_pty_is_no_stranger(tmp_path: Path) -> None:
    code = "import os, time; m, s = os.openpty(); print(os.ttyname(s), flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert find_holders(process.stdout.readline().decode().strip()) == []
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("agetty", "sudo systemctl stop serial-getty@ttyUSB0"),
        ("ModemManager", "sudo systemctl stop ModemManager"),
        ("brltty", "sudo systemctl stop brltty"),
        ("screen", "end it (kill 123)"),
    ],
)
def test_each_stranger_has_its_cure(name: str, cure: str) -> None:
    assert TtyHolder(123, name, False).describe("/dev/ttyUSB0").endswith(f": {cure}")


async def test_a_pty_that_is_the_terminal_of_a_session_is_refused(tmp_path: Path) -> None:
    with far_end() as end:
        link = tmp_path / "tty33"
        link.symlink_to(end.path)
        process = start_reader(end.path, as_terminal=True)
        try:
            with raises_driver_error("busy", match=rf"tty33 is the terminal of .* \(process {process.pid}\)"):
                await open_line(str(link))
            with pytest.raises(DriverError):
                await reopen_line(Config(), str(link))
        finally:
            process.kill()
            process.communicate()
        await (await open_line(str(link))).close()


async def test_strangers_are_named_at_the_start_and_make_the_column_unknown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with far_end() as end, caplog.at_level("INFO", "asr33"):
        first = start_reader(end.path, as_terminal=False)
        line, _, _ = await open_and_test_line(Config(), end.path, 0.0)
        assert f"(process {first.pid}) is on the line too" in caplog.text
        teletype = Teletype(line, WallClock(), character_s=0.0)
        await teletype.fresh_line()
        await teletype.finish()
        assert teletype.column == 0
        watching = asyncio.ensure_future(watch_for_others(end.path, teletype, lambda: line, look_s=0.05, scan_s=0.1))
        await asyncio.sleep(0.3)
        assert teletype.column == 0  # it was named before
        second = await asyncio.to_thread(start_reader, end.path, as_terminal=False)
        await wait_until(lambda: f"(process {second.pid}) is on the line too" in caplog.text)
        await wait_until(lambda: teletype.column is None)
        assert caplog.text.count(f"(process {second.pid})") == 1
        await teletype.fresh_line()
        assert teletype.column == 0
        assert end.slave is not None
        tty.setcbreak(end.slave)  # as a getty does: it echoes the keys
        attributes = termios.tcgetattr(end.slave)
        attributes[3] |= termios.ECHO
        termios.tcsetattr(end.slave, 0, attributes)
        await wait_until(lambda: "has changed the settings" in caplog.text)
        await wait_until(lambda: teletype.column is None)
        assert not termios.tcgetattr(end.slave)[3] & termios.ECHO
        watching.cancel()
        for process in (first, second):
            process.kill()
            process.communicate()
        await teletype.close()
        await line.close()
