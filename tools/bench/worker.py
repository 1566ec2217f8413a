"""What is measured runs here, a process for each: questions as lines of JSON on its input, answers on its output.

It ends with its input, so that none is left when the asker dies. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tools.bench import engine, shared_weights
from tools.bench.engine import Runner
from tools.bench.memory_bandwidth import BandwidthProbe

WorkerReply = dict[str, Any]


class Worker:
    """One question after the other; a model that was loaded stays."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._probe: BandwidthProbe | None = None

    @property
    def runner(self) -> Runner:
        assert self._runner is not None, "asked before a model was loaded"
        return self._runner

    def weights(self, to: str, seed: int = 0, shape: WorkerReply | None = None, model: str = "") -> WorkerReply:
        from model.interface import GPT2Config

        if shape is None:
            shared_weights.extract_weights(Path(model), Path(to))
        else:
            shared_weights.make_random_weights(GPT2Config(**shape), seed, Path(to))
        return {}

    def prepare(self, engine_name: str, weights: str, form: str, block: int, to: str) -> WorkerReply:
        engine.load_runner_module(engine_name).write_model(Path(weights), form, block, Path(to))
        return {}

    def load(self, engine_name: str, folder: str, form: str, threads: int) -> WorkerReply:
        self._runner = engine.load_runner_module(engine_name).Runner(Path(folder), form, threads)
        return {"version": self._runner.version}

    def first(self, ids: list[int]) -> WorkerReply:
        return {"seconds": self.runner.time_first_token(ids)}

    def decode(self, ids: list[int], tokens: int) -> WorkerReply:
        return {"seconds": self.runner.time_decode(ids, tokens)}

    def logits(self, ids: list[int], to: str) -> WorkerReply:
        import numpy as np

        np.save(to, self.runner.logits(ids))
        return {}

    def memory(self) -> WorkerReply:
        resident, peak = own_memory()
        return {"resident": resident, "peak": peak}

    def bandwidth(self, threads: int) -> WorkerReply:
        if self._probe is None:
            self._probe = BandwidthProbe(threads)
        return {"bytes_per_s": self._probe.measure()}


def process_memory(pid: int | str) -> tuple[int, int]:
    """Bytes of a process in memory, now and at most; zeros where /proc does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
        return 1024 * kilobytes["VmRSS"], 1024 * kilobytes["VmHWM"]
    except (OSError, KeyError, ValueError):
        return 0, 0


def own_memory() -> tuple[int, int]:
    """Bytes of this process in memory, now and at most."""
    found = process_memory("self")
    if not any(found):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = most if sys.platform == "darwin" else 1024 * most
        return peak, peak
    return found


def run_operation(operation: Callable[..., WorkerReply], arguments: WorkerReply) -> WorkerReply:
    """What it says, or `absent` with a library's name, or `failed` with a reason in one line."""
    try:
        return operation(**arguments)
    except ModuleNotFoundError as error:
        return {"absent": (error.name or "").split(".")[0]}
    except Exception as error:  # whatever a foreign library raises
        return failure_reply(error)


def failure_reply(error: Exception) -> WorkerReply:
    """The reason in one line."""
    text = str(error).strip().partition("\n")[0]
    return {"failed": text or type(error).__name__}


def serve_requests(requests: IO[str], replies: IO[str], worker: Worker) -> None:
    for line in requests:
        question = json.loads(line)
        do: Callable[..., WorkerReply] = getattr(worker, question.pop("do"))
        replies.write(json.dumps(run_operation(do, question)) + "\n")
        replies.flush()


def main() -> None:
    # What a library prints goes to the error output, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve_requests(sys.stdin, answers, Worker())
