"""The carbon copy: the same characters at the same time, and a copy that is slow or gone delays no paper."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_sandbox import Sandbox, open_sandbox, wait_for
from fakes_teletype import run_jumping

from daemon.carbon_copy import MAX_WAITING, CarbonCopy
from daemon.config import Config, CopyConfig
from daemon.copy_sinks import CopyFile, sinks_of
from daemon.errors import ConfigError
from drivers.errors import LineLost
from drivers.events import CharacterStruck, KeyReceived
from drivers.text.charset import strip_parity


class LoopClock:
    """The clock of the event loop, which jumps."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - self.now()))


class FakeSink:
    """A second machine that can be unplugged, and that can stop reading."""

    name, character_s = "second", 0.1

    def __init__(self) -> None:
        self.struck: list[tuple[float, int]] = []
        self.is_plugged = True
        self.reads = asyncio.Event()
        self.reads.set()

    @property
    def text(self) -> str:
        return "".join(chr(byte) for _, byte in self.struck)

    async def open(self) -> None:
        if not self.is_plugged:
            raise LineLost("second: it is gone")

    async def write(self, byte: int) -> None:
        if not self.is_plugged:
            raise LineLost("second: it is gone")
        await self.reads.wait()
        self.struck.append((asyncio.get_running_loop().time(), byte))

    async def close(self) -> None:
        pass


def struck(byte: int) -> CharacterStruck:
    now = asyncio.get_running_loop().time()
    return CharacterStruck(now, now, byte, 0)


async def print_text(copy: CarbonCopy, text: str, pause_s: float = 0.1) -> None:
    for char in text:
        copy.on_event(struck(ord(char)))
        await asyncio.sleep(pause_s)


def intervals() -> Iterator[float]:
    return itertools.repeat(1.0)


def test_the_copy_has_the_same_characters_at_the_same_time() -> None:
    async def main() -> None:
        sink = FakeSink()
        copy = CarbonCopy(sink, LoopClock(), intervals)
        await asyncio.sleep(5)
        began = asyncio.get_running_loop().time()
        await print_text(copy, "HELLO\r\nWORLD\x07")
        copy.on_event(KeyReceived(0.0, 0x41))
        await copy.close()
        assert sink.text == "\r\nHELLO\r\nWORLD\x07"
        assert [at for at, _ in sink.struck[2:]] == pytest.approx([began + n / 10 for n in range(13)])

    run_jumping(main())


def test_no_code_for_a_reader_or_a_punch_is_copied() -> None:
    async def main() -> None:
        sink = FakeSink()
        copy = CarbonCopy(sink, LoopClock(), intervals)
        await print_text(copy, "".join(map(chr, range(128))))
        await copy.close()
        assert sink.text.removeprefix("\r\n") == "\x07\n\r" + "".join(map(chr, range(0x20, 0x60)))

    run_jumping(main())


def test_a_copy_that_was_late_goes_no_faster_than_the_machine_and_loses_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        sink = FakeSink()
        copy = CarbonCopy(sink, LoopClock(), intervals)
        await asyncio.sleep(1)
        await print_text(copy, "AB")
        sink.is_plugged = False
        await print_text(copy, "CDEFGHIJ\r\nKL")
        sink.is_plugged = True
        await print_text(copy, "M\r\nN")
        await asyncio.sleep(10)
        assert sink.text == "\r\nAB\r\nCDEFGHIJ\r\nKLM\r\nN"
        times = [at for at, _ in sink.struck]
        assert min(after - before for before, after in itertools.pairwise(times)) >= 0.0999
        await copy.close()

    run_jumping(main())
    assert [record.message for record in caplog.records if "carbon" in record.message] == [
        "the carbon copy to second: second: it is gone; the paper goes on, the copy when it can",
    ]


def test_a_copy_that_reads_nothing_for_long_loses_whole_lines_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        sink = FakeSink()
        copy = CarbonCopy(sink, LoopClock(), intervals)
        await asyncio.sleep(1)
        sink.reads.clear()
        line = "X" * 48 + "\r\n"
        lines = MAX_WAITING // len(line) * 3
        began = asyncio.get_running_loop().time()
        for _ in range(lines):
            await print_text(copy, line)
        assert asyncio.get_running_loop().time() - began == pytest.approx(lines * len(line) / 10)
        sink.reads.set()
        await print_text(copy, "Y" * 10 + "\r\n")
        await asyncio.sleep(120)
        before, _, after = sink.text.partition("-- ")
        count, _, rest = after.partition(" CHARACTERS ARE MISSING --\r\n")
        assert before.count("X") <= 1
        assert rest.endswith("Y" * 10 + "\r\n")
        kept = rest.removesuffix("Y" * 10 + "\r\n")
        assert kept == line * (len(kept) // len(line))
        assert int(count) + len(kept) == lines * len(line) - before.count("X") + 1
        await copy.close()

    run_jumping(main())
    told = [record.message for record in caplog.records if "carbon" in record.message]
    assert told[0] == "the carbon copy to second: it takes no characters; the paper goes on, the copy when it can"
    assert len(told) == 2
    assert "characters are missing in it" in told[1]


def test_a_copy_that_takes_nothing_does_not_delay_the_end() -> None:
    async def main() -> None:
        sink = FakeSink()
        sink.reads.clear()
        copy = CarbonCopy(sink, LoopClock(), intervals)
        await print_text(copy, "HELLO")
        began = asyncio.get_running_loop().time()
        await copy.close()
        assert asyncio.get_running_loop().time() - began < 3

    run_jumping(main())


def copy_to_file(path: Path, text: str) -> None:
    async def main() -> None:
        sink = CopyFile(path)
        await sink.open()
        for char in "\r\n" + text:
            await sink.write(ord(char))
        await sink.close()

    asyncio.run(main())


def test_a_file_has_the_lines_and_the_passes_of_an_overprinted_one(tmp_path: Path) -> None:
    path = tmp_path / "copy.txt"
    copy_to_file(path, "HELLO\r\nABC\r___\r\n\r\nBEGUN\x07")
    assert path.read_bytes() == b"HELLO\nABC\r___\n\nBEGUN"
    copy_to_file(path, "AGAIN\r\n")
    assert path.read_bytes() == b"HELLO\nABC\r___\n\nBEGUN\nAGAIN\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_moved_is_begun_anew_at_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "copy.txt"

    async def main() -> None:
        sink = CopyFile(path)
        await sink.open()
        for char in "ONE":
            await sink.write(ord(char))
        path.rename(tmp_path / "old.txt")
        for char in " TWO\r\nTHREE\r\n":
            await sink.write(ord(char))
        await sink.close()

    asyncio.run(main())
    assert (tmp_path / "old.txt").read_text() == "ONE TWO\n"
    assert path.read_text() == "THREE\n"


def test_the_machine_itself_is_no_copy(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="the machine itself"):
        sinks_of(Config(copy=CopyConfig(line=str(tmp_path / "link"))), "/dev/null")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def read_struck(path: Path) -> str:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return "".join(chr(strip_parity(json.loads(line)["byte"])) for line in lines if line.endswith("\n"))


def test_a_second_machine_and_a_file_follow_a_real_daemon(sandbox: Sandbox, tmp_path: Path) -> None:
    second_line, second_events, file = tmp_path / "second", tmp_path / "second.jsonl", tmp_path / "copy.txt"
    words = ("virtual", "--link", str(second_line), "--events", str(second_events), "--fast")
    machine, second = sandbox.start_machine("--fast"), sandbox.start(*words)
    wait_for(second_line.exists)
    daemon = sandbox.start_daemon("--fast", "--copy", str(second_line), "--copy-file", str(file), "--length", "40")

    def type_line(line: str) -> None:
        before = sandbox.paper_text().count("READY\n")
        assert machine.stdin is not None
        machine.stdin.write(line.encode() + b"\n")
        machine.stdin.flush()
        wait_for(lambda: sandbox.paper_text().count("READY\n") > before)

    type_line("HELLO")
    first_paper = "".join(map(chr, sandbox.strikes()))
    wait_for(lambda: read_struck(second_events).lstrip() == first_paper.lstrip())
    first_lines = first_paper.replace("\r\n", "\n").replace("\r", "").lstrip()
    wait_for(lambda: file.read_text().lstrip() == first_lines)
    second.send_signal(signal.SIGKILL)
    second.wait()
    type_line(".ONE")
    os.unlink(second_line)  # noqa: PTH108
    again = sandbox.start(*words)
    wait_for(lambda: "NO COMMAND .ONE" in read_struck(second_events), 30)
    type_line(".PRIVATE")
    type_line(".SECRET")
    type_line(".PUBLIC")
    type_line(".LAST")
    wait_for(lambda: read_struck(second_events).endswith("READY\r\n") and ".LAST" in read_struck(second_events))
    assert ".SECRET" in sandbox.paper_text()
    assert "SECRET" not in read_struck(second_events) + file.read_text()
    daemon.terminate()
    _, messages = daemon.communicate(timeout=30)
    told = [line for line in messages.decode().splitlines() if "carbon copy" in line]
    assert len(told) == 2
    assert "the line hung up" in told[0]
    assert "goes on" in told[1]
    again.terminate()
