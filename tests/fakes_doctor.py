"""Faults for `asr33 doctor`: a computer's /proc and /sys, a daemon with a real spool, another user, a server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon import paths
from daemon.config import SpoolConfig
from daemon.control import protocol
from daemon.control.spool_requests import answer_spool_request
from daemon.spool.desk import SpoolDesk
from daemon.spool.open_spool import open_spool
from drivers.profile import Profile
from drivers.status import MachineCounters, Status

NOBODY = 65534
LINE = "/dev/ttyUSB7"
STATUS = Status(
    line=LINE,
    lost=None,
    column=0,
    keyboard_parity=None,
    wrong_parity=0,
    is_noisy=False,
    duplex="full",
    below=0,
    ready=0,
    mid_word=False,
    held=0,
    idle_ms=0,
    character_ms=100.0,
    paused=False,
    motor_on=True,
    motor_ran_s=0.0,
    missing_echoes=0,
    counters=MachineCounters(),
)


def run_as_nobody(work: Callable[[], Any]) -> Any:
    """Returns what the work returns in a process of the user nobody, as JSON knows it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer)


@contextmanager
def open_pty() -> Iterator[tuple[int, str]]:
    """Yields the far end and the path of a pty that no process has open."""
    far_end, near_end = os.openpty()
    path = os.ttyname(near_end)
    os.close(near_end)
    try:
        yield far_end, path
    finally:
        os.close(far_end)


@contextmanager
def process_on(path: str) -> Iterator[int]:
    """Yields a process that has the pty open."""
    with Path(path).open("r+b", buffering=0) as near_end:
        process = subprocess.Popen(["sleep", "60"], stdin=near_end, start_new_session=True)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def add_process(root: Path, pid: int, name: str, words: list[str], terminal: str = "", opens: str = "") -> None:
    """Writes /proc/PID as proc(5) has it, with a terminal or an open file if there is one."""
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in [*words, ""]))
    device = Path(terminal).stat().st_rdev if terminal else 0
    major, minor = os.major(device), os.minor(device)
    number = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    (folder / "stat").write_text(f"{pid} ({name}) S 1 {pid} {pid} {number} -1 4194304 0 0\n")
    if opens:
        (folder / "fd" / "3").symlink_to(opens)


def plug_in(root: Path, tty: str, driver: str, usb: str) -> None:
    """Writes the /sys of a USB adapter: class/tty/TTY/device leads to the interface, whose parent has the numbers."""
    device = root / "sys/devices/pci0000:00/usb1/1-1"
    interface = device / "1-1:1.0"
    port = interface / tty
    port.mkdir(parents=True)
    driver_folder = root / "sys/bus/usb-serial/drivers" / driver
    driver_folder.mkdir(parents=True)
    (port / "driver").symlink_to(driver_folder)
    vendor, product = usb.split(":")
    (device / "idVendor").write_text(f"{vendor}\n")
    (device / "idProduct").write_text(f"{product}\n")
    (device / "product").write_text("USB-Serial Controller\n")
    entry = root / "sys/class/tty" / tty
    entry.mkdir(parents=True)
    (entry / "device").symlink_to(port)


def write_udev_data(root: Path, port: str, *lines: str) -> None:
    """Writes what udev keeps of a device: one property a line, as systemd writes /run/udev/data/cMAJOR:MINOR."""
    device = Path(port).stat().st_rdev
    file = root / "run/udev/data" / f"c{os.major(device)}:{os.minor(device)}"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{line}\n" for line in ("I:12345", *lines, "G:systemd", "Q:systemd", "V:1")))


@asynccontextmanager
async def scripted_daemon(
    folder: Path, *quiet: str, is_silent: bool = False, **status: Any
) -> AsyncIterator[SpoolDesk]:
    """Serves the control socket of this user, with the spool of a daemon and a scripted status; yields the spool."""
    desk = open_spool(SpoolConfig(quiet=quiet), Profile(), LINE, folder / "state")
    assert desk is not None
    desk.spool.is_clock_set = True

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if is_silent:
                    continue
                request = protocol.decode_request(line)
                if isinstance(request, protocol.StatusRequest):
                    values = asdict(STATUS) | status
                    writer.write(protocol.encode_message(protocol.StatusReport(LINE, "listening", status=values)))
                elif isinstance(request, protocol.ListJobs | protocol.ChangePaper):
                    writer.write(protocol.encode_message(await answer_spool_request(desk, request)))
        finally:
            writer.close()

    path = paths.user_socket_folders()[0] / f"{paths.line_file_name(LINE)}.sock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = await asyncio.start_unix_server(serve, path)
    try:
        yield desk
    finally:
        server.close()
        desk.close()
        path.unlink()


@asynccontextmanager
async def login_page(
    status: str, *headers: str, body: str = "<!DOCTYPE html><title>Hotel</title>"
) -> AsyncIterator[str]:
    """Serves one page for every request, as the router of a hotel does; yields the URL of the model server."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "\r\n".join(
            [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        )
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
