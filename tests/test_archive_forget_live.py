"""Forgetting while a daemon has the log open: the machine, its daemon, and a command that forgets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes_archive import find_text
from fakes_sandbox import ROOT, wait_for

from daemon.archive.log_records import iter_records
from daemon.archive.session_list import session_paths
from daemon.archive.session_reader import read_session
from daemon.control.client import connect_to_all_daemons
from daemon.control.protocol import SpoolAccepted, SubmitJob

Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tools.main", *words]
        running.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True))
        return running[-1]

    yield start
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_an_answer_is_forgotten_while_the_session_goes_on(spawn: Spawn, tmp_path: Path) -> None:
    link, events, logs = tmp_path / "tty33", tmp_path / "events.jsonl", tmp_path / "sessions"

    def paper() -> str:
        strikes = [json.loads(line) for line in events.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return "".join(chr(strike["byte"]) for strike in strikes).replace("\r", "")

    def type_and_wait(line: str) -> None:
        printed = len(paper())
        machine.stdin.write(f"{line}\r")
        machine.stdin.flush()
        wait_for(lambda: line in paper()[printed:] and paper().endswith("READY\n"), 60.0)

    machine = spawn("virtual", "--link", str(link), "--events", str(events), "--fast")
    assert machine.stdin is not None
    wait_for(link.exists)
    spawn("run", "--line", str(link), "--log", str(logs), "--seed", "7", "--fast", "--length", "60")
    wait_for(lambda: events.exists() and paper().endswith("READY\n"), 60.0)
    type_and_wait("GOOD MORNING TO ALL OF YOU")
    type_and_wait("VERMILION XYLOPHONES")
    (path,) = session_paths(logs)
    wait_for(lambda: len(read_session(path).turns) == 2)
    answer = read_session(path).turns[1].answer.strip()

    def forget_last() -> None:
        forget_by("LAST", output="forgotten\n")

    def forget_by(*words: str, output: str | None = None) -> None:
        command = [sys.executable, "-m", "tools.main", "log", "forget", *words, "--yes", "--log", str(logs)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, done.stdout if output is None else output), done.stderr

    command = [sys.executable, "-m", "tools.main", "log", "search", "xylophones", "--log", str(logs)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # the index has it too
    assert find_text(logs, "vermilion")
    forget_last()
    assert "ALL FORGOTTEN.\n" in paper()
    type_and_wait("AND NOW")

    old, new = session_paths(logs)
    wait_for(lambda: len(read_session(new).turns) == 1)
    assert read_session(new).turns[0].prompt == "And now"
    assert [turn.typed for turn in read_session(old).turns] == ["GOOD MORNING TO ALL OF YOU"]
    assert read_session(old).header == read_session(new).header
    assert not [record for record in iter_records(new) if record["ev"] == "gap" and record["lost"]]
    places = [logs, *(Path(value) for name, value in os.environ.items() if name.startswith("XDG_"))]
    assert not [found for place in places for found in find_text(place, "vermilion", "xylophones", answer[:20])]
    for log in (old, new):
        session = read_session(log)
        text = "".join(chr(stroke.byte) for stroke in session.strokes).replace("\r\n", " ")
        keys = "".join(chr(key.byte & 0x7F) for key in session.keys)
        assert "VERMILION" not in text + keys + log.read_text().upper()
        assert answer[:20].upper() not in text
        assert answer[:20] not in log.read_text()
    type_and_wait(".PRIVATE")  # the daemon writes no record of the paper now, and must leave its log all the same
    forget_last()
    assert [len(read_session(log).turns) for log in session_paths(logs)] == [1, 0, 0]
    assert not list(logs.glob(".*.forgotten"))

    # In the private time a person leaves the spool too: the daemon holds its file.
    printed = len(paper())
    machine.stdin.write(".HUSH 60\r")
    machine.stdin.flush()
    wait_for(lambda: paper()[printed:].endswith("READY\n"), 60.0)
    asyncio.run(submit_job("Melchior", "CHRYSOPRASE"))
    assert [found for place in places for found in find_text(place, "melchior", "chrysoprase")]
    forget_by("--person", "melchior")
    assert not [found for place in places for found in find_text(place, "melchior", "chrysoprase")]


async def submit_job(person: str, text: str) -> None:
    async with connect_to_all_daemons() as (daemon,):
        await daemon.request(SubmitJob(text, "irc", person), SpoolAccepted)
