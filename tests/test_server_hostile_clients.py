"""A real server under mutated requests and clients that leave: no traceback, no late character, no status 500."""

import asyncio
import contextlib
import os
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes_hostile_clients import Crowd, mutate_request, request_to_leave, unexpected_lines
from fakes_paced_reader import PacedReader
from fakes_serve_process import ServeProcess, serve_process
from fakes_tls import certificates as certificates

MAX_STALL_S = 0.2
LEAVING_CLIENTS = 400


@contextmanager
def collecting_log(process: ServeProcess) -> Iterator[list[str]]:
    """Collects the rest of the log from now on, in a thread, so that the pipe never fills."""
    assert process.process.stdout
    descriptor, parts = process.process.stdout.fileno(), list[bytes]()

    def collect() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, 65536):
                parts.append(data)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    log: list[str] = []
    yield log
    process.process.terminate()
    assert process.process.wait(60) == 0
    thread.join(10)
    log.append(b"".join(parts).decode())


async def _mutate(count: int, seed: int) -> Counter[int]:
    with serve_process("--rows", "8", "--drain", "1") as process:
        process.wait_until_open()
        with collecting_log(process) as log:
            reader = PacedReader()
            reading = asyncio.ensure_future(reader.read(process.port))
            await asyncio.sleep(2)
            crowd = Crowd(process.port, seed)
            statuses = await asyncio.to_thread(crowd.run, count, mutate_request)
            assert not reading.done(), reading
            reading.cancel()
            await asyncio.wait((reading,))
        assert reader.characters > 30
        assert reader.longest_stall_s < MAX_STALL_S
        assert unexpected_lines(log[0]) == []
        assert not {500, 502, 504} & statuses.keys(), statuses
        return statuses


@pytest.mark.alone
async def test_two_thousand_mutated_requests_make_no_traceback_and_no_late_character() -> None:
    statuses = await _mutate(2000, seed=33)
    assert {200, 400, 404, 405, 413, 422} <= statuses.keys(), statuses
    assert statuses[200] > 100, statuses


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
async def test_ten_thousand_mutated_requests_make_no_traceback_and_no_late_character(seed: int) -> None:
    await _mutate(10_000, seed)


@pytest.mark.parametrize("is_tls", [False, True])
def test_clients_that_leave_at_any_moment_leave_no_error_in_the_log(
    is_tls: bool, certificates: Callable[[int], Path]
) -> None:
    options: tuple[str, ...] = ()
    tls = None
    if is_tls:
        options = ("--cert", str(certificates(300)))
        tls = ssl.create_default_context(cafile=certificates(300))
    with serve_process("--rows", "4", "--drain", "0.2", *options) as process:
        process.port = int(process.wait_for_output(r"https?://127\.0\.0\.1:(\d+), model")[1])
        with collecting_log(process) as log:
            Crowd(process.port, 7, tls).run(LEAVING_CLIENTS // (2 if is_tls else 1), request_to_leave)
    assert unexpected_lines(log[0]) == []
    assert len(log[0].splitlines()) > LEAVING_CLIENTS / 4
