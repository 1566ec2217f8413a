"""The line against programs of other authors; `make test` installs them where it can."""

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
from fakes_serial_line import FarEnd, LineRecorder, read_from
from fakes_teletype import raises_driver_error, read_terminal_until, terminal, wait_until

from drivers import errors, events
from drivers.clock import WallClock
from drivers.line.connection_test import await_greeting
from drivers.line.line import open_line
from drivers.line.line_input import Break, Byte, HangUp
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
PROGRAM_PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has ser2net, outside of a usual PATH


def needs(program):
    absent = shutil.which(program, path=PROGRAM_PATH) is None
    return pytest.mark.skipif(absent, reason=f"{program} is not installed (apt-get install {program})")


@contextmanager
def running_program(*words: str, at: int | None = None, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program for the block, at a terminal of its own if `at` is given."""
    stream = subprocess.DEVNULL if at is None else at
    process = subprocess.Popen(
        [shutil.which(words[0], path=PROGRAM_PATH) or words[0], *words[1:]],
        cwd=ROOT,
        stdin=stream,
        stdout=stream,
        stderr=stream,
        env={**os.environ, "PATH": PROGRAM_PATH, "TERM": "vt100", **settings},
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


@contextmanager
def socat_pair(folder: Path) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """Yields two ptys and the socat between them."""
    a, b = str(folder / "A"), str(folder / "B")
    with running_program("socat", f"pty,raw,echo=0,link={a}", f"pty,raw,echo=0,link={b}") as socat:
        yield a, b, socat


async def open_when_ready(port_name: str, **settings: bool):
    """Opens the line, as soon as the port exists and is free."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await open_line(port_name, **settings)
            except errors.DriverError as error:
                if error.kind not in ("missing", "busy"):
                    raise
                await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


# socat.


@needs("socat")
async def test_socat_passes_every_byte_both_ways_and_its_end_is_a_hang_up(tmp_path, caplog):
    with socat_pair(tmp_path) as (a, b, socat):
        line = await open_when_ready(a, marked=False)
        listener = LineRecorder(line)
        await wait_until((tmp_path / "B").exists)
        far_fd = os.open(b, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(far_fd)
        all_bytes = bytes(range(256))
        os.write(far_fd, all_bytes)
        assert await listener.wait_for_inputs(256) == [Byte(value) for value in all_bytes]
        for value in all_bytes:
            line.write(value)
            await line.drain()
        received_bytes = b""
        while len(received_bytes) < 256:
            received_bytes += await asyncio.to_thread(os.read, far_fd, 256)
        assert received_bytes == all_bytes
        socat.terminate()
        assert isinstance((await listener.wait_for_inputs(257))[256], HangUp)
        os.close(far_fd)
        await line.close()
    assert not caplog.records


@needs("socat")
async def test_a_break_marked_by_the_far_end_passes_through_socat(tmp_path):
    with socat_pair(tmp_path) as (a, b, _):
        line = await open_when_ready(a)
        listener = LineRecorder(line)
        await wait_until((tmp_path / "B").exists)
        far_fd = os.open(b, os.O_RDWR | os.O_NOCTTY)
        os.write(far_fd, b"A\xff\x00\x00\xff\xff")
        assert await listener.wait_for_inputs(3) == [Byte(0x41), Break(), Byte(0xFF)]
        os.close(far_fd)
        await line.close()


@needs("socat")
async def test_a_machine_behind_socat_prints_is_typed_at_and_breaks(tmp_path):
    received: list[events.Event] = []
    far_fd = str(tmp_path / "far")
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        with running_program("socat", f"open:{machine.path},raw,echo=0", f"pty,raw,echo=0,link={far_fd}"):
            teletype = Teletype(await open_when_ready(far_fd), WallClock(), on_event=received.append, character_s=0)
            await exchange(teletype, machine)
            async with teletype.until_break() as scope:
                await machine.press_break()
                await asyncio.sleep(10)
            assert scope.route == "break"
    assert machine.typing_unit.driver_errors == []


async def exchange(teletype, machine) -> None:
    """Prints a greeting, then types and corrects a line."""
    await teletype.print("Hello, operator.\n")
    await teletype.finish()
    typing = asyncio.create_task(machine.type("WHOM\x7f IS IT\r"))
    async with asyncio.timeout(30):
        assert await teletype.read_line("? ") == "WHO IS IT"
        await typing
    await teletype.finish()
    await wait_until(lambda: "HELLO, OPERATOR.\n? WHOM\\M\\ IS IT" in machine.typing_unit.paper.text())


# ser2net.


@contextmanager
def serve_tty(
    folder: Path, device: str, port: int, protocol: str = "tcp", banner: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Serves a tty as a TCP port: raw, by telnet, or by RFC 2217."""
    settings = folder / "ser2net.yaml"
    options = f'  options:\n    banner: "{banner}"\n' if banner else ""
    settings.write_text(
        f"connection: &teletype\n  accepter: {protocol},127.0.0.1,{port}\n"
        f"  connector: serialdev,{device},110n82,local\n{options}"
    )
    with running_program("ser2net", "-n", "-u", "-c", str(settings)) as server:
        yield server


@needs("ser2net")
async def test_a_machine_behind_ser2net_prints_is_typed_at_and_breaks(tmp_path):
    received: list[events.Event] = []
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        port = free_port()
        with serve_tty(tmp_path, machine.path, port):
            line = await open_when_ready(f"socket://127.0.0.1:{port}", marked=True)  # marked by the virtual machine
            teletype = Teletype(line, WallClock(), on_event=received.append, character_s=0)
            await exchange(teletype, machine)
            async with teletype.until_break() as scope:
                await machine.press_break()
                await asyncio.sleep(10)
            assert scope.route == "break"
            await line.close()
    assert machine.typing_unit.driver_errors == []


@needs("ser2net")
async def test_ser2net_killed_is_a_hang_up_and_restarted_it_serves_again(tmp_path, caplog):
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        port = free_port()
        url = f"socket://127.0.0.1:{port}"
        with serve_tty(tmp_path, machine.path, port) as server:
            line = await open_when_ready(url)
            listener = LineRecorder(line)
            line.write(0x41)
            await wait_until(lambda: "A" in machine.typing_unit.paper.text())
            server.send_signal(signal.SIGKILL)
            (hang_up,) = await listener.wait_for_inputs(1)
            assert isinstance(hang_up, HangUp)
            assert "see that the serial server and the network run" in hang_up.reason
            await line.close()
        with raises_driver_error("missing", match="nothing listens"):
            await open_line(url)
        with serve_tty(tmp_path, machine.path, port):
            line = await open_when_ready(url)
            line.write(0x42)
            await wait_until(lambda: "AB" in machine.typing_unit.paper.text())
            await line.close()
    assert not caplog.records


PROTOCOLS = {"socket": "tcp", "telnet": "telnet,tcp", "rfc2217": "telnet(rfc2217),tcp"}
BANNER = "Welcome to the Teletype\\r\\nlogin: "


@needs("ser2net")
@pytest.mark.parametrize("scheme", PROTOCOLS)
async def test_what_ser2net_says_first_is_no_key_and_then_the_machine_is_there(scheme, tmp_path):
    received: list[events.Event] = []
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        port = free_port()
        with serve_tty(tmp_path, machine.path, port, PROTOCOLS[scheme], BANNER):
            line = await open_when_ready(f"{scheme}://127.0.0.1:{port}", marked=True)
            assert await await_greeting(line, 1.0) == "Welcome to the Teletype login:"
            teletype = Teletype(line, WallClock(), on_event=received.append, character_s=0)
            await exchange(teletype, machine)
            async with teletype.until_break() as scope:
                await machine.press_break()
                await asyncio.sleep(10)
            assert scope.route == "break"
            await line.close()
    breaks = [event for event in received if isinstance(event, events.BreakPressed)]
    keys = [event.byte & 0x7F for event in received if isinstance(event, events.KeyReceived)]
    assert len(breaks) == 1
    assert bytes(keys) == b"WHOM\x7f IS IT\r"
    assert machine.typing_unit.driver_errors == []


@needs("ser2net")
@pytest.mark.parametrize("scheme", ["telnet", "rfc2217"])
async def test_every_byte_passes_ser2net_by_telnet(scheme, tmp_path):
    end = FarEnd()
    port = free_port()
    with serve_tty(tmp_path, end.path, port, PROTOCOLS[scheme]):
        line = await open_when_ready(f"{scheme}://127.0.0.1:{port}", marked=False)
        await await_greeting(line, 0.5)
        listener = LineRecorder(line)
        all_bytes = bytes(range(256))
        os.write(end.master, all_bytes)
        assert await listener.wait_for_inputs(256) == [Byte(value) for value in all_bytes]
        for value in all_bytes:
            line.write(value)
            await line.drain()
        assert await read_from(end, 256) == all_bytes
        await line.close()
    end.close()


@needs("ser2net")
@pytest.mark.parametrize(("scheme", "fault"), [("socket", "speaks telnet: write"), ("rfc2217", "RFC 2217.*: write")])
async def test_another_scheme_for_a_telnet_server_is_told_the_cure(tmp_path, scheme, fault):
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        port = free_port()
        with serve_tty(tmp_path, machine.path, port, PROTOCOLS["telnet"]):
            line = await open_when_ready(f"{scheme}://127.0.0.1:{port}")
            with raises_driver_error("unavailable", match=f"{fault} telnet://127.0.0.1:{port}"):
                await await_greeting(line, 1.0)
            await line.close()


@needs("ser2net")
async def test_a_port_in_use_hangs_up_and_its_words_are_told(tmp_path):
    async with VirtualTeletype(WallClock(), character_s=0) as machine:
        port = free_port()
        with serve_tty(tmp_path, machine.path, port):
            first = await open_when_ready(f"socket://127.0.0.1:{port}")
            second = await open_when_ready(f"socket://127.0.0.1:{port}")
            with raises_driver_error("busy", match="hung up at once and said 'Port already in use'"):
                await await_greeting(second, 1.0)
            await second.close()
            await first.close()


# Terminal programs.


@needs("socat")
@pytest.mark.parametrize("program", [pytest.param(name, marks=needs(name)) for name in TERMINALS])
async def test_a_terminal_program_shows_what_is_printed_and_types_what_is_read(program, tmp_path):
    with socat_pair(tmp_path) as (a, b, _), terminal() as (screen, keys):
        line = await open_when_ready(a, marked=False)
        received: list[events.Event] = []
        plain = Profile(send_parity="space")  # terminal programs show a parity bit as a foreign letter
        teletype = Teletype(line, WallClock(), plain, on_event=received.append, character_s=0)
        await wait_until((tmp_path / "B").exists)
        with running_program(*TERMINALS[program], b, at=keys):
            await print_until_shown(line, screen)
            await teletype.print("Hello, operator.\n")
            await teletype.finish()
            await asyncio.to_thread(read_terminal_until, screen, r"HELLO, OPERATOR\.", 30)
            os.write(screen, b"whom_ is it\r")
            async with asyncio.timeout(30):
                assert await teletype.read_line("? ") == "WHO IS IT"
            await teletype.finish()
            await asyncio.to_thread(read_terminal_until, screen, r"\? WHOM\\M\\ IS IT", 30)
        await line.close()
    assert not any(isinstance(event, events.BreakPressed) for event in received)


async def print_until_shown(line, screen: int) -> None:
    """Waits until a terminal program shows text: it drops its input while it starts."""
    os.set_blocking(screen, False)
    screen_text = b""
    async with asyncio.timeout(30):
        while b"~" not in screen_text:
            line.write(ord("~"))
            await asyncio.sleep(0.02)
            try:
                screen_text += os.read(screen, 4096)
            except BlockingIOError:
                continue
    os.set_blocking(screen, True)


@needs("socat")
@needs("picocom")
async def test_a_terminal_program_may_disconnect_and_return(tmp_path):
    with socat_pair(tmp_path) as (a, b, _), terminal() as (screen, keys):
        line = await open_when_ready(a, marked=False)
        listener = LineRecorder(line)
        await wait_until((tmp_path / "B").exists)
        for typed in (b"A\xff", b"B\x00"):
            listener.inputs.clear()
            with running_program(*TERMINALS["picocom"], b, at=keys) as picocom:
                await print_until_shown(line, screen)
                os.write(screen, typed)
                assert await listener.wait_for_inputs(2) == [Byte(value) for value in typed]
                os.write(screen, b"\x01\x18")  # C-a C-x
                assert await asyncio.to_thread(picocom.wait, 30) == 0
        await line.close()
        assert len(listener.inputs) == 2


@needs("socat")
@needs("picocom")
def test_the_whole_daemon_answers_at_a_terminal_program(tmp_path):
    with socat_pair(tmp_path) as (a, b, _), terminal() as (screen, keys):
        asyncio.run(wait_until(lambda: (tmp_path / "A").exists() and (tmp_path / "B").exists()))
        command = [sys.executable, "-m", "tools.main", "run", "--fast", "--line", a, "--log", str(tmp_path / "log")]
        with (
            running_program(*TERMINALS["picocom"], b, at=keys),
            running_program(*command, "--length", "60", "--seed", "7", **TERMINAL) as daemon,
        ):
            read_terminal_until(screen, r"READY\r\n")
            os.write(screen, b"THE TELETYPE IS\r")
            answer = read_terminal_until(screen, r"READY\r\n")
            assert len(answer.split()) > 8
            os.write(screen, b".BYE\r")
            read_terminal_until(screen, r"GOODBYE\.")
            assert daemon.wait(30) == 0
