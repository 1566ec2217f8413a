"""The start-up time of commands, each compared with the time that Python alone needs.

`asr33 ask` is timed to its first character, and compared with the import of its libraries. `asr33 --help` is compared
with an empty Python program. Each round runs every command once; a ratio is the median over the rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, TextIO

from tools.bench.errors import WorkerFailed
from tools.bench.progress import BenchProgress

ASK, IMPORTS, HELP, BARE_PYTHON = "asr33 ask", "its imports", "asr33 --help", "python -c pass"
PAIRS = ((ASK, IMPORTS), (HELP, BARE_PYTHON))
PROGRAM = "import sys; from tools.main import main; sys.exit(main())"  # as the script `asr33` does


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """Seconds of each command, for each round."""

    seconds: Mapping[str, Sequence[float]]

    def ratios(self, command: str, baseline: str) -> list[float]:
        return [a / b for a, b in zip(self.seconds[command], self.seconds[baseline], strict=True)]

    def to_json(self) -> dict[str, Any]:
        medians = {f"{command} / {baseline}": median(self.ratios(command, baseline)) for command, baseline in PAIRS}
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
    """Times all commands in each round. An extra round before fills the disk cache. Raises WorkerFailed."""
    commands = build_commands(model)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        stage = f"round {number} of {rounds}" if number else "warming up the disk cache"
        on_progress(stage)
        for name, command in commands.items():
            duration = time_to_first_byte(command)
            if number:
                seconds[name].append(duration)
        on_progress(stage, 1)
    return StartupTimes(seconds)


def time_to_first_byte(command: Sequence[str]) -> float:
    """Returns the seconds to the first byte of output, or to the end without output. Raises WorkerFailed."""
    started_at = time.perf_counter()
    with Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL) as process:
        assert process.stdout
        has_output = bool(process.stdout.read(1))
        if not has_output:
            process.wait()
        duration = time.perf_counter() - started_at
        process.kill()  # the rest of its output is not needed
    if process.returncode and not has_output:
        raise WorkerFailed(f"{' '.join(command[2:])}: it ended with {process.returncode}; try it by hand")
    return duration


def print_startup_times(startup: StartupTimes, file: TextIO) -> None:
    for command, baseline in PAIRS:
        ratios = startup.ratios(command, baseline)
        times = [f"{name} {median(startup.seconds[name]):.3f} s" for name in (command, baseline)]
        file.write(f"{', '.join(times)}: {median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]\n")
