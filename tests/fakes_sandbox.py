"""Starts a virtual machine, a daemon and commands as processes, in folders of the test."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
CHARACTER_S = 0.1
# From a CR to the next glyph: 0.1 s, and 0.2 s more from column 72 (Bulletin 310B 574-100-101TC 3.12).
RETURN_S, TRAVEL_S = 0.1, 0.2


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.02)


def lateness(struck: list[dict[str, float]]) -> list[float]:
    """Returns by how many seconds each strike was later than the machine allows, without carriage returns."""
    late, settled = [], 0.0
    for before, strike in itertools.pairwise(struck):
        if before["byte"] == 0x0D:
            settled = before["start"] + RETURN_S + TRAVEL_S * min(before["column"], 72) / 72
        ready = before["start"] + CHARACTER_S
        late.append(strike["start"] - (max(ready, settled) if strike["byte"] >= 0x20 else ready))
    return late


class Sandbox:
    """A machine and the commands that use it, each a process. They do not touch the user's own files."""

    def __init__(self, folder: Path, socket_folder: Path, stack: ExitStack) -> None:
        self.link, self.events = folder / "tty33", folder / "events.jsonl"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("ASR33_")}
        self.environ |= {name: str(folder) for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME")}
        self.environ["XDG_RUNTIME_DIR"] = str(socket_folder)
        self._stack = stack
        self._records: list[dict[str, float]] = []  # of the events that are read already
        self._read_bytes = 0
        self.program: list[str] = [sys.executable, "-m", "tools.main"]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*self.program, *words],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._stack.callback(_stop_process, process)
        return process

    def start_machine(self, *words: str) -> subprocess.Popen[bytes]:
        self.events.unlink(missing_ok=True)
        self._records, self._read_bytes = [], 0
        process = self.start("virtual", "--link", str(self.link), "--events", str(self.events), *words)
        wait_for(self.link.exists)
        return process

    def start_daemon(self, *words: str) -> subprocess.Popen[bytes]:
        process = self.start("run", "--line", str(self.link), *words)
        wait_for(lambda: self.paper_text().endswith("READY\n"), 60.0)
        return process

    def run_command(self, *words: str, stdin: bytes = b"", seconds: float = 60.0) -> tuple[int, str]:
        result = subprocess.run(
            [*self.program, *words],
            cwd=ROOT,
            env=self.environ,
            input=stdin,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        return result.returncode, result.stderr.decode()

    def strike_records(self) -> list[dict[str, float]]:
        """Reads what is new: a test that waits asks fifty times a second."""
        if self.events.exists():
            with self.events.open("rb") as file:
                file.seek(self._read_bytes)
                for line in file:
                    if line.endswith(b"\n"):
                        self._records.append(json.loads(line))
                        self._read_bytes += len(line)
        return list(self._records)

    def strikes(self) -> list[int]:
        return [int(record["byte"]) for record in self.strike_records()]

    def paper_text(self) -> str:
        return "".join(map(chr, self.strikes())).replace("\r", "")


@contextmanager
def open_sandbox(folder: Path) -> Iterator[Sandbox]:
    """Yields a sandbox, and stops all its processes at the end."""
    with TemporaryDirectory() as socket_folder, ExitStack() as stack:  # a socket's path has at most 108 bytes: unix(7)
        yield Sandbox(folder, Path(socket_folder), stack)


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
