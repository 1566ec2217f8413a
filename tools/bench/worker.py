"""The worker: a process that loads and measures one model. It reads requests and writes replies as lines of JSON.

It ends when its input ends, so no worker outlives its client. It imports a library only when a request needs it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tools.bench import runner, shared_weights
from tools.bench.runner import Runner

if TYPE_CHECKING:
    from tools.bench.peers.training_runners import TrainingRunner

PROBE_BYTES = 256 << 20  # more than any cache holds
PROBE_REPEATS = 3  # the best counts: other load on the machine is no property of the memory

JsonObject = dict[str, Any]  # the arguments of a request, or its reply


class Worker:
    """Runs one operation after the other. Each public method is an operation; a request has its name and arguments."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._probe: BandwidthProbe | None = None
        self._training: TrainingRunner | None = None

    @property
    def runner(self) -> Runner:
        assert self._runner is not None, "no model is loaded"
        return self._runner

    def weights(self, to: str, seed: int = 0, shape: JsonObject | None = None, model: str = "") -> JsonObject:
        from model.interface import GPT2Config

        if shape is None:
            shared_weights.extract_weights(Path(model), Path(to))
        else:
            shared_weights.make_random_weights(GPT2Config(**shape), seed, Path(to))
        return {}

    def prepare(self, engine_name: str, weights: str, form: str, block: int, to: str) -> JsonObject:
        runner.load_runner_module(engine_name).write_model(Path(weights), form, block, Path(to))
        return {}

    def load(self, engine_name: str, folder: str, form: str, threads: int) -> JsonObject:
        self._runner = runner.load_runner_module(engine_name).Runner(Path(folder), form, threads)
        return {"version": self._runner.version}

    def first(self, ids: list[int]) -> JsonObject:
        return {"seconds": self.runner.time_first_token(ids)}

    def decode(self, ids: list[int], tokens: int) -> JsonObject:
        return {"seconds": self.runner.time_decode(ids, tokens)}

    def logits(self, ids: list[int], to: str) -> JsonObject:
        import numpy as np

        np.save(to, self.runner.logits(ids))
        return {}

    def train_load(
        self, engine_name: str, precision: str, shape: JsonObject, batch: int, context: int, threads: int
    ) -> JsonObject:
        from model.interface import GPT2Config
        from tools.bench.peers.training_runners import TrainingRunner

        self._training = TrainingRunner(engine_name, precision, GPT2Config(**shape), batch, context, threads)
        return {}

    def train_steps(self, count: int) -> JsonObject:
        assert self._training is not None, "no net is loaded"
        return {"seconds": self._training.time_steps(count)}

    def memory(self) -> JsonObject:
        resident, peak = own_memory()
        return {"resident": resident, "peak": peak}

    def bandwidth(self, threads: int) -> JsonObject:
        if self._probe is None:
            self._probe = BandwidthProbe(threads)
        return {"bytes_per_s": self._probe.measure()}


class BandwidthProbe:
    """Measures how fast the machine reads memory: the maximum of a large array, a slice for each thread."""

    def __init__(self, threads: int) -> None:
        """Writes the array once, so that the system really allocates its pages."""
        import numpy as np

        self._numbers = np.ones(PROBE_BYTES // 4, np.float32)
        self._slices = np.array_split(self._numbers, threads)
        self._pool = ThreadPoolExecutor(threads)
        self.measure()

    def measure(self) -> float:
        """Returns bytes per second. numpy releases the GIL, so all threads read at the same time."""
        return max(self._measure_once() for _ in range(PROBE_REPEATS))

    def _measure_once(self) -> float:
        started_at = time.perf_counter()
        list(self._pool.map(_read_slice, self._slices))
        return self._numbers.nbytes / (time.perf_counter() - started_at)


def _read_slice(numbers: Any) -> None:
    numbers.max()


def process_memory(pid: int | str) -> tuple[int, int]:
    """Returns the resident bytes of a process and their peak; zeros without /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
        return 1024 * kilobytes["VmRSS"], 1024 * kilobytes["VmHWM"]
    except (OSError, KeyError, ValueError):
        return 0, 0


def own_memory() -> tuple[int, int]:
    """Returns the resident bytes of this process and their peak."""
    memory = process_memory("self")
    if not any(memory):
        import resource

        max_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = max_rss if sys.platform == "darwin" else 1024 * max_rss
        return peak, peak
    return memory


def error_reply(error: Exception) -> JsonObject:
    """Returns the reply for an error: `absent` names a missing library, `failed` gives a reason in one line."""
    if isinstance(error, ModuleNotFoundError):
        return {"absent": (error.name or "").split(".")[0]}
    return {"failed": str(error).strip().partition("\n")[0] or type(error).__name__}


def serve_requests(requests: IO[str], replies: IO[str], worker: Worker) -> None:
    for line in requests:
        arguments = json.loads(line)
        operation: Callable[..., JsonObject] = getattr(worker, arguments.pop("do"))
        try:
            reply = operation(**arguments)
        except Exception as error:  # a foreign library may raise anything
            reply = error_reply(error)
        write_reply(replies, reply)


def write_reply(replies: IO[str], reply: JsonObject) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def open_replies() -> IO[str]:
    """Returns a stream for replies on standard output, and sends the output of libraries to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def main() -> None:
    serve_requests(sys.stdin, open_replies(), Worker())
