"""The guided calibration, with virtual machines of all kinds and an operator who reads their paper."""

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
from fakes_sandbox import open_sandbox
from fakes_teletype import JumpingClock, SimLine, read_terminal_until, run_jumping, terminal

from daemon.config import load_config
from drivers.profile import Profile, profile_to_toml
from drivers.virtual import FAST, GUMMY, TYPICAL, Equipment
from tools.calibrate.calibration import Calibration, CalibrationResult, ruler
from tools.calibrate.dialogue import AnswerHistory
from tools.cli.output import write_atomic

ROOT = Path(__file__).resolve().parents[1]


class FakeOperator:
    """Answers the questions on the paper from the patterns on it; knows which options the machine has."""

    def __init__(self, line: SimLine, equipment: Equipment) -> None:
        self._line, self._equipment = line, equipment
        self.answered_questions: list[str] = []

    def _sheet(self) -> list[list[str]]:
        """Returns the printed patterns, without empty lines and questions."""
        lines = self._line.typing_unit.paper.lines
        return [
            line
            for line in lines
            if any(cell.strip() for cell in line) and not "".join(line).rstrip("YESN").endswith("? ")
        ]

    def sees(self, question: str) -> bool:
        profile, above = self._equipment.profile, self._sheet()
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


async def calibrate(
    equipment: Equipment, *, at_terminal: bool = False, slips: Collection[str] = ()
) -> tuple[CalibrationResult, SimLine, FakeOperator]:
    """Runs a calibration. `slips`: words of questions that are answered wrongly once; the answer is taken back."""
    slipped: list[str] = []
    line = SimLine(equipment)
    operator = FakeOperator(line, equipment)
    questions: asyncio.Queue[str] = asyncio.Queue()

    answers: asyncio.Queue[str] = asyncio.Queue()

    async def operate() -> None:
        while True:
            question = await questions.get()
            if "press BREAK" in question:
                await asyncio.sleep(3)
                await line.press_break()
            if not question.endswith("? "):
                continue
            operator.answered_questions.append(question)
            await asyncio.sleep(len(question) * 0.1 + 3)
            if len(operator.answered_questions) == 2:
                await line.type("?\r")
                continue
            answer = "YES" if operator.sees(question) else "N"
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
        Calibration(line, JumpingClock(), Profile(), answers.get, questions.put_nowait).run()
    )
    either: set[asyncio.Future[Any]] = {operating, calibrating}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if operating.done():
        calibrating.cancel()
        operating.result()
    operating.cancel()
    return calibrating.result(), line, operator


BARE = Profile(duplex="full", break_detect="marked")


@pytest.mark.parametrize(
    "equipment",
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
    ids=lambda equipment: profile_to_toml(equipment.profile).replace("\n", " ") + equipment.mechanism.name,
)
def test_calibration_finds_the_machines_profile(equipment: Equipment) -> None:
    travel_ms = {FAST: 150, TYPICAL: 150, GUMMY: 200}[equipment.mechanism]
    if equipment.profile.columns > 80:
        travel_ms = 150

    async def main() -> None:
        result, line, operator = await calibrate(equipment)
        assert result.profile == replace(equipment.profile, travel_ms=travel_ms)
        assert result.duplex == equipment.profile.duplex
        assert result.keyboard_parity == equipment.key_parity
        assert line.typing_unit.overspeed == []
        assert bool(result.answerback) == equipment.profile.answerback
        assert operator.answered_questions[1] == operator.answered_questions[2]
        assert "THAT IS ALL." in line.typing_unit.paper.text()

    run_jumping(main())


def test_answers_may_come_from_the_terminal() -> None:
    async def main() -> None:
        result, line, _ = await calibrate(Equipment(replace(BARE, wheel="1963")), at_terminal=True)
        assert result.profile == replace(BARE, wheel="1963", travel_ms=150)
        assert result.keyboard_parity is None
        assert line.typing_unit.overspeed == []

    run_jumping(main())


def test_a_wrong_answer_is_taken_back() -> None:
    async def main() -> None:
        slips = ("LOWER I'S", "CLEAN H", "ARROW", "READER")
        equipment = Equipment(replace(BARE, auto_punch=True, answerback=True))
        result, line, operator = await calibrate(equipment, slips=slips)
        assert result.profile == replace(equipment.profile, travel_ms=150)
        assert result.answerback
        assert line.typing_unit.overspeed == []
        for word in slips[:3]:
            answered_questions = [question for question in operator.answered_questions if word in question]
            assert answered_questions[0] == answered_questions[1]
        assert sum("I'S STAND ON THE H'S" in question for question in operator.answered_questions) == 1

    run_jumping(main())


def test_before_the_first_answer_nothing_can_be_taken_back() -> None:
    answers = AnswerHistory()
    answers.forget_last()

    async def main() -> None:
        async def ask_first() -> int:
            return 1

        async def ask_again() -> int:
            return 2

        assert await answers.ask_once(ask_first, "A") == 1
        assert await answers.ask_once(ask_first) == 1
        answers.forget_last()
        answers.restart()
        assert await answers.ask_once(ask_again, "A") == 2
        answers.restart()
        assert await answers.ask_once(ask_first, "A") == 2

    asyncio.run(main())


@pytest.mark.pace
def test_it_reports_at_once_that_it_prints_and_ctrl_c_leaves(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox, terminal() as (hand, tty):
        sandbox.start_machine()
        words = ["calibrate", "--line", str(sandbox.link), "--output", str(tmp_path / "machine.toml")]
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.main", *words], cwd=ROOT, env=sandbox.environ, stdin=tty, stderr=tty
        )
        begun = time.monotonic()
        read_terminal_until(hand, "answer there or here; Ctrl-C leaves and writes nothing")
        assert time.monotonic() - begun < 10
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert not (tmp_path / "machine.toml").exists()


def test_a_very_slow_carriage_gets_more_time() -> None:
    async def main() -> None:
        body = replace(GUMMY, per_column_s=0.008)
        result, _, _ = await calibrate(Equipment(BARE, mechanism=body))
        assert result.profile.travel_ms == 500

    run_jumping(main())


def test_the_ruler_has_one_strike_more_than_its_count() -> None:
    for count in range(20, 132):
        assert len(ruler(count)) == count + 1
        assert ruler(count).endswith("-I-")


def test_a_written_profile_reads_back_unchanged(tmp_path: Path) -> None:
    result = Profile(columns=74, wheel="1963", travel_ms=250)
    write_atomic(tmp_path / "machine.toml", profile_to_toml(result).encode())
    config = load_config(
        {}, {"XDG_CONFIG_HOME": "/nonexistent"}, system_folder=tmp_path, machine_file=tmp_path / "machine.toml"
    )
    assert config.machine == result
    assert [path.name for path in tmp_path.iterdir()] == ["machine.toml"]


def run_calibrate(*words: str) -> tuple[int, str]:
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


def test_an_unwritable_output_is_refused_before_the_first_question(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, message = run_calibrate("--line", "/dev/null", "--output", str(tmp_path / "file" / "machine.toml"))
    assert (code, message.count("\n")) == (74, 1), message
    assert "--output" in message
