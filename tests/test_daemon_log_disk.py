"""The session log of a real daemon on disks that are full, read-only, not permitted, or changed behind its back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_sandbox import Sandbox, open_sandbox, wait_for

from daemon.archive.log_replacement import replace_log
from daemon.log_file import LogFile

WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Yields a function that mounts a tmpfs of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount_disk(options: str = "") -> Path:
        words = ["mount", "-t", "tmpfs", "-o", f"size=128k{options}", "none", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip("a disk of one's own takes root: " + done.stderr.strip())
        return folder

    yield mount_disk
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


class Daemon:
    """A daemon on a fast virtual machine, with its log in a folder of the test."""

    def __init__(self, sandbox: Sandbox, folder: Path, program: list[str] | None = None) -> None:
        self._sandbox, self.folder = sandbox, folder
        self._machine = sandbox.start_machine("--fast")
        sandbox.program = [*(program or []), *sandbox.program]
        self._process = sandbox.start_daemon("--fast", "--log", str(folder))

    def type(self, line: str) -> None:
        """Types a line and waits for the next READY: the paper goes on."""
        before = self._sandbox.paper_text().count("READY\n")
        assert self._machine.stdin is not None
        self._machine.stdin.write(line.encode() + b"\n")
        self._machine.stdin.flush()
        wait_for(lambda: self._sandbox.paper_text().count("READY\n") > before)

    def notices(self) -> list[str]:
        """Returns what the operator was told about the log on the paper."""
        return [line for line in self._sandbox.paper_text().splitlines() if "LOGGED" in line]

    def stop(self) -> list[str]:
        """Ends the daemon; returns the lines of its messages about the log."""
        self._process.terminate()
        _, messages = self._process.communicate(timeout=30)
        assert self._process.returncode == 0
        assert b"Traceback" not in messages
        return [line for line in messages.decode().splitlines() if str(self.folder) in line]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Returns all records; every line is whole."""
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def typed(records: list[dict[str, Any]]) -> list[str]:
    return [record["text"] for record in records if record["ev"] == "typed"]


def fill(folder: Path) -> Path:
    """Fills the disk to the last byte."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return path


def test_a_disk_that_is_full_at_the_start_gets_the_record_when_there_is_room(
    sandbox: Sandbox, mount: Callable[..., Path]
) -> None:
    folder = mount(",nr_inodes=2")
    filler = fill(folder)
    daemon = Daemon(sandbox, folder / "")
    daemon.type(".ONE")
    assert list(folder.glob("*.jsonl")) == []
    filler.unlink()
    wait_for(lambda: bool(daemon.type(".TWO")) or bool(list(folder.glob("*.jsonl"))))
    daemon.type(".LAST")
    assert daemon.notices() == ["-- NOT LOGGED: NO SPACE LEFT ON DEVICE --", "-- LOGGED AGAIN --"]
    told = daemon.stop()
    assert len(told) == 2
    assert told[0].endswith("No space left on device; the paper goes on without a record: make room")
    assert "the record goes on, after" in told[1]
    [path] = folder.glob("*.jsonl")
    records = read_records(path)
    assert [record["ev"] for record in records[:2]] == ["session", "gap"]
    assert records[1]["from"] < 1
    assert records[1]["lost"] > 100
    assert typed(records)[-1] == ".LAST"
    assert records[-1]["ev"] == "close"


def test_a_disk_that_fills_up_leaves_whole_records_and_a_gap(sandbox: Sandbox, mount: Callable[..., Path]) -> None:
    folder = mount()
    daemon = Daemon(sandbox, folder)
    daemon.type(".ONE")
    filler = fill(folder)
    for _ in range(20):
        daemon.type(".LOST " + "-" * 60)  # beyond the last block of the file
    filler.unlink()
    daemon.type(".LAST")
    daemon.type(".LAST")
    assert daemon.notices() == ["-- NOT LOGGED: NO SPACE LEFT ON DEVICE --", "-- LOGGED AGAIN --"]
    told = daemon.stop()
    assert [message.partition("; ")[2].split(",")[0] for message in told[1:]] == [
        "the paper goes on without a record: make room",
        "",
    ]
    [path] = folder.glob("*.jsonl")
    records = read_records(path)
    assert typed(records)[0] == ".ONE"
    assert typed(records)[-1] == ".LAST"
    [gap] = [record for record in records if record["ev"] == "gap"]
    before = records[records.index(gap) - 1]
    assert before["t"] <= gap["from"] <= gap["to"] == gap["t"]
    assert gap["lost"] > 100
    assert gap["why"] == "No space left on device"


def check_no_record(daemon: Daemon, reason: str, cure: str) -> None:
    daemon.type(".ONE")
    daemon.type(".TWO")
    assert daemon.notices() == [f"-- NOT LOGGED: {reason.upper()} --"]
    [message] = daemon.stop()
    assert reason in message
    assert cure in message
    assert "/dev/null" not in message


def test_a_read_only_disk_stops_no_paper(sandbox: Sandbox, mount: Callable[..., Path]) -> None:
    folder = mount(",ro")
    check_no_record(Daemon(sandbox, folder / "sessions"), "Read-only file system", "mount the disk writable")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="takes root and setpriv")
def test_a_folder_that_is_not_permitted_stops_no_paper(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "of another"
    folder.mkdir(mode=0o755)
    os.chown(folder, 65534, 65534)
    daemon = Daemon(sandbox, folder, WITHOUT_ROOTS_RIGHTS)
    check_no_record(daemon, "Permission denied", "let this user write there")


def test_a_limit_of_the_file_size_stops_no_paper(sandbox: Sandbox, tmp_path: Path) -> None:
    daemon = Daemon(sandbox, tmp_path / "logs", ["prlimit", "--fsize=8192", "--"])
    for _ in range(8):
        daemon.type(".LOST " + "-" * 60)
    told = daemon.stop()
    assert [message.partition("; the paper")[2] for message in told[1:]] == [
        " goes on without a record: raise the limit of the file size (ulimit -f)"
    ]
    [path] = (tmp_path / "logs").glob("*.jsonl")
    assert len(read_records(path)) > 50


@pytest.mark.parametrize("change", ["removed", "moved", "truncated", "replaced", "torn"])
def test_a_log_changed_behind_the_daemon_is_begun_anew(sandbox: Sandbox, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "deep" / "logs"
    daemon = Daemon(sandbox, folder)
    daemon.type(".ONE")
    [path] = folder.glob("*.jsonl")
    match change:
        case "removed":
            shutil.rmtree(tmp_path / "deep")
        case "moved":
            path.rename(tmp_path / "old.1")
        case "truncated":
            os.truncate(path, 0)
        case "replaced":  # as by logrotate with `create`
            path.rename(tmp_path / "old.1")
            path.touch()
        case "torn":
            os.truncate(path, 1001)
    daemon.type(".TWO")
    told = daemon.stop()
    word = {"replaced": "moved", "torn": "truncated"}.get(change, change)
    assert [message for message in told if "begun anew" in message] == [f"{path} was {word}; the record is begun anew"]
    new = path.with_stem(path.stem + "-2") if change in ("replaced", "torn") else path
    records = read_records(new)
    assert [record["ev"] for record in records[:2]] == ["session", "gap"]
    gap = records[1]
    assert gap["why"] == f"the file was {word}"
    assert (gap["lost"] == 0) == (word == "moved")
    assert gap["from"] == (gap["to"] if word == "moved" else 0.0)
    assert typed(records) == [".TWO"]
    assert records[-1]["ev"] == "close"
    if word == "moved":
        assert typed(read_records(tmp_path / "old.1")) == [".ONE"]
    assert (new.stat().st_mode & 0o777) == 0o600


def test_a_removed_folder_that_cannot_be_made_again_is_reported_once(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "logs"
    daemon = Daemon(sandbox, folder)
    daemon.type(".ONE")
    shutil.rmtree(tmp_path / "deep")
    (tmp_path / "deep").touch()
    daemon.type(".TWO")
    daemon.type(".THREE")
    told = daemon.stop()
    assert len(told) == 3
    assert "was removed" in told[1]
    assert "the paper goes on without a record" in told[2]


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o700, 0o600), (0o750, 0o640), (0o755, 0o600), (0o770, 0o640)])
def test_a_log_is_for_the_group_where_its_folder_is_for_the_group_alone(
    tmp_path: Path, folder_mode: int, file_mode: int
) -> None:
    """systemd makes /var/log/asr33 with mode 0750, with the umask 0077 of the unit."""
    folder = tmp_path / "logs"
    folder.mkdir()
    folder.chmod(folder_mode)
    before = os.umask(0o077)
    try:
        LogFile(folder / "one.jsonl").close()
        replace_log(folder / "one.jsonl", lambda old, new: None)
    finally:
        os.umask(before)
    assert (folder / "one.jsonl").stat().st_mode & 0o777 == file_mode
