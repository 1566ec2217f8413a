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

from tools.benching import engine, tensors
from tools.benching.engine import Runner
from tools.benching.probe import Probe

Answer = dict[str, Any]


class Worker:
    """One question after the other; a model that was loaded stays."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._probe: Probe | None = None

    @property
    def runner(self) -> Runner:
        assert self._runner is not None, "asked before a model was loaded"
        return self._runner

    def weights(self, to: str, seed: int = 0, shape: Answer | None = None, model: str = "") -> Answer:
        from model.base import Shape

        if shape is None:
            tensors.take_from(Path(model), Path(to))
        else:
            tensors.make_random(Shape(**shape), seed, Path(to))
        return {}

    def prepare(self, engine_name: str, weights: str, form: str, block: int, to: str) -> Answer:
        engine.library(engine_name).prepare(Path(weights), form, block, Path(to))
        return {}

    def load(self, engine_name: str, folder: str, form: str, threads: int) -> Answer:
        self._runner = engine.library(engine_name).Runner(Path(folder), form, threads)
        return {"version": self._runner.version}

    def first(self, ids: list[int]) -> Answer:
        return {"seconds": self.runner.first(ids)}

    def decode(self, ids: list[int], tokens: int) -> Answer:
        return {"seconds": self.runner.decode(ids, tokens)}

    def logits(self, ids: list[int], to: str) -> Answer:
        import numpy as np

        np.save(to, self.runner.logits(ids))
        return {}

    def memory(self) -> Answer:
        resident, peak = resident_and_peak()
        return {"resident": resident, "peak": peak}

    def bandwidth(self, threads: int) -> Answer:
        if self._probe is None:
            self._probe = Probe(threads)
        return {"bytes_per_s": self._probe.bytes_per_s()}


def memory_of(pid: int | str) -> tuple[int, int]:
    """Bytes of a process in memory, now and at most; zeros where /proc does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
        return 1024 * kilobytes["VmRSS"], 1024 * kilobytes["VmHWM"]
    except (OSError, KeyError, ValueError):
        return 0, 0


def resident_and_peak() -> tuple[int, int]:
    """Bytes of this process in memory, now and at most."""
    found = memory_of("self")
    if not any(found):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = most if sys.platform == "darwin" else 1024 * most
        return peak, peak
    return found


def answer(do: Callable[..., Answer], question: Answer) -> Answer:
    """What it says, or `absent` with a library's name, or `failed` with a reason in one line."""
    try:
        return do(**question)
    except ModuleNotFoundError as error:
        return {"absent": (error.name or "").split(".")[0]}
    except Exception as error:  # whatever a foreign library raises
        return failed(error)


def failed(error: Exception) -> Answer:
    """The reason in one line."""
    text = str(error).strip().partition("\n")[0]
    return {"failed": text or type(error).__name__}


def serve(questions: IO[str], answers: IO[str], worker: Worker) -> None:
    for line in questions:
        question = json.loads(line)
        do: Callable[..., Answer] = getattr(worker, question.pop("do"))
        answers.write(json.dumps(answer(do, question)) + "\n")
        answers.flush()


def main() -> None:
    # What a library prints goes to the error output, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers, Worker())
