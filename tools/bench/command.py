"""Measures how fast a model is on this machine: tokens per second, time to the first token, memory, Teletypes fed.

asr33 bench                            the embedded model
asr33 bench --size 124M                random weights of GPT-2's size, in each precision of asr33
asr33 bench --peers --json out.json    beside ctranslate2, llama.cpp and transformers, round by round
asr33 bench --start --rounds 15        seconds from a command to its first character, beside Python's own start
asr33 bench --train --peers            training, beside the loop of transformers
asr33 bench --clients 100 --size 124M  load test: a hundred Teletypes on one model, and how long they wait
asr33 bench --simulate --clients 1000  the same without a model, with measured times of its passes
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from contextlib import AbstractContextManager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.interface import THREAD_RANGE
from tools.bench.candidates import SIZES
from tools.bench.load import command as load_command
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError

if TYPE_CHECKING:
    from tools.bench.measure import BenchSettings
    from tools.bench.results import SpeedReport
    from tools.bench.target import BenchTarget

DEFAULT_PROMPTS = (32, 128, 512, 1000)
EXIT_INTERRUPTED = 130  # 128 + SIGINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, whole = parser.add_argument, partial(ranged_number, int)
    model = parser.add_mutually_exclusive_group()
    names = "model, with --clients a URL too (default embedded; with --peers random weights of size 124M)"
    model.add_argument("--model", metavar="NAME|PATH", help=names)
    size = "random weights of this size, in each precision of asr33 (default: the model)"
    model.add_argument("--size", choices=SIZES, help=size)
    peers = "compare with ctranslate2, llama.cpp and transformers, those that are installed (default: off)"
    add("--peers", action="store_true", help=peers)
    also = "another model of the same weights, may be repeated (default: none)"
    add("--also", action="append", default=[], metavar="NAME|PATH", help=also)
    only = "candidates with one of these words in their name (default: all)"
    add("--only", type=_comma_separated, default=[], metavar="WORD,WORD", help=only)
    python = "Python of another environment with peers, may be repeated (default: this one)"
    add("--peer-python", type=Path, action="append", default=[], metavar="PATH", help=python)
    add("--start", action="store_true", help="measure only the start-up time of commands (default: off)")
    train = "measure only the speed of training, with random weights (default: off)"
    add("--train", action="store_true", help=train)
    batch = "sequences of a training step (default 16 for the embedded model's shape, 4 with --size)"
    add("--batch", type=whole(1, 10_000), metavar="N", help=batch)
    threads = "processor threads (default 0: one per core)"
    add("--threads", type=whole(*THREAD_RANGE), default=0, metavar="N", help=threads)
    rounds = "measurements of each candidate (default %(default)s)"
    add("--rounds", type=whole(1, 1000), default=5, metavar="N", help=rounds)
    prompts = "prompt lengths in tokens (default 32,128,512,1000)"
    add("--prompts", type=_prompt_lengths, default=DEFAULT_PROMPTS, metavar="N,N", help=prompts)
    tokens = "tokens of one timed decoding (default %(default)s)"
    add("--tokens", type=whole(1, 1000), default=64, metavar="N", help=tokens)
    windows = "windows of text for the fidelity (default %(default)s)"
    add("--windows", type=whole(1, 10_000), default=16, metavar="N", help=windows)
    text = "text for the fidelity, not one of the training (default: a text of asr33)"
    add("--text", type=Path, metavar="FILE", help=text)
    seed = "seed of random weights and order (default %(default)s)"
    add("--seed", type=whole(0, 2**63 - 1), default=33, metavar="N", help=seed)
    add("--json", metavar="FILE|-", help="file for all figures as JSON, - replaces the table (default: none)")
    load_command.add_arguments(parser)
    if find_spec("tools.bench.simulate") is None:
        add("--simulate", action=_SimulatorMissing, nargs=0, default=False, help="needs a checkout of the repository")
    else:
        from tools.bench.simulate import command as simulate_command

        simulate_command.add_arguments(parser)


class _SimulatorMissing(argparse.Action):
    """The wheel does not contain the simulator."""

    def __call__(self, *args: Any, **settings: Any) -> None:
        cure = "run it in a checkout of the repository"
        raise ToolError(f"--simulate: the simulator is not part of an installed asr33; {cure}", "unavailable")


def main(args: argparse.Namespace) -> int:
    from tools.cli import output

    for file in (args.json, args.chart):
        if file not in (None, "-"):
            output.check_writable(Path(file))
    if args.simulate:
        return _run_simulation(args)
    if args.clients is not None or args.until_stall:
        return _run_load_test(args)
    if args.start:
        return _run_startup_benchmark(args)
    if args.train:
        return _run_training_benchmark(args)
    from tools.bench import target

    with _exit_on_signals(), tempfile.TemporaryDirectory(prefix="asr33-bench-") as folder:
        report = _measure_speed(args, target.find_target(args), Path(folder))
    if not _write_json(report.to_json(), args.json):
        from tools.bench import print_results

        print_results.print_report(report, sys.stdout)
    return 0


def _run_load_test(args: argparse.Namespace) -> int:
    from tools.cli import output

    with _exit_on_signals():
        report = load_command.run_load_test(args, describe_machine())
    if args.chart is not None and report.last_run is not None:
        output.write_atomic(Path(args.chart), load_command.render_chart(report))
    if not _write_json(report.to_json(), args.json):
        from tools.bench.load import print_figures

        print_figures.print_load_report(report, sys.stdout, args.max_wait)
    return 0 if report.is_complete else EXIT_INTERRUPTED


def _run_simulation(args: argparse.Namespace) -> int:
    from tools.bench.simulate import command as simulate_command

    report = simulate_command.run_simulation(args)
    if not _write_json(report.to_json(), args.json):
        from tools.bench.simulate import print_simulation

        print_simulation.print_simulation_report(report, sys.stdout)
    return 0


def _run_startup_benchmark(args: argparse.Namespace) -> int:
    from model.store import store
    from tools.bench import startup_time
    from tools.bench.progress import show_progress

    model = store.find_model(args.model or store.EMBEDDED)
    with _exit_on_signals(), show_progress(args.rounds + 1) as on_progress:
        startup = startup_time.measure_startup(str(model), args.rounds, on_progress)
    if not _write_json(startup.to_json(), args.json):
        startup_time.print_startup_times(startup, sys.stdout)
    return 0


def _run_training_benchmark(args: argparse.Namespace) -> int:
    if find_spec("torch") is None:
        raise ToolError("--train: training needs torch; install it with pip install 'asr33[train]'", "unavailable")
    from model.onnx import cpu
    from model.store import store
    from tools.bench import training_speed
    from tools.bench.progress import show_progress

    shape = SIZES[args.size] if args.size else store.read_manifest(store.find_model(args.model or store.EMBEDDED)).shape
    batch = args.batch or (training_speed.DEFAULT_BATCH if args.size else training_speed.EMBEDDED_BATCH)
    threads, rng = args.threads or cpu.thread_count(), random.Random(args.seed)
    parts = (4 if args.peers else 2) * (args.rounds + 2)
    with _exit_on_signals(), show_progress(parts) as on_progress:
        report = training_speed.measure_training(shape, batch, threads, args.rounds, rng, args.peers, on_progress)
    if not _write_json(report.to_json(), args.json):
        training_speed.print_training_speed(report, sys.stdout)
    return 0


def _write_json(data: object, target: str | None) -> bool:
    """Writes the data to the file `target`, or to standard output if it is "-". Returns whether it is "-"."""
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    elif target is not None:
        from tools.cli import output

        output.write_atomic(Path(target), text.encode("utf-8"))
    return target == "-"


def _measure_speed(args: argparse.Namespace, target: BenchTarget, folder: Path) -> SpeedReport:
    """Runs the whole benchmark; temporary models go to the folder."""
    from tools.bench import fidelity, measure
    from tools.bench.errors import WorkerFailed
    from tools.bench.progress import show_progress
    from tools.bench.results import SpeedReport

    settings, rng = _make_settings(args, target), random.Random(args.seed)
    machine, parts = describe_machine(), len(target.candidates) * (2 + args.rounds)
    with show_progress(parts) as on_progress:
        prepared = target.prepare_models(folder, settings, args.seed, on_progress)
        order = measure.run_rounds(prepared, settings, args.rounds, rng, on_progress)
        windows, is_text = target.fidelity_windows(args.windows), target.is_text
        fidelity.measure_fidelity(prepared, settings, windows, folder, is_text=is_text, on_progress=on_progress)
    results = prepared.results
    if not any(result.visits for result in results):
        raise WorkerFailed(next((result.fault for result in results), "nothing to measure: --only fits no name"))
    metadata = {"format": 1, "model": target.title, "rounds": args.rounds, "threads": settings.threads}
    metadata |= {"seed": args.seed, "tokens": args.tokens, "machine": machine}
    chars_per_token, absent = target.chars_per_token, prepared.absent_peers
    return SpeedReport(metadata, settings.prompts, chars_per_token, is_text, results, absent, order)


def _make_settings(args: argparse.Namespace, target: BenchTarget) -> BenchSettings:
    from model.onnx import cpu
    from tools.bench.measure import DECODE_PROMPT_TOKENS, BenchSettings

    context = target.shape.n_positions
    # If no prompt fits, one prompt fills the context.
    prompts = tuple(sorted({prompt for prompt in args.prompts if prompt <= context})) or (context,)
    ids = tuple(target.prompt_ids[: max(DECODE_PROMPT_TOKENS, *prompts)])
    tokens = min(args.tokens, context - DECODE_PROMPT_TOKENS)
    return BenchSettings(args.threads or cpu.thread_count(), prompts, tokens, ids, tuple(args.peer_python))


def describe_machine() -> dict[str, str | float]:
    """Describes the machine. `load` is that of the last minute, so it is read before the benchmark starts."""
    import platform

    processor = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": processor,
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _exit_on_signals() -> AbstractContextManager[None]:
    """Makes SIGTERM and SIGHUP end the command as ^C does: temporary files are removed, and workers end."""
    from signal import SIGHUP, SIGTERM

    from tools.cli.signals import handle_signals

    return handle_signals(lambda number: sys.exit(128 + number), [SIGTERM, SIGHUP])


def _comma_separated(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _prompt_lengths(text: str) -> tuple[int, ...]:
    try:
        prompts = tuple(int(word) for word in text.split(","))
    except ValueError:
        prompts = (0,)
    if min(prompts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of lengths such as 32,128,512")
    return prompts
