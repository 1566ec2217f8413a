"""The calibration print, with a virtual machine of every kind and an operator who only looks at its paper."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import JumpingClock, SimLine, read_terminal_until, run_jumping, terminal
from fakes_room import opened

from daemon.config import load_config
from drivers.profile import Profile, profile_to_toml
from drivers.virtual import FAST, GUMMY, TYPICAL, Equipment
from tools.calibration import Calibration, CalibrationResult, ruler
from tools.calibration_answers import AnswerHistory
from tools.cli.output import write_atomic

ROOT = Path(__file__).resolve().parents[1]


class Looker:
    """Answers what is asked on the paper by what stands on the paper; knows of the machine what its owner knows."""

    def __init__(self, line: SimLine, fitted: Equipment) -> None:
        self._line, self._fitted = line, fitted
        self.asked: list[str] = []

    def _sheet(self) -> list[list[str]]:
        """The patterns: no empty lines, and no questions."""
        lines = self._line.typing_unit.paper.lines
        return [
            line
            for line in lines
            if any(cell.strip() for cell in line) and not "".join(line).rstrip("YESN").endswith("? ")
        ]

    def sees(self, question: str) -> bool:
        profile, above = self._fitted.profile, self._sheet()
        last = ["".join(cell.split()) for cell in above[-1]]
        if "STAND ON EACH OTHER" in question:
            return set(last[-1]) == {"I", "-"}
        if "NEW LINE BY ITSELF" in question:
            return [cell for cell in last if cell] == ["-"]
        if "I'S STAND ON THE H'S" in question:
            return last[:8] == ["HI"] * 8
        if "LOWER I'S" in question:
            return last[:8] == ["I"] * 8
        if "CLEAN H" in question:
            return all(line[0] == "H" and "H" not in "".join(line[1:]) for line in above[-4:])
        if "ARROW" in question:
            return profile.wheel == "1963"
        if "READER" in question:
            return profile.auto_reader
        if "DID IT PUNCH" in question:
            return b"PUNCHED" in bytes(row & 0x7F for row in self._line.sim.punch.tape)
        return {"PUNCH OBEY": profile.auto_punch, "ANSWERBACK": profile.answerback}.get(
            next((word for word in ("PUNCH OBEY", "ANSWERBACK") if word in question), ""), True
        )


async def calibrated(
    fitted: Equipment, *, at_terminal: bool = False, slips: Collection[str] = ()
) -> tuple[CalibrationResult, SimLine, Looker]:
    """`slips`: to a question with one of these words the answer is wrong once, and then taken back."""
    slipped: list[str] = []
    line = SimLine(fitted)
    looker = Looker(line, fitted)
    told: asyncio.Queue[str] = asyncio.Queue()

    answers: asyncio.Queue[str] = asyncio.Queue()

    async def operate() -> None:
        while True:
            question = await told.get()
            if "press BREAK" in question:
                await asyncio.sleep(3)
                await line.press_break()
            if not question.endswith("? "):
                continue
            looker.asked.append(question)
            await asyncio.sleep(len(question) * 0.1 + 3)
            if len(looker.asked) == 2:
                await line.type("?\r")
                continue
            answer = "YES" if looker.sees(question) else "N"
            if slipped and slipped[-1] != "":
                slipped.append("")
                answer = "BACK"
            elif slip := next((word for word in slips if word in question and word not in slipped), ""):
                slipped.append(slip)
                answer = "N" if answer == "YES" else "YES"
            if at_terminal:
                answers.put_nowait(f" {answer.lower()} ")
            else:
                await line.type(answer + "\r")

    operating = asyncio.ensure_future(operate())
    calibrating = asyncio.ensure_future(
        Calibration(line, JumpingClock(), Profile(), answers.get, told.put_nowait).run()
    )
    either: set[asyncio.Future[Any]] = {operating, calibrating}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if operating.done():
        calibrating.cancel()
        operating.result()
    operating.cancel()
    return calibrating.result(), line, looker


BARE = Profile(duplex="full", break_detect="marked")


@pytest.mark.parametrize(
    "fitted",
    [
        Equipment(BARE, mechanism=FAST),
        Equipment(replace(BARE, travel_ms=150), mechanism=TYPICAL, key_parity="mark"),
        Equipment(replace(BARE, travel_ms=200, columns=74, wheel="1963"), mechanism=GUMMY, key_parity="space"),
        Equipment(replace(BARE, columns=71), break_mode="marked"),
        Equipment(replace(BARE, columns=64)),
        Equipment(replace(BARE, columns=86)),
        Equipment(replace(BARE, columns=72, auto_return=True)),
        Equipment(replace(BARE, return_feeds=True)),
        Equipment(replace(BARE, feed_returns=True)),
        Equipment(replace(BARE, duplex="half")),
        Equipment(replace(BARE, break_detect="nul"), break_mode="nul"),
        Equipment(
            replace(BARE, auto_reader=True, auto_punch=True, answerback=True),
            tape=bytes(10) + b"HELLO",
            every_other=True,
        ),
    ],
    ids=lambda fitted: profile_to_toml(fitted.profile).replace("\n", " ") + fitted.body.name,
)
def test_what_is_found_is_what_the_machine_is(fitted: Equipment) -> None:
    travel_ms = {FAST: 150, TYPICAL: 150, GUMMY: 200}[fitted.mechanism]
    if fitted.profile.columns > 80:
        travel_ms = 150

    async def main() -> None:
        found, line, looker = await calibrated(fitted)
        assert found.profile == replace(fitted.profile, travel_ms=travel_ms)
        assert found.duplex == fitted.profile.duplex
        assert found.keyboard_parity == fitted.key_parity
        assert line.typing_unit.overspeed == []
        assert bool(found.answerback) == fitted.profile.answerback
        assert looker.asked[1] == looker.asked[2]
        assert "THAT IS ALL." in line.typing_unit.paper.text()

    run_jumping(main())


def test_answers_may_come_from_the_terminal() -> None:
    async def main() -> None:
        found, line, _ = await calibrated(Equipment(replace(BARE, wheel="1963")), at_terminal=True)
        assert found.profile == replace(BARE, wheel="1963", travel_ms=150)
        assert found.keyboard_parity is None
        assert line.typing_unit.overspeed == []

    run_jumping(main())


def test_a_wrong_answer_is_taken_back() -> None:
    async def main() -> None:
        slips = ("LOWER I'S", "CLEAN H", "ARROW", "READER")
        fitted = Equipment(replace(BARE, auto_punch=True, answerback=True))
        found, line, looker = await calibrated(fitted, slips=slips)
        assert found.profile == replace(fitted.profile, travel_ms=150)
        assert found.answerback
        assert line.typing_unit.overspeed == []
        for word in slips[:3]:
            asked = [question for question in looker.asked if word in question]
            assert asked[0] == asked[1]
        assert sum("I'S STAND ON THE H'S" in question for question in looker.asked) == 1

    run_jumping(main())


def test_nothing_is_taken_back_from_before_the_first_answer() -> None:
    answers = AnswerHistory()
    answers.forget_last()

    async def main() -> None:
        async def learn() -> int:
            return 1

        async def learn_more() -> int:
            return 2

        assert await answers.ask_once(learn, "A") == 1
        assert await answers.ask_once(learn) == 1
        answers.forget_last()
        answers.restart()
        assert await answers.ask_once(learn_more, "A") == 2
        answers.restart()
        assert await answers.ask_once(learn, "A") == 2

    asyncio.run(main())


@pytest.mark.pace
def test_it_says_at_once_that_it_prints_and_control_c_leaves(tmp_path: Path) -> None:
    with opened(tmp_path) as room, terminal() as (hand, tty):
        room.machine()
        words = ["calibrate", "--line", str(room.link), "--output", str(tmp_path / "machine.toml")]
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.main", *words], cwd=ROOT, env=room.environ, stdin=tty, stderr=tty
        )
        begun = time.monotonic()
        read_terminal_until(hand, "answer there or here; Ctrl-C leaves, and writes nothing")
        assert time.monotonic() - begun < 10
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert not (tmp_path / "machine.toml").exists()


def test_a_carriage_slower_than_all_is_given_more_time() -> None:
    async def main() -> None:
        body = replace(GUMMY, per_column_s=0.008)
        found, _, _ = await calibrated(Equipment(BARE, mechanism=body))
        assert found.profile.travel_ms == 500

    run_jumping(main())


def test_the_ruler_has_one_strike_more_than_it_is_asked_for() -> None:
    for count in range(20, 132):
        assert len(ruler(count)) == count + 1
        assert ruler(count).endswith("-I-")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    found = Profile(columns=74, wheel="1963", travel_ms=250)
    write_atomic(tmp_path / "machine.toml", profile_to_toml(found).encode())
    config = load_config(
        {}, {"XDG_CONFIG_HOME": "/nonexistent"}, system_folder=tmp_path, machine_file=tmp_path / "machine.toml"
    )
    assert config.machine == found
    assert [path.name for path in tmp_path.iterdir()] == ["machine.toml"]


def refused(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", "calibrate", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_what_cannot_be_written_is_said_before_anybody_has_answered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = refused("--line", "/dev/null", "--output", str(tmp_path / "file" / "machine.toml"))
    assert (code, said.count("\n")) == (74, 1), said
    assert "--output" in said
