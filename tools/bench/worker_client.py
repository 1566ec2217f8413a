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

from tools.bench.errors import PeerNotInstalled, WorkerFailed

ROOT = Path(__file__).resolve().parents[2]
# In a foreign environment nothing of ours may hide what lives there: the house goes as soon as its files are loaded.
BOOTSTRAP = "import sys; sys.path.insert(0, {root!r}); from tools.bench.worker import main; {then}; main()"
OPERATION_TEXTS = {"weights": "it made the weights", "prepare": "it wrote its model", "load": "it loaded its model"}


class WorkerClient:
    """A worker that runs; `age` is how long."""

    def __init__(self, name: str, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        self._name = name
        self._process = process
        self._errors = errors
        self._started_at = time.perf_counter()

    @property
    def age_s(self) -> float:
        return time.perf_counter() - self._started_at

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Its answer. Raises WorkerFailed and PeerAbsent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": operation} | arguments) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise WorkerFailed(f"{self._name}: {self._describe_exit(operation)}")
        answer: dict[str, Any] = json.loads(line)
        if "absent" in answer:
            raise PeerNotInstalled(f"{answer['absent']} is not installed")
        if "failed" in answer:
            raise WorkerFailed(f"{self._name}: {answer['failed']}")
        return answer

    def check_alive(self) -> None:
        """Raises WorkerFailed if it has ended meanwhile."""
        if self._process.poll() is not None:
            raise WorkerFailed(f"{self._name}: {self._describe_exit('')}")

    def _describe_exit(self, operation: str) -> str:
        """How the process ended, and its last words."""
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._errors.seek(0)
        said = [line for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        cure = "it may want more memory: try a smaller --size" if code == -signal.SIGKILL else "leave it out by --only"
        last = f" ({said[-1].strip()})" if said else ""
        return f"its process {how} while {OPERATION_TEXTS.get(operation, 'it was measured')}{last}; {cure}"


@contextmanager
def open_worker(name: str, python: Path | None = None, code: str = "") -> Iterator[WorkerClient]:
    """A worker in this interpreter or another; it is gone when the block is left, however that happens.

    `code` is what it runs in place of the worker that measures one text at a time.
    """
    own = python is None
    code = code or BOOTSTRAP.format(root=str(ROOT), then="pass" if own else f"sys.path.remove({str(ROOT)!r})")
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
                yield WorkerClient(name, process, errors)
            finally:
                process.kill()
                with suppress(OSError):  # what it was asked and did not read
                    assert process.stdin is not None
                    process.stdin.close()
