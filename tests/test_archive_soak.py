"""An archive of ten thousand sessions and over a gigabyte: how long list, search, show and forget take."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes_archive import find_text, write_archive
from fakes_sandbox import ROOT

from daemon.archive.session_reader import read_session

pytestmark = [pytest.mark.soak, pytest.mark.pace]
SESSIONS, SESSION_BYTES = 10_000, 100_000
LIMIT_S = 1.0


def run_log(folder: Path, *words: str) -> tuple[float, float, str]:
    """Returns how long the command took, the processor time of that, and its messages."""
    command = [sys.executable, "-m", "tools.main", "log", words[0], "--log", str(folder), *words[1:]]
    before, started_at = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    taken_s, after = time.monotonic() - started_at, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def report(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # pytest -s shows it


def drop_from_memory(folder: Path) -> None:
    """Lets the kernel forget the content of the files, so that the next command reads the disk."""
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def test_a_gigabyte_is_listed_and_searched_in_a_second(tmp_path: Path) -> None:
    write_archive(tmp_path, SESSIONS, SESSION_BYTES)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 1_000_000_000
    taken_s, cpu_s, _ = run_log(tmp_path, "list")
    report(f"list without an index: {taken_s:.2f} s, {cpu_s:.2f} s of processor time")
    taken_s, cpu_s, messages = run_log(tmp_path, "search", "difference", "engine")
    size_mb = (tmp_path / "index.sqlite3").stat().st_size / 1e6
    report(f"building the index: {taken_s:.0f} s, {cpu_s:.0f} s of processor time, {size_mb:.0f} MB\n{messages}")
    assert "building the index: " in messages
    is_busy = os.getloadavg()[0] > 2  # other programs take the processors: their time is not this command's
    commands = [
        ["list"],
        ["list", "--all"],
        ["search", "difference", "engine"],
        ["search", "the", "--since", "2026-03"],
    ]
    slow = []
    for words in commands:
        for state in ("cold", "warm"):
            if state == "cold":
                drop_from_memory(tmp_path)
            taken_s, cpu_s, _ = min(run_log(tmp_path, *words) for _ in range(1 if state == "cold" else 3))
            report(f"{' '.join(words)}, {state}: {taken_s:.2f} s, {cpu_s:.2f} s of processor time")
            if (cpu_s if is_busy else taken_s) > LIMIT_S:
                slow.append((words, state, taken_s))
    for chosen in (["LAST"], ["--before", "2026-02"]):
        taken_s, cpu_s, _ = run_log(tmp_path, "forget", *chosen, "--yes")
        report(f"forget {' '.join(chosen)}: {taken_s:.2f} s, {cpu_s:.2f} s of processor time")
    assert not slow


def test_a_command_that_is_killed_while_it_forgets_leaves_whole_logs(tmp_path: Path) -> None:
    draw = random.Random(1)
    write_archive(tmp_path, 40, 20_000)
    before = {path.stem: [turn.answer for turn in read_session(path).turns] for path in tmp_path.glob("*.jsonl")}
    run_log(tmp_path, "search", "the")
    command = [sys.executable, "-m", "tools.main", "log", "forget", "--before", "2027", "--yes", "--log", str(tmp_path)]
    killed, run_s = 0, 0.0
    for number in range(60):
        write_archive(tmp_path, 40, 20_000)
        run_log(tmp_path, "search", "the")
        started_at = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        if number:
            time.sleep(draw.uniform(0.1, 1.0) * run_s)
            process.kill()
        process.wait()
        run_s = run_s or time.monotonic() - started_at
        killed += process.returncode == -9
        for path in tmp_path.glob("*.jsonl"):
            session = read_session(path)
            assert [turn.answer for turn in session.turns] in ([], before[path.stem])
            assert session.turns or session.gaps
    assert killed > 20
    run_log(tmp_path, "forget", "--before", "2027", "--yes")
    assert not find_text(tmp_path, "teletype", "orchard", "lantern")
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl", ".sqlite3"}
