"""The client of a worker: starts the process in a chosen Python, sends requests, and makes sure that it ends."""

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
# In a foreign environment no module of asr33 may hide one of that environment: our path is removed after the import.
BOOTSTRAP = "import sys; sys.path.insert(0, {root!r}); from tools.bench.worker import main; {then}; main()"
OPERATION_TEXTS = {"weights": "it made the weights", "prepare": "it wrote its model", "load": "it loaded its model"}


class WorkerClient:
    """A running worker process."""

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
        """Sends a request and returns the reply. Raises WorkerFailed and PeerNotInstalled."""
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
        reply: dict[str, Any] = json.loads(line)
        if "absent" in reply:
            raise PeerNotInstalled(f"{reply['absent']} is not installed")
        if "failed" in reply:
            raise WorkerFailed(f"{self._name}: {reply['failed']}")
        return reply

    def check_alive(self) -> None:
        """Raises WorkerFailed if the process has ended."""
        if self._process.poll() is not None:
            raise WorkerFailed(f"{self._name}: {self._describe_exit('')}")

    def _describe_exit(self, operation: str) -> str:
        """Returns how the process ended, with the last line of its error output."""
        code = self._process.wait()
        ending = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        cure = "it may want more memory: try a smaller --size" if code == -signal.SIGKILL else "leave it out by --only"
        reason = f" ({lines[-1].strip()})" if lines else ""
        return f"its process {ending} while {OPERATION_TEXTS.get(operation, 'it was measured')}{reason}; {cure}"


@contextmanager
def open_worker(name: str, python: Path | None = None, code: str = "") -> Iterator[WorkerClient]:
    """Starts a worker in this Python or another, and kills it at the end of the block.

    `code` is a Python program to run in place of the worker that measures one sequence at a time.
    """
    root = str(ROOT)
    code = code or BOOTSTRAP.format(root=root, then=f"sys.path.remove({root!r})" if python else "pass")
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [str(python or sys.executable), "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # ^C reaches only this process, which then kills the worker
            )
        except OSError as error:
            raise WorkerFailed(f"{python}: {error.strerror}; name a Python that can be run by --peer-python") from None
        with process:
            try:
                yield WorkerClient(name, process, errors)
            finally:
                process.kill()
                with suppress(OSError):  # a request that the worker did not read
                    assert process.stdin is not None
                    process.stdin.close()
