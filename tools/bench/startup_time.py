"""How long a person waits for a command: each beside what Python alone takes for it, in turn.

`asr33 ask` to its first character, beside the import of all that it needs; `asr33 --help`, beside a Python that does
nothing. Every round begins each of them once, and a ratio is the median of the rounds' own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TextIO

from tools.bench.errors import WorkerFailed
from tools.bench.progress import BenchProgress

ASK, IMPORTS, HELP, BARE_PYTHON = "asr33 ask", "its imports", "asr33 --help", "python -c pass"
PAIRS = ((ASK, IMPORTS), (HELP, BARE_PYTHON))
PROGRAM = "import sys; from tools.main import main; sys.exit(main())"  # as the script `asr33` is


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """Seconds of each by rounds, from the command to its first byte, or to its end where it says nothing."""

    seconds: Mapping[str, Sequence[float]]

    def ratios(self, one: str, other: str) -> list[float]:
        return [mine / its for mine, its in zip(self.seconds[one], self.seconds[other], strict=True)]

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        medians = {f"{one} / {other}": median(self.ratios(one, other)) for one, other in PAIRS}
        return {"format": 1, **asdict(self), "ratios": medians}


def build_commands(model: str) -> dict[str, list[str]]:
    asr33 = [sys.executable, "-c", PROGRAM]
    return {
        ASK: [*asr33, "ask", "The Teletype is", "--model", model, "--seed", "7"],
        IMPORTS: [sys.executable, "-c", "import numpy, onnxruntime, tokenizers"],
        HELP: [*asr33, "--help"],
        BARE_PYTHON: [sys.executable, "-c", "pass"],
    }


def measure_startup(model: str, rounds: int, on_progress: BenchProgress) -> StartupTimes:
    """Once before it counts, so that all of it has been read from the disk. Raises WorkerFailed."""
    asked = build_commands(model)
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(rounds + 1):
        on_progress(f"round {number} of {rounds}" if number else "reading all of it once")
        for name, command in asked.items():
            took = time_to_first_byte(command)
            if number:
                seconds[name].append(took)
        on_progress("", 1)
    return StartupTimes(seconds)


def time_to_first_byte(command: Sequence[str]) -> float:
    """Seconds from the command to its first byte, or to its end where it says nothing. Raises WorkerFailed."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        if process.stdout.read(1):
            took = time.perf_counter() - begun
            process.kill()  # what else it says is not waited for
            return took
        process.wait()
        took = time.perf_counter() - begun
    if process.returncode:
        raise WorkerFailed(f"{' '.join(command[2:])}: it ended with {process.returncode}; try it by hand")
    return took


def print_startup_times(startup: StartupTimes, file: TextIO) -> None:
    for one, other in PAIRS:
        ratios = startup.ratios(one, other)
        times = [f"{name} {median(startup.seconds[name]):.3f} s" for name in (one, other)]
        file.write(f"{', '.join(times)}: {median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]\n")
