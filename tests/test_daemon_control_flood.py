"""The control socket under callers that send too much, too fast, or nonsense: in one process, and against a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_sandbox import Sandbox, lateness, open_sandbox, wait_for
from fakes_teletype import run_jumping

from daemon import paths
from daemon.control import protocol, server
from daemon.control.protocol import Acquire, PrintJob, PunchJob, ReadTapeJob, RefusedReply, StatusReport, StatusRequest

STATUS = protocol.encode_message(StatusRequest())
FRAMES = [
    protocol.encode_message(message)
    for message in (
        StatusRequest(),
        Acquire(),
        Acquire(wait=True),
        PrintJob("so it goes\n"),
        PrintJob("** *\r*", raw=True, style="code"),
        PunchJob(b"HELLO\r\n"),
        ReadTapeJob(),
        protocol.StopJob(),
    )
]
HOSTILE = [
    b'{"is":"Print","text":' + b"9" * 5000 + b"}\n",
    b'{"is":"Print","text":NaN}\n',
    b'{"is":"Take","wait":-Infinity}\n',
    b'{"is":"Print","text":"\\ud800\\udc00\\udfff \\u0000 \\u001b[2J"}\n',
    b'{"is":"Print","text":"\xc3\x28"}\n',
    b'{"is":' + b"[" * 30_000 + b"\n",
    b'{"is":' * 30_000 + b"\n",
    b"\0" * 40 + b"\n",
    b"\xff\xfe{\0}\0\n\0",
    b'{"is":"AskStatus","is":"Take"}\n',
]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@asynccontextmanager
async def start_daemon(folder: Path) -> AsyncIterator[DaemonBench]:
    daemon = DaemonBench(folder, ScriptedModel(split_words("so.")))
    async with server.serve_control(daemon.session, "memory"):
        await daemon.session.listening.wait()
        yield daemon
    daemon.running.cancel()
    await asyncio.wait({daemon.running})


async def connect(folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    path = folder / "asr33" / f"{paths.line_file_name('memory')}.sock"
    return await asyncio.open_unix_connection(path, limit=1 << 23)


def line_of_unknown_keys(size: int) -> bytes:
    keys = ",".join(f'"key{number}":0' for number in range(size // 15))
    return b'{"is":"AskStatus",' + keys.encode() + b"}\n"


def test_pipelined_orders_are_served_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            reader, writer = await connect(tmp_path)
            jobs = [PrintJob(f"job number {number}") for number in range(40)]
            writer.write(b"".join(map(protocol.encode_message, (StatusRequest(), Acquire(), *jobs, StatusRequest()))))
            replies: list[Any] = []
            while not isinstance(replies[-1] if len(replies) > 1 else None, StatusReport):
                reply = protocol.decode_response(await reader.readline())
                replies += [] if isinstance(reply, protocol.ProgressReply) else [reply]
            assert [type(reply).__name__ for reply in replies] == [
                *("StatusReport", "Acquired"),
                *["JobEnded"] * 40,
                "StatusReport",
            ]
            printed = [line for line in daemon.paper.splitlines() if line.startswith("JOB NUMBER")]
            assert printed == [f"JOB NUMBER {number}" for number in range(40)]
            writer.close()

    run_jumping(main())


def test_a_stop_drops_the_orders_sent_before_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            reader, writer = await connect(tmp_path)
            writer.write(protocol.encode_message(Acquire()))
            await reader.readline()
            orders = (PrintJob("first " * 100), PrintJob("second"), protocol.StopJob(), StatusRequest())
            writer.write(b"".join(map(protocol.encode_message, orders)))
            replies = [protocol.decode_response(await reader.readline()) for _ in range(2)]
            assert [type(reply).__name__ for reply in replies] == ["JobEnded", "StatusReport"]
            await asyncio.sleep(5)
            assert "SECOND" not in daemon.paper
            writer.close()

    run_jumping(main())


@pytest.mark.parametrize("is_leased", [False, True])
@pytest.mark.parametrize("size", [40_000, 3_500_000])
def test_a_line_of_unknown_keys_is_refused_in_one_short_line(tmp_path: Path, is_leased: bool, size: int) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path):
            reader, writer = await connect(tmp_path)
            if is_leased:
                writer.write(protocol.encode_message(Acquire()))
                await reader.readline()
            writer.write(line_of_unknown_keys(size) + STATUS)
            refusal = await reader.readline()
            assert len(refusal) < 1000
            assert isinstance(protocol.decode_response(refusal), RefusedReply)
            assert isinstance(protocol.decode_response(await reader.readline()), StatusReport)
            writer.close()

    run_jumping(main())


def test_a_request_cut_off_by_the_end_of_the_connection_is_no_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path):
            reader, writer = await connect(tmp_path)
            writer.write(STATUS + STATUS[:-3])
            writer.write_eof()
            assert (await reader.read()).count(b"\n") == 1
            writer.close()

    run_jumping(main())


def test_a_text_without_a_glyph_keeps_no_other_caller_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path):
            reader, writer = await connect(tmp_path)
            writer.write(protocol.encode_message(Acquire()) + protocol.encode_message(PrintJob("\x02" * 500_000)))
            await reader.readline()
            other_reader, other_writer = await connect(tmp_path)
            other_writer.write(STATUS)
            report = protocol.decode_response(await other_reader.readline())
            assert isinstance(report, StatusReport)
            assert report.doing == "lent"
            other_writer.close()
            writer.close()

    run_jumping(main())


def mutate(frame: bytes, rng: random.Random) -> bytes:
    """Changes, drops, doubles or inserts some bytes; the line end mostly stays."""
    data = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) or 1)
        match rng.randrange(5):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randint(1, 6)]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 6))
            case 3:
                data[at:at] = data[: rng.randint(0, 20)]
            case 4:
                data[at:at] = rng.choice([b"1e999", b"null", b"{}", b"[]", b'"', b"\\ud800", b"-0", b"\n", b"\r"])
    return bytes(data) if rng.random() < 0.1 else bytes(data).rstrip(b"\n") + b"\n"


def test_mutated_frames_raise_nothing_and_the_session_goes_on(tmp_path: Path) -> None:
    rng, faults = random.Random(33), []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        async with start_daemon(tmp_path) as daemon:
            for _ in range(100):
                reader, writer = await connect(tmp_path)
                with contextlib.suppress(ConnectionError):
                    for _ in range(20):
                        frame = rng.choice(HOSTILE) if rng.random() < 0.1 else rng.choice(FRAMES)
                        writer.write(mutate(frame, rng) if rng.random() < 0.8 else frame)
                    await asyncio.sleep(rng.choice([0, 0.5, 30]))
                    writer.write_eof()
                    for reply in (await reader.read()).splitlines():
                        protocol.decode_response(reply)
                        assert len(reply) < 4096
                writer.close()
            await asyncio.sleep(60)
            assert not daemon.running.done()
            assert daemon.session.is_idle

    run_jumping(main())
    assert faults == []


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


@pytest.mark.alone
def test_a_flood_of_orders_delays_no_stroke_and_fills_no_memory(sandbox: Sandbox) -> None:
    machine = sandbox.start_machine()
    daemon = sandbox.start(
        "run", "--line", str(sandbox.link), "--length", "3000", "--max-tokens", "3000", "--seed", "7"
    )
    assert machine.stdin is not None
    wait_for(lambda: len(sandbox.strikes()) > 2, 60.0)
    machine.stdin.write(b"\x03")  # skips the greeting
    machine.stdin.flush()
    wait_for(lambda: sandbox.paper_text().endswith("READY\n"), 60.0)
    machine.stdin.write(b"THE TELETYPE IS\n")
    machine.stdin.flush()
    answer = "THE TELETYPE IS\n"
    wait_for(lambda: len(sandbox.paper_text().rpartition(answer)[2]) > 20, 60.0)
    first, before = len(sandbox.strikes()), resident_mib(daemon.pid)
    [path] = (Path(sandbox.environ["XDG_RUNTIME_DIR"]) / "asr33").glob("*.sock")
    rng = random.Random(33)
    flood(path, rng)
    while len(sandbox.strikes()) - first < 60:
        flood(path, rng)
    assert resident_mib(daemon.pid) - before < 40
    late = lateness(sandbox.strike_records()[first:])
    assert len(late) > 40
    assert max(late) < 0.2
    daemon.terminate()
    _, messages = daemon.communicate(timeout=60)
    assert b"Traceback" not in messages


def flood(path: Path, rng: random.Random) -> None:
    """Sends 400,000 orders on a connection whose replies are not read, then nonsense on many others."""
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.settimeout(10.0)
            caller.connect(str(path))
            return caller

        deaf = connect()
        deaf.setblocking(False)
        orders = memoryview(STATUS * 400_000)
        with contextlib.suppress(BlockingIOError):
            while orders:
                orders = orders[deaf.send(orders) :]
        busy = connect()
        replies, unsent = b"", STATUS * 10_000
        busy.setblocking(False)
        while replies.count(b"\n") < 10_000:
            with contextlib.suppress(BlockingIOError):
                unsent = unsent[busy.send(unsent) :]
            with contextlib.suppress(BlockingIOError):
                replies += busy.recv(1 << 16)
        for _ in range(3):
            caller = connect()
            caller.sendall(line_of_unknown_keys(3_500_000))
            assert caller.recv(1 << 16).count(b"\n") == 1
            caller.close()
        for _ in range(200):
            caller = connect()
            with contextlib.suppress(OSError):
                for _ in range(50):
                    frame = rng.choice(HOSTILE) if rng.random() < 0.1 else rng.choice(FRAMES)
                    caller.sendall(mutate(frame, rng))
            caller.close()
