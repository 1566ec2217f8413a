"""The spool of a daemon as a process: kill -9, and the commands that use it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes_sandbox import Sandbox, open_sandbox, wait_for

from daemon.config import SpoolConfig
from daemon.errors import ConfigError
from daemon.spool.open_spool import find_zone, make_rules
from tools.main import main

LINES = 240


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        (tmp_path / "quick.toml").write_text("[spool]\nidle_s = 0\n")
        yield sandbox


def numbers_on(paper: str) -> list[int]:
    """The whole lines: a kill may tear one within its number, so each ends with a period."""
    return [int(number) for number in re.findall(r"^LINE (\d+)\.$", paper, re.MULTILINE)]


HEAD_STRIKES, LINE_STRIKES = 250, 11  # of the greeting, and of a line of the job


def check_kills(sandbox: Sandbox, kills: int) -> None:
    """Kills the daemon so often while it prints one job of many lines; each start goes on where the last one was."""
    rng = random.Random(kills)
    sandbox.start_machine("--fast")
    daemon = sandbox.start_daemon("--fast", "--config", str(sandbox.link.parent / "quick.toml"))
    text = "".join(f"line {number}.\n" for number in range(LINES))
    code, message = sandbox.run_command("print", "--spool", "--once", "today", "--keep", "1h", stdin=text.encode())
    assert (code, message) == (0, "asr33: job 1: place 1, 0 s until paper\n")
    for kill in range(kills):
        target = LINES * (kill + 1) // (kills + 1) - rng.randrange(max(1, LINES // (kills + 1)))
        wait_for(lambda target=target: sandbox.events.read_bytes().count(b"\n") >= HEAD_STRIKES + LINE_STRIKES * target)
        daemon.kill()
        daemon.wait(30)
        daemon = sandbox.start(
            "run", "--line", str(sandbox.link), "--fast", "--config", str(sandbox.link.parent / "quick.toml")
        )
    wait_for(lambda: f"LINE {LINES - 1}.\n\nREADY\n" in sandbox.paper_text(), 60.0)
    numbers = numbers_on(sandbox.paper_text())
    assert sorted(set(numbers)) == list(range(LINES))
    assert all(after - before in (0, 1) for before, after in pairwise(numbers))
    assert len(numbers) <= LINES + kills
    code, message = sandbox.run_command("print", "--spool", "--once", "today", stdin=b"again")
    assert message == "asr33: job 1 was there already: printed, cancelled or held\n"


def test_a_killed_daemon_goes_on_with_its_job_and_prints_one_line_twice_at_most(sandbox: Sandbox) -> None:
    check_kills(sandbox, 1)


@pytest.mark.soak
def test_thirty_kills(sandbox: Sandbox) -> None:
    check_kills(sandbox, 30)


def test_a_job_is_on_the_disk_before_its_number_is_told(sandbox: Sandbox) -> None:
    sandbox.start_machine("--fast")
    daemon = sandbox.start_daemon("--fast")  # ten seconds of idleness: nothing prints before the kill
    for number, who in enumerate(["mail/ada", "mail/bob", "mail/ada"], start=1):
        code, message = sandbox.run_command("print", "--spool", "--from", who, stdin=f"letter {number}".encode())
        assert (code, message.split(":")[:2]) == (0, ["asr33", f" job {number}"])
    assert sandbox.run_command("spool", "hold", "2") == (0, "asr33: job 2 is held\n")
    assert sandbox.run_command("roll", "new", "500")[0] == 0
    daemon.kill()
    daemon.wait(30)
    assert sandbox.run_command("spool", "list")[0] == 69
    sandbox.start_daemon("--fast", "--config", str(sandbox.link.parent / "quick.toml"))
    wait_for(lambda: "LETTER 1\nLETTER 3\n" in sandbox.paper_text())
    code, listing = sandbox.run_command("spool", "cancel", "2", "7")
    assert (code, listing) == (
        66,
        "asr33: job 2 is cancelled\nasr33: no job 7 in the spool: asr33 spool list shows the jobs\n",
    )
    assert sandbox.run_command("spool", "clear", "--person", "ada") == (0, "asr33: 0 jobs removed\n")
    assert re.search(r"paper: 4\d\d lines left", sandbox.run_command("roll")[1])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["print", "--once", "x", __file__], 2, "--once, --keep and --from are for --spool: add it"),
        (["print", "--spool", "--from", "ada", __file__], 2, "say SOURCE/NAME"),
        (["roll", "new"], 2, "asr33 roll new 1000"),
        (["print", "--spool", __file__], 69, "start asr33 run"),
        (["spool", "list"], 69, "start asr33 run"),
    ],
)
def test_a_wrong_command_says_what_to_do(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    assert message in capsys.readouterr().err


def test_a_time_without_a_unit_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["print", "--spool", "--keep", "soon"])
    assert 'such as "30m"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"quiet": ("at night",)}, "[spool] quiet: 'at night' is no span of quiet hours, such as"),
        ({"zone": "Europe/Atlantis"}, 'name one such as "Europe/Berlin"'),
        ({"deny": ("bob",)}, "[spool] deny: 'bob' is no SOURCE/PERSON, such as"),
    ],
)
def test_a_wrong_setting_names_the_cure(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_rules(SpoolConfig(**setting))


def test_the_zone_is_that_of_the_computer_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    assert summer.astimezone(find_zone("Europe/Berlin")).hour == 2
    assert summer.astimezone(find_zone("", tmp_path / "none")).hour == 0
    assert summer.astimezone(find_zone("", Path("/usr/share/zoneinfo/Asia/Tokyo"))).hour == 9
    monkeypatch.setenv("TZ", ":America/New_York")
    assert summer.astimezone(find_zone("")).hour == 20
