"""The line against programs that nobody here wrote; `make test` installs them where it can."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes import read_terminal_until, terminal
from fakes_wire import LineRecorder

from drivers import errors, events
from drivers.clock import WallClock
from drivers.events import Break, Byte, HangUp
from drivers.line.line import open_line
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.virtual import VirtualTeletype

ROOT = Path(__file__).resolve().parents[1]
TERMINALS = {
    "picocom": ["picocom", "--quiet", "--nolock", "--baud", "110"],
    "tio": ["tio", "--baudrate", "110"],
    "minicom": ["minicom", "--baudrate", "110", "--noinit", "--device"],
}

TERMINAL = {"ASR33_LINE_MARKING": "off", "ASR33_MACHINE_SEND_PARITY": "space"}


SEARCHED = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has ser2net, and not everybody looks


def needs(program):
    absent = shutil.which(program, path=SEARCHED) is None
    return pytest.mark.skipif(absent, reason=f"{program} is not installed (apt-get install {program})")


@contextmanager
def started(*words: str, at: int | None = None, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program while the block lasts, at a terminal of its own if `at` is given."""
    stream = subprocess.DEVNULL if at is None else at
    process = subprocess.Popen(
        [shutil.which(words[0], path=SEARCHED) or words[0], *words[1:]],
        cwd=ROOT,
        stdin=stream,
        stdout=stream,
        stderr=stream,
        env={**os.environ, "PATH": SEARCHED, "TERM": "vt100", **settings},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def until(met) -> None:
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 - a file, a process, a sheet of paper
            await asyncio.sleep(0.01)


@contextmanager
def paired(folder: Path) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """Two ptys with socat between them."""
    a, b = str(folder / "A"), str(folder / "B")
    with started("socat", f"pty,raw,echo=0,link={a}", f"pty,raw,echo=0,link={b}") as socat:
        yield a, b, socat


async def opened(where: str, **settings: bool):
    """The line, as soon as somebody is there."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await open_line(where, **settings)
            except (errors.LineNotFound, errors.LineBusy):
                await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


# socat.


@needs("socat")
async def test_socat_passes_every_byte_both_ways_and_its_end_is_a_hang_up(tmp_path, caplog):
    with paired(tmp_path) as (a, b, socat):
        line = await opened(a, marked=False)
        listener = LineRecorder(line)
        await until((tmp_path / "B").exists)
        far = os.open(b, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(far)
        every = bytes(range(256))
        os.write(far, every)
        assert await listener.first(256) == [Byte(value) for value in every]
        for value in every:
            line.write(value)
            await line.drain()
        came = b""
        while len(came) < 256:
            came += await asyncio.to_thread(os.read, far, 256)
        assert came == every
        socat.terminate()
        assert isinstance((await listener.first(257))[256], HangUp)
        os.close(far)
        await line.close()
    assert not caplog.records


@needs("socat")
async def test_a_break_marked_by_the_far_end_passes_through_socat(tmp_path):
    with paired(tmp_path) as (a, b, _):
        line = await opened(a)
        listener = LineRecorder(line)
        await until((tmp_path / "B").exists)
        far = os.open(b, os.O_RDWR | os.O_NOCTTY)
        os.write(far, b"A\xff\x00\x00\xff\xff")
        assert await listener.first(3) == [Byte(0x41), Break(), Byte(0xFF)]
        os.close(far)
        await line.close()


@needs("socat")
async def test_a_machine_behind_socat_prints_is_typed_at_and_breaks(tmp_path):
    seen: list[events.Event] = []
    far = str(tmp_path / "far")
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        with started("socat", f"open:{machine.path},raw,echo=0", f"pty,raw,echo=0,link={far}"):
            teletype = Teletype(await opened(far), WallClock(), on_event=seen.append, character_s=0)
            await exchange(teletype, machine)
            async with teletype.until_break() as scope:
                await machine.press_break()
                await asyncio.sleep(10)
            assert scope.route == "break"
    assert machine.typing_unit.faults == []


async def exchange(teletype, machine) -> None:
    """A greeting printed, a line typed and corrected."""
    await teletype.print("Hello, operator.\n")
    await teletype.finish()
    typing = asyncio.create_task(machine.type("WHOM\x7f IS IT\r"))
    async with asyncio.timeout(30):
        assert await teletype.read_line("? ") == "WHO IS IT"
        await typing
    await teletype.finish()
    await until(lambda: "HELLO, OPERATOR.\n? WHOM\\M\\ IS IT" in machine.machine.paper.text())


# ser2net.


@contextmanager
def served(folder: Path, device: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A tty as a raw TCP port."""
    settings = folder / "ser2net.yaml"
    settings.write_text(
        f"connection: &teletype\n  accepter: tcp,127.0.0.1,{port}\n  connector: serialdev,{device},110n82,local\n"
    )
    with started("ser2net", "-n", "-u", "-c", str(settings)) as server:
        yield server


@needs("ser2net")
async def test_a_machine_behind_ser2net_prints_is_typed_at_and_breaks(tmp_path):
    seen: list[events.Event] = []
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        port = free_port()
        with served(tmp_path, machine.path, port):
            line = await opened(f"socket://127.0.0.1:{port}", marked=True)  # our machine marks; ser2net passes it on
            teletype = Teletype(line, WallClock(), on_event=seen.append, character_s=0)
            await exchange(teletype, machine)
            async with teletype.until_break() as scope:
                await machine.press_break()
                await asyncio.sleep(10)
            assert scope.route == "break"
            await line.close()
    assert machine.typing_unit.faults == []


@needs("ser2net")
async def test_ser2net_killed_is_a_hang_up_and_started_anew_a_line(tmp_path, caplog):
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        port = free_port()
        url = f"socket://127.0.0.1:{port}"
        with served(tmp_path, machine.path, port) as server:
            line = await opened(url)
            listener = LineRecorder(line)
            line.write(0x41)
            await until(lambda: "A" in machine.typing_unit.paper.text())
            server.send_signal(signal.SIGKILL)
            (hang_up,) = await listener.first(1)
            assert isinstance(hang_up, HangUp)
            assert "see that the serial server and the network run" in hang_up.reason
            await line.close()
        with pytest.raises(errors.LineNotFound, match="nothing listens"):
            await open_line(url)
        with served(tmp_path, machine.path, port):
            line = await opened(url)
            line.write(0x42)
            await until(lambda: "AB" in machine.typing_unit.paper.text())
            await line.close()
    assert not caplog.records


# Terminal programs.


@needs("socat")
@pytest.mark.parametrize("program", [pytest.param(name, marks=needs(name)) for name in TERMINALS])
async def test_a_terminal_program_shows_what_is_printed_and_types_what_is_read(program, tmp_path):
    with paired(tmp_path) as (a, b, _), terminal() as (screen, keys):
        line = await opened(a, marked=False)
        seen: list[events.Event] = []
        plain = Profile(send_parity="space")  # they show the parity bit as a letter of some other alphabet
        teletype = Teletype(line, WallClock(), plain, on_event=seen.append, character_s=0)
        await until((tmp_path / "B").exists)
        with started(*TERMINALS[program], b, at=keys):
            await shown_when_it_is_ready(line, screen)
            await teletype.print("Hello, operator.\n")
            await teletype.finish()
            await asyncio.to_thread(read_terminal_until, screen, r"HELLO, OPERATOR\.", 30)
            os.write(screen, b"whom_ is it\r")
            async with asyncio.timeout(30):
                assert await teletype.read_line("? ") == "WHO IS IT"
            await teletype.finish()
            await asyncio.to_thread(read_terminal_until, screen, r"\? WHOM\\M\\ IS IT", 30)
        await line.close()
    assert not any(isinstance(event, events.BreakPressed) for event in seen)


async def shown_when_it_is_ready(line, screen: int) -> None:
    """A terminal program throws away what comes while it starts."""
    os.set_blocking(screen, False)
    shown = b""
    async with asyncio.timeout(30):
        while b"~" not in shown:
            line.write(ord("~"))
            await asyncio.sleep(0.02)
            try:
                shown += os.read(screen, 4096)
            except BlockingIOError:
                continue
    os.set_blocking(screen, True)


@needs("socat")
@needs("picocom")
async def test_a_terminal_program_that_leaves_may_come_back(tmp_path):
    with paired(tmp_path) as (a, b, _), terminal() as (screen, keys):
        line = await opened(a, marked=False)
        listener = LineRecorder(line)
        await until((tmp_path / "B").exists)
        for typed in (b"A\xff", b"B\x00"):
            listener.heard.clear()
            with started(*TERMINALS["picocom"], b, at=keys) as picocom:
                await shown_when_it_is_ready(line, screen)
                os.write(screen, typed)
                assert await listener.first(2) == [Byte(value) for value in typed]
                os.write(screen, b"\x01\x18")  # C-a C-x
                assert await asyncio.to_thread(picocom.wait, 30) == 0
        await line.close()
        assert len(listener.heard) == 2


@needs("socat")
@needs("picocom")
def test_the_whole_daemon_answers_at_a_terminal_program(tmp_path):
    with paired(tmp_path) as (a, b, _), terminal() as (screen, keys):
        asyncio.run(until(lambda: (tmp_path / "A").exists() and (tmp_path / "B").exists()))
        command = [sys.executable, "-m", "tools.main", "run", "--fast", "--line", a, "--log", str(tmp_path / "log")]
        with (
            started(*TERMINALS["picocom"], b, at=keys),
            started(*command, "--length", "60", "--seed", "7", **TERMINAL) as daemon,
        ):
            read_terminal_until(screen, r"READY\r\n")
            os.write(screen, b"THE TELETYPE IS\r")
            answer = read_terminal_until(screen, r"READY\r\n")
            assert len(answer.split()) > 8
            os.write(screen, b".BYE\r")
            read_terminal_until(screen, r"GOODBYE\.")
            assert daemon.wait(30) == 0
