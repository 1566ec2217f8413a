"""A line that is pulled out and put back, at any moment: the paper goes on where it was."""

from __future__ import annotations

import asyncio
from itertools import islice, pairwise
from pathlib import Path
from typing import IO

import pytest
from fakes import PROSE, TypingUnitLine, run_jumping
from fakes_daemon import Daemon, ScriptedModel, words_of
from fakes_room import opened, until

from daemon.reconnect import ReconnectingLine, retry_intervals
from drivers.errors import LineNotFound


class Socket:
    """Where a line is plugged in; for some tries nothing is there."""

    def __init__(self, line: TypingUnitLine, empty: int) -> None:
        self.line = line
        self.tries = 0
        self._empty = empty

    async def open(self) -> TypingUnitLine:
        self.tries += 1
        if self.tries <= self._empty:
            raise LineNotFound("no port memory")
        self.line = self.line.reconnect()
        return self.line


def whole(paper: str) -> list[str]:
    """The words of the answer, read as a person does who sees a line broken off and begun again."""
    lines = [line for line in paper.split("GO ON", 1)[1].splitlines() if line.strip()]
    kept = [line for line, after in pairwise([*lines, ""]) if not (after and after.startswith(line))]
    return [word for line in kept for word in line.split() if word not in ("GO", "ON", "READY")]


@pytest.mark.parametrize("tenths", range(1, 60, 3))
def test_an_answer_goes_on_in_the_same_sentence(tmp_path: Path, tenths: int, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel(words_of(PROSE)), patient=True)
        at = Socket(daemon.bench.line, empty=3)
        connection = ReconnectingLine(at.line, at.open)
        keeping = asyncio.ensure_future(connection.reconnect_forever(daemon.tty))
        await daemon.type("GO ON")
        await asyncio.sleep(tenths / 10 + 0.05)
        daemon.bench.line.hang_up()
        await asyncio.sleep(90)
        assert at.tries == 4
        assert daemon.paper.endswith("READY\n")
        assert whole(daemon.paper) == PROSE.upper().split()
        assert len(daemon.logged("lost")) == len(daemon.logged("found")) == 1
        keeping.cancel()
        daemon.running.cancel()

    with caplog.at_level("INFO", "asr33"):
        run_jumping(main())
    told = [record.message for record in caplog.records if "memory" in record.message]
    assert len(told) == 2
    assert "trying again" in told[0]
    assert "is back" in told[1]


def test_what_was_being_typed_is_there_again(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(words_of("yes."))
        daemon = Daemon(tmp_path, model, patient=True)
        at = Socket(daemon.bench.line, empty=30)
        keeping = asyncio.ensure_future(ReconnectingLine(at.line, at.open).reconnect_forever(daemon.tty))
        await daemon.app.listening.wait()
        daemon.line.press_keys("WHO IS ")
        await asyncio.sleep(2)
        daemon.bench.line.hang_up()
        await asyncio.sleep(400)
        at.line.press_keys("ADA\r")
        await asyncio.sleep(5)
        assert model.last_prompt == "Who is Ada"
        assert "WHO IS \nWHO IS ADA\n" in daemon.paper.replace("WHO IS\n", "WHO IS \n")
        keeping.cancel()
        daemon.running.cancel()

    run_jumping(main())


def test_a_daemon_without_its_line_leaves_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = Daemon(tmp_path, ScriptedModel(words_of(PROSE)), patient=True)
        at = Socket(daemon.bench.line, empty=10**6)
        keeping = asyncio.ensure_future(ReconnectingLine(at.line, at.open).reconnect_forever(daemon.tty))
        await daemon.type("GO ON")
        daemon.bench.line.hang_up()
        await asyncio.sleep(1000)
        before = daemon.bench.clock.now()
        for task in (keeping, daemon.running):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await daemon.tty.close()
        assert daemon.bench.clock.now() == before

    run_jumping(main())


# By itself: the pty that a killed machine's link points at may be another test's by then, and the daemon writes there.
@pytest.mark.pace
def test_a_machine_that_was_switched_off_and_on_is_found_again_by_its_name(tmp_path: Path) -> None:
    with opened(tmp_path) as room:
        first = room.machine("--fast")
        daemon = room.daemon("--fast")
        first.kill()
        first.wait(30)
        assert daemon.stderr is not None
        until_said(daemon.stderr, b"trying again")
        room.events.unlink()
        second = room.machine("--fast")
        until_said(daemon.stderr, b"is back")
        assert second.stdin is not None
        second.stdin.write(b".HELP\n")
        second.stdin.flush()
        until(lambda: room.events.exists() and "FORGET WHAT WAS SAID" in room.paper())


def until_said(said: IO[bytes], what: bytes) -> None:
    while line := said.readline():
        if what in line:
            return
    raise AssertionError(f"nobody said {what!r}")


@pytest.mark.pace
def test_sigterm_ends_a_daemon_that_waits_for_its_line(tmp_path: Path) -> None:
    with opened(tmp_path) as room:
        machine = room.machine("--fast")
        daemon = room.daemon("--fast")
        machine.kill()
        machine.wait(30)
        assert daemon.stderr is not None
        until_said(daemon.stderr, b"trying again")
        daemon.terminate()
        assert daemon.wait(30) == 0


def test_it_tries_every_second_at_first_and_every_ten_at_last() -> None:
    waits = list(islice(retry_intervals(), 40))
    assert waits[:10] == [1.0] * 10
    assert waits[-1] == 10.0
    assert all(sooner <= later for sooner, later in pairwise(waits))
