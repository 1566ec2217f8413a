"""A daemon's socket, from both its ends, on a clock that jumps; what comes over it may be anything."""

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
from fakes import PROSE, StationLine, jump
from fakes_daemon import Daemon, ScriptedModel, words_of
from hypothesis import given
from hypothesis import strategies as st

from daemon import control, orders
from daemon.config import Config, LineConfig
from daemon.errors import BadOrder, BrokenOff, ConfigError, MachineBusy, OrderRefused
from daemon.orders import Ended, Print, Progress, Punch, Read, Refused, Report, Take
from daemon.reach import glance, reached
from drivers.errors import LineNotFound
from drivers.profile import Profile
from drivers.virtual import Fitted

MEMORY = Config(line=LineConfig("memory"))


def quiet(done: int, total: int) -> None: ...


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "asr33"


@asynccontextmanager
async def started(folder: Path, words: str = "so.", **also: Any) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder, ScriptedModel(words_of(words)), **also)
    async with control.serving(daemon.app, "memory"):
        await daemon.app.listening.wait()
        yield daemon
    daemon.running.cancel()
    await asyncio.wait({daemon.running})


def test_a_text_is_printed_between_two_readies(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            told: list[tuple[int, int]] = []
            async with reached(MEMORY) as machine:
                await machine.do(Print("Hello, world.\n" * 8), lambda done, total: told.append((done, total)))
            await asyncio.sleep(3)
            assert daemon.paper.endswith("READY\n" + "HELLO, WORLD.\n" * 8 + "\nREADY\n")
            assert told[-1] == (112, 112)
            await daemon.type("GO ON")
            assert daemon.app.tty.counters.hang_ups == 0
            assert "SO." in daemon.paper
            daemon.bench.assert_clean()

    jump(main())


def test_what_is_typed_meanwhile_is_typed_ahead(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            async with reached(MEMORY) as machine:
                asyncio.get_running_loop().call_later(5, daemon.line.key, "WHO IS ADA\r")
                await machine.do(Print(PROSE), quiet)
            await asyncio.sleep(30)
            assert "WISDOM.\n\nREADY\nWHO IS ADA\nSO.\n" in daemon.paper
            daemon.bench.assert_clean()

    jump(main())


def test_a_machine_at_which_somebody_types_is_busy_or_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            daemon.line.key("WHO")
            await asyncio.sleep(1)
            with pytest.raises(MachineBusy, match=r"somebody types.*--wait"):
                async with reached(MEMORY):
                    pass
            queued: list[None] = []
            asyncio.get_running_loop().call_later(20, daemon.line.key, "\r")
            async with reached(MEMORY, wait=True, queued=lambda: queued.append(None)) as machine:
                assert asyncio.get_running_loop().time() > 20
                await machine.do(Print("later"), quiet)
            await asyncio.sleep(3)
            assert "WHO\nSO.\n\nREADY\nLATER\n\nREADY\n" in daemon.paper
            assert queued

    jump(main())


def test_break_ends_the_job_and_says_after_how_much(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            async with reached(MEMORY) as machine:
                begun = len(daemon.line.wire)
                asyncio.get_running_loop().call_later(6, daemon.line.press_break)
                with pytest.raises(BrokenOff, match=r"by BREAK after (\d+) characters") as caught:
                    await machine.do(Print(PROSE), quiet)
                struck = len(daemon.line.wire) - begun
            assert str(struck) in str(caught.value)
            assert 50 < struck < 70
            await asyncio.sleep(3)
            assert daemon.paper.endswith("\n\nREADY\n")
            daemon.bench.assert_clean()

    jump(main())


@pytest.mark.parametrize(
    "order",
    [
        Print("-" * 72 + "\n" + "WORDS AND SO ON " * 4),
        Print("/" * 70 + "\n" + "X" * 70, raw=True),
        Punch(b"HELLO\r\n" * 12),
    ],
)
def test_progress_is_told_every_second_by_what_is_struck(tmp_path: Path, order: Any) -> None:
    async def main() -> None:
        profile = Profile(duplex="full", auto_punch=True)
        async with started(tmp_path, profile=profile, line=StationLine(Fitted(profile))):
            loop = asyncio.get_running_loop()
            told = [(loop.time(), 0)]
            async with reached(MEMORY) as machine:
                await machine.do(order, lambda done, total: told.append((loop.time(), done)))
            assert loop.time() - told[0][0] > 6
            gaps = [later[0] - earlier[0] for earlier, later in pairwise(told)]
            steps = [later[1] - earlier[1] for earlier, later in pairwise(told)]
            assert max(gaps) <= 1.0
            assert all(0 <= step <= 10 for step in steps[:-1])

    jump(main())


def test_whoever_stops_it_is_told_how_far_it_came(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:

            async def print_it() -> None:
                async with reached(MEMORY) as machine:
                    await machine.do(Print(PROSE), quiet)

            begun = len(daemon.line.wire)
            printing = asyncio.ensure_future(print_it())
            await asyncio.sleep(5)
            struck = len(daemon.line.wire) - begun
            printing.cancel()
            with pytest.raises(asyncio.CancelledError, match=r"stopped after \d+ characters") as caught:
                await printing
            assert 0 <= int(str(caught.value).split()[2]) - struck <= 2

    jump(main())


def test_break_gives_back_a_machine_that_waits_for_its_borrower(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon, reached(MEMORY) as machine:
            await machine.do(Print("-- SWITCH THE PUNCH ON --"), quiet)
            daemon.line.press_break()
            await asyncio.sleep(3)
            assert daemon.app.idle
            with pytest.raises(BrokenOff):
                await machine.do(Punch(b"HELLO"), quiet)

    jump(main())


def test_a_glance_takes_nothing_and_says_who_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="no line to print on"):
            await glance(Config())
        with pytest.raises(LineNotFound):
            await glance(Config(line=LineConfig("/dev/nothing-there")))
        async with started(tmp_path) as daemon:
            before = len(daemon.line.wire)
            await glance(MEMORY)
            assert len(daemon.line.wire) == before
            daemon.line.key("WHO")
            await asyncio.sleep(1)
            with pytest.raises(MachineBusy, match=r"somebody types.*--wait"):
                await glance(MEMORY)

    jump(main())


@pytest.mark.parametrize("leaves", ["cancelled", "gone"])
def test_a_caller_who_leaves_takes_his_work_with_him(tmp_path: Path, leaves: str) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:

            async def print_it() -> None:
                async with reached(MEMORY) as machine:
                    await machine.do(Print(PROSE), quiet)

            if leaves == "cancelled":
                work = asyncio.ensure_future(print_it())
            else:
                reader, writer = await asyncio.open_unix_connection(tmp_path / "asr33" / socket_name())
                writer.write(orders.encode(Take()))
                await reader.readline()
                writer.write(orders.encode(Print(PROSE)))
            await asyncio.sleep(5)
            struck = len(daemon.line.wire)
            if leaves == "cancelled":
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work
            else:
                writer.close()
            await asyncio.sleep(3)
            tail = bytes(byte & 0x7F for byte in daemon.line.wire[struck:]).decode()
            assert tail.endswith("\r\n\nREADY\r\n")
            assert len(tail) <= len("xx\r\n\nREADY\r\n")
            assert daemon.app.idle
            daemon.bench.assert_clean()

    jump(main())


def test_what_was_stopped_is_not_called_done(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "asr33" / socket_name())
            writer.write(orders.encode(Take()))
            assert orders.reply_of(await reader.readline()) == orders.Taken()
            writer.write(orders.encode(Print(PROSE)))
            await asyncio.sleep(3)
            writer.write(orders.encode(orders.Stop()))
            reply: Any = Progress(0, 0)
            while isinstance(reply, Progress):
                reply = orders.reply_of(await reader.readline())
            assert isinstance(reply, Ended)
            assert reply.how == "stopped"
            assert 20 < reply.struck < 35
            writer.close()

    jump(main())


def test_a_tape_is_punched_and_read_back_in_one_loan(tmp_path: Path) -> None:
    async def main() -> None:
        profile = Profile(duplex="full", auto_reader=True, auto_punch=True)
        line = StationLine(Fitted(profile))
        async with started(tmp_path, profile=profile, line=line) as daemon:
            async with reached(MEMORY) as machine:
                assert machine.profile == profile
                await machine.do(Punch(b"\0\0HELLO\r\n\xff\xff\0\0"), quiet)
                line.station.reader.load(bytes(line.station.punch.tape))
                rows = await machine.do(Read(), quiet)
            assert rows.strip(b"\0").startswith(b"HELLO\r\n\xff\xff\0\0")
            assert daemon.app.tty.counters.struck > 0
            assert line.machine.faults == []

    jump(main())


def test_several_wait_for_their_turn_and_no_two_mix(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:

            async def print_it(text: str) -> None:
                async with reached(MEMORY, wait=True) as machine:
                    await machine.do(Print(text), quiet)

            await asyncio.gather(*(print_it(letter * 30) for letter in "ABCDE"))
            lines = [line for line in daemon.paper.splitlines() if set(line) & set("ABCDE") and len(line) == 30]
            assert sorted(lines) == [letter * 30 for letter in "ABCDE"]
            daemon.bench.assert_clean()

    jump(main())


def socket_name() -> str:
    return f"{control.name_of('memory')}.sock"


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
def test_a_bad_line_gets_a_reason_and_does_no_harm(tmp_path: Path, line: bytes) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            replies = [
                orders.reply_of(reply) for reply in await talk(tmp_path, line, orders.encode(orders.AskStatus()))
            ]
            assert [type(reply) for reply in replies] == [Refused, Report]
            assert daemon.app.idle

    jump(main())


def test_a_line_without_end_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            with contextlib.suppress(ConnectionError):
                replies = await talk(tmp_path, b"x" * (orders.LINE_BYTES + 10))
                assert [type(orders.reply_of(reply)) for reply in replies] == [Refused]
            assert daemon.app.idle

    jump(main())


def test_without_the_machine_nothing_is_printed(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            before = len(daemon.line.wire)
            [reply] = await talk(tmp_path, orders.encode(Print("x")))
            assert orders.reply_of(reply) == Refused("take the machine first", 76)
            assert len(daemon.line.wire) == before

    jump(main())


def test_a_daemon_that_leaves_says_so_to_who_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path) as daemon:
            daemon.line.key("WHO")
            await asyncio.sleep(1)

            async def wait_for_it() -> None:
                async with reached(MEMORY, wait=True):
                    pass

            waiting = asyncio.ensure_future(wait_for_it())
            await asyncio.sleep(1)
        with pytest.raises((OrderRefused, MachineBusy)):
            await waiting

    jump(main())


def test_a_socket_left_by_a_killed_daemon_is_replaced_and_no_other(tmp_path: Path, runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(runtime / socket_name()))

    async def main() -> None:
        async with started(tmp_path):
            async with reached(MEMORY):
                pass
            modes.append(os.stat(runtime / socket_name()).st_mode & 0o777)  # noqa: PTH116

    modes: list[int] = []
    jump(main())
    assert modes == [0o600]
    assert not (runtime / socket_name()).exists()


@pytest.mark.parametrize("wrong", ["writable by all", "no folder"])
def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, runtime: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    if wrong == "no folder":
        runtime.touch()
    else:
        runtime.mkdir()
        runtime.chmod(0o777)

    async def main() -> None:
        async with started(tmp_path) as daemon:
            await daemon.type("STILL")
            assert "will not find this daemon" in caplog.text

    jump(main())


def test_with_several_daemons_one_must_be_named(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "other").mkdir()
        async with started(tmp_path) as one:
            async with reached(Config()) as machine:
                await machine.do(Print("the only one"), quiet)
            assert "THE ONLY ONE" in one.paper
            async with control.serving(one.app, "another"):
                with pytest.raises(ConfigError, match=r"several daemons run.*another"):
                    async with reached(Config()):
                        pass

    jump(main())


def all_of_them() -> st.SearchStrategy[Any]:
    texts = st.text()
    return st.one_of(
        st.builds(Take, st.booleans()),
        st.builds(Print, texts, st.booleans(), st.sampled_from(["prose", "code"]), st.booleans()),
        st.builds(Punch, st.binary(), st.booleans()),
        st.builds(orders.AskStatus),
    )


@given(all_of_them())
def test_orders_come_through_as_they_were_given(order: Any) -> None:
    assert orders.order_of(orders.encode(order)) == order


@given(
    st.one_of(
        st.builds(Progress, st.integers(), st.integers()),
        st.builds(Ended, st.sampled_from(["done", "break", "stopped"]), st.integers(), st.binary()),
        st.builds(Refused, st.text(), st.integers()),
    )
)
def test_replies_too(reply: Any) -> None:
    assert orders.reply_of(orders.encode(reply)) == reply


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_bad_order(line: bytes) -> None:
    with contextlib.suppress(BadOrder):
        orders.order_of(line)
