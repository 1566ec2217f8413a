"""A line that hangs up and comes back at any moment: the paper goes on where it was."""

from __future__ import annotations

import asyncio
from itertools import islice, pairwise
from pathlib import Path
from typing import IO

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_sandbox import open_sandbox, wait_for
from fakes_teletype import PROSE, TypingUnitLine, run_jumping

from daemon.line_connection import ReconnectingLine, retry_intervals
from drivers.errors import DriverError


class FlakyPort:
    """Opens the line after some attempts that find no port."""

    def __init__(self, line: TypingUnitLine, empty: int) -> None:
        self.line = line
        self.tries = 0
        self._empty = empty

    async def open(self) -> TypingUnitLine:
        self.tries += 1
        if self.tries <= self._empty:
            raise DriverError("no port memory", "missing")
        self.line = self.line.reconnect()
        return self.line


def answer_words(paper: str) -> list[str]:
    """Returns the words of the answer; a line that was broken off and printed again counts once."""
    lines = [line for line in paper.split("GO ON", 1)[1].splitlines() if line.strip()]
    complete = [line for line, after in pairwise([*lines, ""]) if not (after and after.startswith(line))]
    return [word for line in complete for word in line.split() if word not in ("GO", "ON", "READY")]


@pytest.mark.parametrize("tenths", range(1, 60, 3))
def test_an_answer_goes_on_in_the_same_sentence(tmp_path: Path, tenths: int, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words(PROSE)), wait_for_line=True)
        port = FlakyPort(daemon.bench.line, empty=3)
        connection = ReconnectingLine(port.line, port.open)
        reconnecting = asyncio.ensure_future(connection.reconnect_forever(daemon.tty))
        await daemon.type("GO ON")
        await asyncio.sleep(tenths / 10 + 0.05)
        daemon.bench.line.hang_up()
        await asyncio.sleep(90)
        assert port.tries == 4
        assert daemon.paper.endswith("READY\n")
        assert answer_words(daemon.paper) == PROSE.upper().split()
        assert len(daemon.log_records("lost")) == len(daemon.log_records("found")) == 1
        reconnecting.cancel()
        daemon.running.cancel()

    with caplog.at_level("INFO", "asr33"):
        run_jumping(main())
    messages = [record.message for record in caplog.records if "memory" in record.message]
    assert len(messages) == 2
    assert "trying again" in messages[0]
    assert "is back" in messages[1]


def test_a_partial_line_survives_a_hang_up(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(split_words("yes."))
        daemon = DaemonBench(tmp_path, model, wait_for_line=True)
        port = FlakyPort(daemon.bench.line, empty=30)
        reconnecting = asyncio.ensure_future(ReconnectingLine(port.line, port.open).reconnect_forever(daemon.tty))
        await daemon.session.listening.wait()
        daemon.line.press_keys("WHO IS ")
        await asyncio.sleep(2)
        daemon.bench.line.hang_up()
        await asyncio.sleep(400)
        port.line.press_keys("ADA\r")
        await asyncio.sleep(5)
        assert model.last_prompt == "Who is Ada"
        assert "WHO IS \nWHO IS ADA\n" in daemon.paper.replace("WHO IS\n", "WHO IS \n")
        reconnecting.cancel()
        daemon.running.cancel()

    run_jumping(main())


def test_a_daemon_without_its_line_stops_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words(PROSE)), wait_for_line=True)
        port = FlakyPort(daemon.bench.line, empty=10**6)
        reconnecting = asyncio.ensure_future(ReconnectingLine(port.line, port.open).reconnect_forever(daemon.tty))
        await daemon.type("GO ON")
        daemon.bench.line.hang_up()
        await asyncio.sleep(1000)
        before = daemon.bench.clock.now()
        for task in (reconnecting, daemon.running):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await daemon.tty.close()
        assert daemon.bench.clock.now() == before

    run_jumping(main())


# Alone: the pty of a killed machine may be reused by another test, and the daemon would write to it.
@pytest.mark.alone
def test_a_restarted_machine_is_found_again_by_its_link(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        first = sandbox.start_machine("--fast")
        daemon = sandbox.start_daemon("--fast")
        first.kill()
        first.wait(30)
        assert daemon.stderr is not None
        read_until(daemon.stderr, b"trying again")
        sandbox.events.unlink()
        second = sandbox.start_machine("--fast")
        read_until(daemon.stderr, b"is back")
        assert second.stdin is not None
        second.stdin.write(b".HELP\n")
        second.stdin.flush()
        wait_for(lambda: sandbox.events.exists() and "FORGET WHAT WAS SAID" in sandbox.paper_text())


def read_until(stderr: IO[bytes], message: bytes) -> None:
    while line := stderr.readline():
        if message in line:
            return
    raise AssertionError(f"no message has {message!r}")


@pytest.mark.alone
def test_sigterm_ends_a_daemon_that_waits_for_its_line(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        machine = sandbox.start_machine("--fast")
        daemon = sandbox.start_daemon("--fast")
        machine.kill()
        machine.wait(30)
        assert daemon.stderr is not None
        read_until(daemon.stderr, b"trying again")
        daemon.terminate()
        assert daemon.wait(30) == 0


def test_retries_come_every_second_first_and_every_ten_seconds_later() -> None:
    waits = list(islice(retry_intervals(), 40))
    assert waits[:10] == [1.0] * 10
    assert waits[-1] == 10.0
    assert all(sooner <= later for sooner, later in pairwise(waits))
