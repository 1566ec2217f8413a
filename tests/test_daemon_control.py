"""The control socket from both ends, on a jumping clock; the received bytes may be anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import PROSE, SimLine, raises_driver_error, run_jumping
from hypothesis import given
from hypothesis import strategies as st

from daemon import paths
from daemon.config import Config, LineConfig
from daemon.control import protocol, server
from daemon.control.client import acquire_machine, check_available
from daemon.control.protocol import (
    Acquire,
    JobEnded,
    PrintJob,
    ProgressReply,
    PunchJob,
    ReadTapeJob,
    RefusedReply,
    StatusReport,
)
from daemon.errors import ConfigError, DaemonError, DaemonRefused, ProtocolError, StoppedByOperator
from drivers.profile import Profile
from drivers.virtual import Equipment

MEMORY = Config(line=LineConfig("memory"))


def quiet(done: int, total: int) -> None: ...


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "asr33"


@asynccontextmanager
async def start_daemon(folder: Path, words: str = "so.", **options: Any) -> AsyncIterator[DaemonBench]:
    daemon = DaemonBench(folder, ScriptedModel(split_words(words)), **options)
    async with server.serve_control(daemon.session, "memory"):
        await daemon.session.listening.wait()
        yield daemon
    daemon.running.cancel()
    await asyncio.wait({daemon.running})


def test_a_text_is_printed_between_two_ready_prompts(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            progress: list[tuple[int, int]] = []
            async with acquire_machine(MEMORY) as machine:
                await machine.run_job(
                    PrintJob("Hello, world.\n" * 8), lambda done, total: progress.append((done, total))
                )
            await asyncio.sleep(3)
            assert daemon.paper.endswith("READY\n" + "HELLO, WORLD.\n" * 8 + "\nREADY\n")
            assert progress[-1] == (112, 112)
            await daemon.type("GO ON")
            assert daemon.session.tty.counters.hang_ups == 0
            assert "SO." in daemon.paper
            daemon.bench.assert_clean()

    run_jumping(main())


def test_keys_typed_during_a_job_are_typed_ahead(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            async with acquire_machine(MEMORY) as machine:
                asyncio.get_running_loop().call_later(5, daemon.line.press_keys, "WHO IS ADA\r")
                await machine.run_job(PrintJob(PROSE), quiet)
            await asyncio.sleep(30)
            assert "WISDOM.\n\nREADY\nWHO IS ADA\nSO.\n" in daemon.paper
            daemon.bench.assert_clean()

    run_jumping(main())


def test_a_machine_whose_operator_types_is_busy_or_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            daemon.line.press_keys("WHO")
            await asyncio.sleep(1)
            with pytest.raises(DaemonError, match=r"the operator types.*--wait") as busy:
                async with acquire_machine(MEMORY):
                    pass
            assert (busy.value.kind, busy.value.exit_code) == ("busy", 75)
            queued: list[None] = []
            asyncio.get_running_loop().call_later(20, daemon.line.press_keys, "\r")
            async with acquire_machine(MEMORY, wait=True, on_queued=lambda: queued.append(None)) as machine:
                assert asyncio.get_running_loop().time() > 20
                await machine.run_job(PrintJob("later"), quiet)
            await asyncio.sleep(3)
            assert "WHO\nSO.\n\nREADY\nLATER\n\nREADY\n" in daemon.paper
            assert queued

    run_jumping(main())


def test_break_stops_the_job_and_reports_the_struck_characters(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            async with acquire_machine(MEMORY) as machine:
                written_before = len(daemon.line.written)
                asyncio.get_running_loop().call_later(6, daemon.line.press_break)
                with pytest.raises(StoppedByOperator, match=r"by BREAK after (\d+) characters") as caught:
                    await machine.run_job(PrintJob(PROSE), quiet)
                struck = len(daemon.line.written) - written_before
            assert str(struck) in str(caught.value)
            assert 50 < struck < 70
            await asyncio.sleep(3)
            assert daemon.paper.endswith("\n\nREADY\n")
            daemon.bench.assert_clean()

    run_jumping(main())


@pytest.mark.parametrize(
    "job",
    [
        PrintJob("-" * 72 + "\n" + "WORDS AND SO ON " * 4),
        PrintJob("/" * 70 + "\n" + "X" * 70, raw=True),
        PunchJob(b"HELLO\r\n" * 12),
    ],
)
def test_progress_reports_the_struck_characters_twice_a_second(tmp_path: Path, job: Any) -> None:
    async def main() -> None:
        profile = Profile(duplex="full", auto_punch=True)
        async with start_daemon(tmp_path, profile=profile, line=SimLine(Equipment(profile))):
            loop = asyncio.get_running_loop()
            progress = [(loop.time(), 0)]
            async with acquire_machine(MEMORY) as machine:
                await machine.run_job(job, lambda done, total: progress.append((loop.time(), done)))
            assert loop.time() - progress[0][0] > 6
            gaps = [later[0] - earlier[0] for earlier, later in pairwise(progress)]
            steps = [later[1] - earlier[1] for earlier, later in pairwise(progress)]
            assert max(gaps) <= 1.0
            assert all(0 <= step <= 10 for step in steps[:-1])

    run_jumping(main())


def test_a_cancelled_job_reports_the_struck_characters(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:

            async def print_it() -> None:
                async with acquire_machine(MEMORY) as machine:
                    await machine.run_job(PrintJob(PROSE), quiet)

            written_before = len(daemon.line.written)
            printing = asyncio.ensure_future(print_it())
            await asyncio.sleep(5)
            struck = len(daemon.line.written) - written_before
            printing.cancel()
            with pytest.raises(asyncio.CancelledError, match=r"stopped after \d+ characters") as caught:
                await printing
            assert 0 <= int(str(caught.value).split()[2]) - struck <= 2

    run_jumping(main())


def test_break_returns_a_leased_machine_that_is_idle(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon, acquire_machine(MEMORY) as machine:
            await machine.run_job(PrintJob("-- SWITCH THE PUNCH ON --"), quiet)
            daemon.line.press_break()
            await asyncio.sleep(3)
            assert daemon.session.is_idle
            with pytest.raises(StoppedByOperator):
                await machine.run_job(PunchJob(b"HELLO"), quiet)

    run_jumping(main())


def test_check_available_does_not_acquire_the_machine(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="no line to print on"):
            await check_available(Config())
        with raises_driver_error("missing"):
            await check_available(Config(line=LineConfig("/dev/nothing-there")))
        async with start_daemon(tmp_path) as daemon:
            before = len(daemon.line.written)
            await check_available(MEMORY)
            assert len(daemon.line.written) == before
            daemon.line.press_keys("WHO")
            await asyncio.sleep(1)
            with pytest.raises(DaemonError, match=r"the operator types.*--wait") as busy:
                await check_available(MEMORY)
            assert busy.value.kind == "busy"

    run_jumping(main())


@pytest.mark.parametrize("leaves", ["cancelled", "gone"])
def test_the_job_of_a_caller_that_leaves_is_stopped(tmp_path: Path, leaves: str) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:

            async def print_it() -> None:
                async with acquire_machine(MEMORY) as machine:
                    await machine.run_job(PrintJob(PROSE), quiet)

            if leaves == "cancelled":
                work = asyncio.ensure_future(print_it())
            else:
                reader, writer = await asyncio.open_unix_connection(tmp_path / "asr33" / socket_name())
                writer.write(protocol.encode_message(Acquire()))
                await reader.readline()
                writer.write(protocol.encode_message(PrintJob(PROSE)))
            await asyncio.sleep(5)
            struck = len(daemon.line.written)
            if leaves == "cancelled":
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work
            else:
                writer.close()
            await asyncio.sleep(3)
            tail = bytes(byte & 0x7F for byte in daemon.line.written[struck:]).decode()
            assert tail.endswith("\r\n\nREADY\r\n")
            assert len(tail) <= len("xx\r\n\nREADY\r\n")
            assert daemon.session.is_idle
            daemon.bench.assert_clean()

    run_jumping(main())


def test_a_stopped_job_is_not_reported_as_done(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "asr33" / socket_name())
            writer.write(protocol.encode_message(Acquire()))
            assert protocol.decode_response(await reader.readline()) == protocol.Acquired()
            writer.write(protocol.encode_message(PrintJob(PROSE)))
            await asyncio.sleep(3)
            writer.write(protocol.encode_message(protocol.StopJob()))
            reply: Any = ProgressReply(0, 0)
            while isinstance(reply, ProgressReply):
                reply = protocol.decode_response(await reader.readline())
            assert isinstance(reply, JobEnded)
            assert reply.how == "stopped"
            assert 20 < reply.struck < 35
            writer.close()

    run_jumping(main())


def test_a_tape_is_punched_and_read_back_in_one_lease(tmp_path: Path) -> None:
    async def main() -> None:
        profile = Profile(duplex="full", auto_reader=True, auto_punch=True)
        line = SimLine(Equipment(profile))
        async with start_daemon(tmp_path, profile=profile, line=line) as daemon:
            async with acquire_machine(MEMORY) as machine:
                assert machine.profile == profile
                await machine.run_job(PunchJob(b"\0\0HELLO\r\n\xff\xff\0\0"), quiet)
                line.sim.reader.load(bytes(line.sim.punch.tape))
                rows = await machine.run_job(ReadTapeJob(), quiet)
            assert rows.strip(b"\0").startswith(b"HELLO\r\n\xff\xff\0\0")
            assert daemon.session.tty.counters.struck > 0
            assert line.typing_unit.driver_errors == []

    run_jumping(main())


def test_waiting_callers_get_the_machine_one_after_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:

            async def print_it(text: str) -> None:
                async with acquire_machine(MEMORY, wait=True) as machine:
                    await machine.run_job(PrintJob(text), quiet)

            await asyncio.gather(*(print_it(letter * 30) for letter in "ABCDE"))
            lines = [line for line in daemon.paper.splitlines() if set(line) & set("ABCDE") and len(line) == 30]
            assert sorted(lines) == [letter * 30 for letter in "ABCDE"]
            daemon.bench.assert_clean()

    run_jumping(main())


def socket_name() -> str:
    return f"{paths.line_file_name('memory')}.sock"


async def talk(folder: Path, *lines: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_unix_connection(folder / "asr33" / socket_name(), limit=1 << 23)
    try:
        for line in lines:
            writer.write(line)
        writer.write_eof()
        return (await reader.read()).splitlines()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"\xff\xfe\x00\n",
        b"[" * 50_000 + b"\n",
        b'{"is":"Print"}\n',
        b'{"is":"Launch","rockets":3}\n',
        b'{"is":"Take","wait":1}\n',
        b'{"is":"Print","text":"x","style":"poem"}\n',
        b'{"is":"Punch","rows":"*"}\n',
        b'{"is":"AskStatus","and":1}\n',
        b'{"is":["Take"]}\n',
    ],
)
def test_a_malformed_line_gets_a_reason_and_does_no_harm(tmp_path: Path, line: bytes) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            replies = [
                protocol.decode_response(reply)
                for reply in await talk(tmp_path, line, protocol.encode_message(protocol.StatusRequest()))
            ]
            assert [type(reply) for reply in replies] == [RefusedReply, StatusReport]
            assert daemon.session.is_idle

    run_jumping(main())


def test_an_endless_line_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            with contextlib.suppress(ConnectionError):
                replies = await talk(tmp_path, b"x" * (protocol.MAX_LINE_BYTES + 10))
                assert [type(protocol.decode_response(reply)) for reply in replies] == [RefusedReply]
            assert daemon.session.is_idle

    run_jumping(main())


def test_a_job_without_a_lease_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            before = len(daemon.line.written)
            [reply] = await talk(tmp_path, protocol.encode_message(PrintJob("x")))
            assert protocol.decode_response(reply) == RefusedReply("take the machine first", 76)
            assert len(daemon.line.written) == before

    run_jumping(main())


def test_a_daemon_that_stops_refuses_the_waiting_callers(tmp_path: Path) -> None:
    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            daemon.line.press_keys("WHO")
            await asyncio.sleep(1)

            async def wait_for_it() -> None:
                async with acquire_machine(MEMORY, wait=True):
                    pass

            waiting = asyncio.ensure_future(wait_for_it())
            await asyncio.sleep(1)
        with pytest.raises(DaemonError) as refusal:
            await waiting
        assert isinstance(refusal.value, DaemonRefused) or refusal.value.kind == "busy"

    run_jumping(main())


def test_the_socket_of_a_killed_daemon_is_replaced_and_no_other(tmp_path: Path, runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(runtime / socket_name()))

    async def main() -> None:
        async with start_daemon(tmp_path):
            async with acquire_machine(MEMORY):
                pass
            modes.append(os.stat(runtime / socket_name()).st_mode & 0o777)  # noqa: PTH116

    modes: list[int] = []
    run_jumping(main())
    assert modes == [0o600]
    assert not (runtime / socket_name()).exists()


@pytest.mark.parametrize("wrong", ["writable by all", "no folder"])
def test_a_socket_folder_writable_by_others_is_not_used(
    tmp_path: Path, runtime: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    if wrong == "no folder":
        runtime.touch()
    else:
        runtime.mkdir()
        runtime.chmod(0o777)

    async def main() -> None:
        async with start_daemon(tmp_path) as daemon:
            await daemon.type("STILL")
            assert "will not find this daemon" in caplog.text

    run_jumping(main())


def test_with_several_daemons_the_line_must_be_named(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "other").mkdir()
        async with start_daemon(tmp_path) as daemon:
            async with acquire_machine(Config()) as machine:
                await machine.run_job(PrintJob("the only one"), quiet)
            assert "THE ONLY ONE" in daemon.paper
            async with server.serve_control(daemon.session, "another"):
                with pytest.raises(ConfigError, match=r"several daemons run.*another"):
                    async with acquire_machine(Config()):
                        pass

    run_jumping(main())


def requests() -> st.SearchStrategy[Any]:
    texts = st.text()
    return st.one_of(
        st.builds(Acquire, st.booleans()),
        st.builds(PrintJob, texts, st.booleans(), st.sampled_from(["prose", "code"]), st.booleans()),
        st.builds(PunchJob, st.binary(), st.booleans()),
        st.builds(protocol.StatusRequest),
    )


@given(requests())
def test_requests_decode_to_what_was_encoded(job: Any) -> None:
    assert protocol.decode_request(protocol.encode_message(job)) == job


@given(
    st.one_of(
        st.builds(ProgressReply, st.integers(), st.integers()),
        st.builds(JobEnded, st.sampled_from(["done", "break", "stopped"]), st.integers(), st.binary()),
        st.builds(RefusedReply, st.text(), st.integers()),
    )
)
def test_responses_decode_to_what_was_encoded(reply: Any) -> None:
    assert protocol.decode_response(protocol.encode_message(reply)) == reply


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_protocol_error(line: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        protocol.decode_request(line)
