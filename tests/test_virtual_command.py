import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivers import errors, events
from drivers.clock import WallClock
from drivers.line import open_line
from drivers.teletype import Teletype

ROOT = Path(__file__).resolve().parents[1]
COMMAND = """
import argparse, sys
from tools import virtual
parser = argparse.ArgumentParser()
virtual.add_arguments(parser)
sys.exit(virtual.main(parser.parse_args()))
"""


def started(*args: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", COMMAND, *args],
        cwd=ROOT,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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

        async def main() -> None:
            line = await open_line(str(link))
            tty = Teletype(line, WallClock(), character_s=0.0)
            await tty.print("Hello, paper.\n")
            await line.close()

        asyncio.run(main())
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
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"asr33 virtual: .* remove it, or name another --link\n", err)


def test_in_a_terminal_control_c_is_break_and_twice_leaves(tmp_path):
    link = tmp_path / "tty"
    master, slave = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", COMMAND, "--link", str(link), "--fast"],
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        ) as process:
            wait_for(link)

            async def main() -> list[events.Event]:
                line = await open_line(str(link))
                seen: list[events.Event] = []
                tty = Teletype(line, WallClock(), tap=seen.append, character_s=0.0)
                await asyncio.sleep(0.2)
                os.write(master, b"a\x7f\x1b[A\x03")
                with pytest.raises(errors.Interrupted):
                    await tty.read_line("? ")
                await line.close()
                return seen

            seen = asyncio.run(main())
            assert [event.byte for event in seen if isinstance(event, events.Keyed)] == []
            assert [event.route for event in seen if isinstance(event, events.Broke)] == ["break"]
            shown = ""
            while "? ^C\r\n" not in shown:
                shown += os.read(master, 4096).decode()
            assert "Ctrl-C is BREAK; twice within a second leaves\r\n" in shown
            os.write(master, b"\x03\x03")
            assert process.wait(10) == 0
    finally:
        os.close(master)
        os.close(slave)
