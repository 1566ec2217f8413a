"""`asr33 doctor` as a process beside a real daemon, its forms of output, its exit codes, and its page."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes_doctor import NOBODY
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for

from tools.doctor import command
from tools.doctor.catalogue import CATALOGUE
from tools.doctor.examine import DoctorOptions, examine_all
from tools.doctor.finding import Examination, conclude, make_finding, not_examined
from tools.main import main

PAGE = (ROOT / "docs/doctor.md").read_text()
FOUND = [
    conclude("clock", "", "the mark of a time server"),
    conclude(
        "paper", "/dev/x", "50 lines are left", [make_finding("paper-low", "the roll ends", "asr33 roll new 1000")]
    ),
    not_examined("GPU", "", "no NVIDIA GPU is in this computer"),
]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def examine(sandbox: Sandbox, *words: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", "doctor", "--json", *words],
        cwd=ROOT,
        env=sandbox.environ,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout), done.stderr.decode()


def states(document: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in document["examinations"]}


def found_ids(document: dict[str, Any]) -> set[str]:
    return {finding["id"] for finding in document["findings"]} - {"clock-not-set"}  # as the computer of the test is


def test_a_running_daemon_is_asked_and_its_line_stays_closed(sandbox: Sandbox, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text(
        f'[line]\nport = "{sandbox.link}"\n[spool]\nidle_s = 3600\nquiet = ["00:00-12:00", "12:00-00:00"]\n'
    )
    machine = sandbox.start_machine("--fast")
    daemon = sandbox.start_daemon("--fast", "--config", str(config))
    sandbox.run_command("roll", "new", "50")
    sandbox.run_command("print", "--spool", stdin=b"one line")
    sandbox.run_command("spool", "hold", "1")
    strikes = sandbox.strikes()

    code, document, errors = examine(sandbox)  # by the caller's own files, which are others than the daemon's
    assert (code, document["version"], errors) == (1, 1, "")
    assert found_ids(document) >= {"daemon-other-configuration", "jobs-held", "paper-low"}
    assert found_ids(document) & {"quiet-hours", "spool-clock"}  # as the computer's clock is
    sentence = next(each["sentence"] for each in document["findings"] if each["id"] == "daemon-other-configuration")
    assert str(config) in sentence
    assert "--fast" in sentence
    here = states(document)
    assert [here[name] for name in ("daemon", "permission", "other processes on the line")] == ["well"] * 3
    assert here["loopback"] == here["print test"] == "not examined"

    document = examine(sandbox, "--config", str(config), "--line", str(sandbox.link), "--loopback")[1]
    assert "reads" not in next(each["sentence"] for each in document["findings"] if "daemon-other" in each["id"])
    (loopback,) = [each for each in document["examinations"] if each["name"] == "loopback"]
    assert "a daemon or another process has the line" in loopback["why_not"]
    assert sandbox.strikes() == strikes  # nothing came to the machine

    machine.kill()
    wait_for(lambda: "hung up" in sandbox_status(sandbox, document))
    assert daemon.poll() is None


def sandbox_status(sandbox: Sandbox, before: dict[str, Any]) -> str:
    document = examine(sandbox, "--line", str(sandbox.link))[1]
    return " ".join(each["sentence"] for each in document["findings"] if each["id"] == "line-lost")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_daemon_of_another_user_is_named(tmp_path: Path) -> None:
    """Its socket is in a folder of its own; its process and its options are not hidden."""
    words = ["/bin/sh", "-c", "echo .; read line", "asr33", "run", "--line", "/dev/ttyUSB3"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, user=NOBODY, group=NOBODY, cwd="/") as process:
        assert process.stdout is not None
        process.stdout.read(1)
        found = asyncio.run(examine_all(DoctorOptions(line=str(tmp_path / "none"), environ={})))
        process.kill()
    (finding,) = [each for one in found for each in one.findings if each.id == "daemon-of-another-user"]
    assert f"the daemon of nobody (process {process.pid}) has the machine" in finding.sentence
    assert "and not yours" in finding.sentence


def run_with(found: list[Examination], monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    async def examine_nothing(*_: object) -> list[Examination]:
        return found

    monkeypatch.setattr(command, "examine_all", examine_nothing)
    return main(["doctor", *words])


def test_the_text_has_findings_with_their_cures_what_is_well_and_what_was_not_examined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(FOUND, monkeypatch) == 1
    assert capsys.readouterr().out == (
        "Findings:\n"
        "  notice paper-low: the roll ends\n"
        "      mend it: asr33 roll new 1000\n\n"
        "Well:\n"
        "  clock (the mark of a time server)\n\n"
        "Not examined:\n"
        "  GPU: no NVIDIA GPU is in this computer\n\n"
        "1 finding. docs/doctor.md explains them.\n"
    )


def test_json_has_a_version_and_says_what_was_examined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(FOUND, monkeypatch, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == command.JSON_VERSION == 1
    assert document["examined"] == ["clock", "paper: /dev/x"]
    assert document["findings"] == [
        {
            "id": "paper-low",
            "severity": "notice",
            "sentence": "the roll ends",
            "cure": "asr33 roll new 1000",
            "examined": "50 lines are left",
        }
    ]
    assert [each["state"] for each in document["examinations"]] == ["well", "found", "not examined"]


def test_the_exit_code_is_0_without_a_finding_and_2_for_a_wrong_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with([FOUND[0], FOUND[2]], monkeypatch) == 0
    assert "Findings: nothing\n" in capsys.readouterr().out
    assert run_with(FOUND, monkeypatch, "--loopback") == 2
    assert "name it with --line PORT" in capsys.readouterr().err


def test_a_test_that_opens_the_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(FOUND, monkeypatch, "--line", "/dev/x", "--loopback")
    assert "opening a line switches DTR and RTS on" in capsys.readouterr().err
    run_with(FOUND, monkeypatch)
    assert capsys.readouterr().err == ""


def test_an_examination_without_a_reading_is_never_well() -> None:
    assert replace(FOUND[0], examined="").state == "not examined"


# The page.


def test_the_page_has_every_finding_with_its_sentence_and_its_cure() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (fault|notice) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    table = {name: (severity, sentence, cure) for name, severity, sentence, cure in rows}
    assert table == {name: (known.severity, known.sentence, known.cure) for name, known in CATALOGUE.items()}
    assert [row[0] for row in rows] == list(CATALOGUE)


def test_every_option_of_the_page_is_one() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    said = set(re.findall(r"asr33 doctor[^`\n]*", PAGE))
    assert len(said) > 3
    assert {word for line in said for word in line.split() if word.startswith("--")} <= set(
        parser._option_string_actions
    )
