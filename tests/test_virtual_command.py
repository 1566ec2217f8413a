import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen

import pytest
from fakes import shown_until, terminal

from drivers import errors, events
from drivers.clock import WallClock
from drivers.line import open_line
from drivers.teletype import Teletype
from drivers.virtual import Machine
from tools.virtual import show, twice_within

ROOT = Path(__file__).resolve().parents[1]
FULL = Path("/dev/full")
COMMAND = [sys.executable, "-W", "error", "-m", "tools.main", "virtual"]


@contextmanager
def started(*args: str, **streams: int) -> Iterator[Popen[str]]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    with Popen([*COMMAND, *args], cwd=ROOT, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def printed_on(link: Path, text: str) -> None:
    """All of a text, from a driver at the other end."""

    async def main() -> None:
        line = await open_line(str(link))
        tty = Teletype(line, WallClock(), character_s=0.0)
        with suppress(errors.LineLost):
            await tty.print(text)
            await tty.flush()
        await line.close()

    asyncio.run(main())


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_what_comes_and_leaves_cleanly_on_a_signal(tmp_path, number):
    link, log = tmp_path / "tty", tmp_path / "events"
    with started("--link", str(link), "--fast", "--events", str(log)) as process:
        wait_for(link)
        printed_on(link, "Hello, paper.\n")
        deadline = time.monotonic() + 5
        while (not log.exists() or log.read_text().count("\n") < 17) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out == "\nHELLO, PAPER.\n"
    assert re.fullmatch(rf"asr33 virtual: the line is {link}\r?\n", err)
    assert not link.is_symlink()
    strikes = [json.loads(line) for line in log.read_text().splitlines()]
    assert bytes(strike["byte"] for strike in strikes) == b"\r\nHELLO, PAPER.\r\n"
    assert [strike["column"] for strike in strikes[2:5]] == [0, 1, 2]
    assert not any(strike["smeared"] for strike in strikes)
    assert all(abs(strike["start"] - time.monotonic()) < 60 for strike in strikes)


def test_the_command_types_the_lines_of_stdin(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link), "--fast", stdin=subprocess.PIPE) as process:
        wait_for(link)

        async def main() -> str:
            line = await open_line(str(link))
            assert process.stdin is not None
            process.stdin.write("hello\n")
            process.stdin.flush()
            typed = await Teletype(line, WallClock(), character_s=0.0).read_line("? ")
            await line.close()
            return typed

        assert asyncio.run(main()) == "HELLO"
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_command_says_in_one_line_what_is_wrong_with_a_link(tmp_path):
    link = tmp_path / "tty"
    link.write_text("mine")
    with started("--link", str(link)) as process:
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (69, "")
    assert re.fullmatch(r"asr33: .* remove it, or name another --link\n", err)


def test_the_command_says_in_one_line_that_the_strikes_have_no_place(tmp_path):
    with started("--events", str(tmp_path / "no" / "strikes")) as process:
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (74, "")
    assert re.fullmatch(r"asr33: .*strikes cannot be written .*: name a file in a folder of yours\n", err)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_ends_the_record_of_strikes_and_not_the_paper(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link), "--fast", "--events", str(FULL)) as process:
        wait_for(link)
        printed_on(link, "Hello, paper.\n")
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["\n", "HELLO, PAPER.\n"]
        process.terminate()
        _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert err.count("no more strikes go to /dev/full (No space left on device); the paper goes on\n") == 1
    assert err.count("\n") == 2


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_paper_that_can_go_nowhere_ends_the_command_in_one_line(tmp_path):
    link = tmp_path / "tty"
    full = os.open(FULL, os.O_WRONLY)
    with started("--link", str(link), "--fast", stdout=full) as process:
        os.close(full)
        wait_for(link)
        printed_on(link, "Hello, paper.\n")
        _, err = process.communicate(timeout=10)
    assert process.returncode == 74
    assert re.fullmatch(r"asr33: the paper can go nowhere \(No space left on device\): .*", err.splitlines()[-1])
    assert len(err.splitlines()) == 2


def test_a_reader_of_the_paper_who_leaves_ends_the_command_quietly(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link), "--fast") as process:
        wait_for(link)
        assert process.stdout is not None
        process.stdout.close()
        printed_on(link, "Hello, paper.\n")
        assert process.wait(10) == 141
        assert process.stderr is not None
        assert len(process.stderr.read().splitlines()) == 1


def test_with_its_input_closed_the_machine_runs_all_the_same(tmp_path):
    link = tmp_path / "tty"
    words = ["sh", "-c", 'exec "$0" "$@" <&-', *COMMAND, "--link", str(link), "--fast"]
    with Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(link)
        printed_on(link, "Hello.\n")
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["\n", "HELLO.\n"]
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_second_machine_does_not_take_the_link_of_one_that_lives(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link)) as first:
        wait_for(link)
        where = link.readlink()
        with started("--link", str(link)) as second:
            _, err = second.communicate(timeout=10)
        assert second.returncode == 69
        assert re.fullmatch(r"asr33: .* which lives: remove it, or name another --link\n", err)
        assert link.readlink() == where
        first.terminate()
        first.communicate(timeout=10)


def test_in_a_terminal_control_c_is_break_and_twice_leaves(tmp_path):
    link = tmp_path / "tty"
    words = ["--link", str(link), "--fast"]
    with terminal() as (hand, tty), started(*words, stdin=tty, stdout=tty, stderr=tty) as process:
        assert "twice within a second leaves" in shown_until(hand, "leaves\r\n")
        deadline = time.monotonic() + 20
        while termios.tcgetattr(tty)[3] & termios.ISIG and time.monotonic() < deadline:
            time.sleep(0.02)

        async def main() -> list[events.Event]:
            line = await open_line(str(link))
            seen: list[events.Event] = []
            asked = asyncio.Event()

            def tap(event: events.Event) -> None:
                seen.append(event)
                if isinstance(event, events.Struck) and event.byte == 0x20:
                    asked.set()

            reading = asyncio.create_task(Teletype(line, WallClock(), tap=tap, character_s=0.0).read_line("? "))
            async with asyncio.timeout(10):
                await asked.wait()
                os.write(hand, b"a\x7f\x1b[A\x03")
                with pytest.raises(errors.Interrupted):
                    await reading
            await line.close()
            return seen

        seen = asyncio.run(main())
        assert [event.byte for event in seen if isinstance(event, events.Keyed)] == []
        assert [event.route for event in seen if isinstance(event, events.Broke)] == ["break"]
        shown_until(hand, "[?] \\^C\r*\n")
        os.write(hand, b"\x03\x03")
        assert process.wait(10) == 0


# Its parts.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("out", "shown"), [(Terminal(), "AB\r\nC\a\n\x1b[1CD"), (io.StringIO(), "AB\nC\nD")])
def test_a_terminal_shows_where_the_carriage_is_and_a_file_the_text(out, shown):
    machine = Machine(character_s=0.0)
    for moment, byte in enumerate(b"AB\r\nC\x07\nD"):
        show(machine.receive(byte, moment), out)
    assert out.getvalue() == shown


def test_control_c_leaves_the_second_time_within_a_second():
    moments = iter([5.0, 6.5, 7.2])
    leaves = twice_within(1.0, lambda: next(moments))
    assert [leaves(0), leaves(0), leaves(0)] == [False, False, True]
