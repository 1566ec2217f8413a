"""A room with a virtual machine in it, a daemon perhaps, and commands, each a process of its own."""

from __future__ import annotations

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


def until(met: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "nothing came of it in time"
        time.sleep(0.02)


class Room:
    """A machine and whoever uses it, each a process of its own; nothing of the user's is touched."""

    def __init__(self, folder: Path, short: Path, leaving: ExitStack) -> None:
        self.link, self.events = folder / "tty33", folder / "events.jsonl"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("ASR33_")}
        self.environ |= {name: str(folder) for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME")}
        self.environ["XDG_RUNTIME_DIR"] = str(short)
        self._leaving = leaving
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
        self._leaving.callback(_leave, process)
        return process

    def machine(self, *words: str) -> subprocess.Popen[bytes]:
        process = self.start("virtual", "--link", str(self.link), "--events", str(self.events), *words)
        until(self.link.exists)
        return process

    def daemon(self, *words: str) -> subprocess.Popen[bytes]:
        process = self.start("run", "--line", str(self.link), *words)
        until(lambda: self.paper().endswith("READY\n"), 60.0)
        return process

    def ask(self, *words: str, stdin: bytes = b"") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tools.main", *words],
            cwd=ROOT,
            env=self.environ,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr.decode()

    def strikes(self) -> list[int]:
        lines = self.events.read_text().splitlines(keepends=True)
        return [json.loads(line)["byte"] for line in lines if line.endswith("\n")]

    def paper(self) -> str:
        return "".join(map(chr, self.strikes())).replace("\r", "")


@contextmanager
def opened(folder: Path) -> Iterator[Room]:
    """The room, and at the end everybody leaves it, whatever came to pass there."""
    with TemporaryDirectory() as short, ExitStack() as leaving:  # a socket's path may have 108 bytes - unix(7)
        yield Room(folder, Path(short), leaving)


def _leave(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
