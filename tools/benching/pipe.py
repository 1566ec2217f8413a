"""The asker's end of a worker: starts it in an interpreter of choice, asks, and sees to it that it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tools.benching.errors import PeerAbsent, WorkerFailed

ROOT = Path(__file__).resolve().parents[2]
# In a foreign environment nothing of ours may hide what lives there: the house goes as soon as its files are loaded.
START = "import sys; sys.path.insert(0, {root!r}); from tools.benching.worker import main; {then}; main()"
DO = {"weights": "it made the weights", "prepare": "it wrote its model", "load": "it loaded its model"}


class Asked:
    """A worker that runs; `age` is how long."""

    def __init__(self, name: str, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        self._name = name
        self._process = process
        self._errors = errors
        self._begun = time.perf_counter()

    @property
    def age(self) -> float:
        return time.perf_counter() - self._begun

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **question: Any) -> dict[str, Any]:
        """Its answer. Raises WorkerFailed and PeerAbsent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do} | question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise WorkerFailed(f"{self._name}: {self._end(do)}")
        answer: dict[str, Any] = json.loads(line)
        if "absent" in answer:
            raise PeerAbsent(f"{answer['absent']} is not installed")
        if "failed" in answer:
            raise WorkerFailed(f"{self._name}: {answer['failed']}")
        return answer

    def see(self) -> None:
        """Raises WorkerFailed if it has ended meanwhile."""
        if self._process.poll() is not None:
            raise WorkerFailed(f"{self._name}: {self._end('')}")

    def _end(self, do: str) -> str:
        """How the process ended, and its last words."""
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._errors.seek(0)
        said = [line for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        cure = "it may want more memory: try a smaller --size" if code == -signal.SIGKILL else "leave it out by --only"
        last = f" ({said[-1].strip()})" if said else ""
        return f"its process {how} while {DO.get(do, 'it was measured')}{last}; {cure}"


@contextmanager
def worker(name: str, python: Path | None = None, code: str = "") -> Iterator[Asked]:
    """A worker in this interpreter or another; it is gone when the block is left, however that happens.

    `code` is what it runs in place of the worker that measures one text at a time.
    """
    own = python is None
    code = code or START.format(root=str(ROOT), then="pass" if own else f"sys.path.remove({str(ROOT)!r})")
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [sys.executable if own else str(python), "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # ^C is for us: we end the worker, and it says nothing
            )
        except OSError as error:
            raise WorkerFailed(f"{python}: {error.strerror}; name a Python that can be run by --peer-python") from None
        with process:
            try:
                yield Asked(name, process, errors)
            finally:
                process.kill()
                with suppress(OSError):  # what it was asked and did not read
                    assert process.stdin is not None
                    process.stdin.close()
