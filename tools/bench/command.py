"""How fast a model is here: tokens a second, time to the first token, memory, load, and how many Teletypes that feeds.

asr33 bench                          the embedded model, as it lies there
asr33 bench --size 124M              random weights of a GPT-2's size, in each of our widths
asr33 bench --peers --json out.json  beside ctranslate2, llama.cpp and transformers, round by round
asr33 bench --start --rounds 15      from a command to its first character, beside Python's own start
asr33 bench --lines 100 --size 124M  a hundred Teletypes on one model: who has to wait, and for how long
asr33 bench --simulate --lines 1000  the same without a model, by the times that its passes took somewhere
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from model.interface import THREAD_RANGE
from tools.ask import ranged_number
from tools.bench.candidates import SIZES
from tools.bench.load import options
from tools.bench.simulate import options as simulated

if TYPE_CHECKING:
    from tools.bench.figures import SpeedReport
    from tools.bench.run import BenchSettings
    from tools.bench.target import BenchTarget

DEFAULT_PROMPTS = (32, 128, 512, 1000)
EXIT_INTERRUPTED = 130  # 128 + SIGINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument(
        "--model", metavar="NAME|PATH", help="the model (embedded, or with --peers 124M); with --lines a URL too"
    )
    subject.add_argument("--size", choices=SIZES, help="random weights of that size, in each of our widths")
    add("--peers", action="store_true", help="beside whichever is installed of ctranslate2, llama.cpp, transformers")
    add("--also", action="append", default=[], metavar="NAME|PATH", help="a model of the same weights, beside the rest")
    add(
        "--only",
        type=_comma_separated,
        default=[],
        metavar="WORD,WORD",
        help="only those whose name has one of the words",
    )
    add(
        "--peer-python",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="the Python of another environment that peers may live in",
    )
    add("--start", action="store_true", help="only how soon commands answer, beside what Python takes for it")
    add(
        "--threads",
        type=ranged_number(int, *THREAD_RANGE),
        default=0,
        metavar="N",
        help="0: as many as there are cores",
    )
    add(
        "--rounds",
        type=ranged_number(int, 1, 1000),
        default=5,
        metavar="N",
        help="how often each is measured (%(default)s)",
    )
    add(
        "--prompts",
        type=_prompt_lengths,
        default=DEFAULT_PROMPTS,
        metavar="N,N",
        help="tokens of prompts (32,128,512,1000)",
    )
    add(
        "--tokens",
        type=ranged_number(int, 1, 1000),
        default=64,
        metavar="N",
        help="tokens decoded at a time (%(default)s)",
    )
    add(
        "--windows",
        type=ranged_number(int, 1, 10_000),
        default=16,
        metavar="N",
        help="windows to judge by (%(default)s)",
    )
    add("--text", type=Path, metavar="FILE", help="the text to judge by, one that the model was not trained on")
    add(
        "--seed",
        type=ranged_number(int, 0, 2**63 - 1),
        default=33,
        metavar="N",
        help="of weights and order (%(default)s)",
    )
    add("--json", metavar="FILE|-", help="every number as JSON, - in place of the table")
    options.add_arguments(parser)
    simulated.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    from tools.cli import output

    for file in (args.json, args.picture):
        if file not in (None, "-"):
            output.check_writable(Path(file))
    if args.simulate:
        return _run_simulation(args)
    if args.lines is not None or args.until_stall:
        return _run_load_test(args)
    if args.start:
        return _run_startup_benchmark(args)
    from tools.bench import target

    with _exit_on_signals(), tempfile.TemporaryDirectory(prefix="asr33-bench-") as folder:
        report = _measure_speed(args, target.find_target(args), Path(folder))
    if not _write_json(report.to_json(), args.json):
        from tools.bench import table

        table.print_report(report, sys.stdout)
    return 0


def _run_load_test(args: argparse.Namespace) -> int:
    """Many virtual Teletypes at once."""
    from tools.cli import output

    with _exit_on_signals():
        report = options.run_load_test(args, describe_machine())
    if args.picture is not None and report.last_run is not None:
        output.write_atomic(Path(args.picture), options.render_chart(report))
    if not _write_json(report.to_json(), args.json):
        from tools.bench.load import table

        table.print_load_report(report, sys.stdout, args.patience)
    return 0 if report.is_complete else EXIT_INTERRUPTED


def _run_simulation(args: argparse.Namespace) -> int:
    """Many more, on paper alone."""
    report = simulated.run_simulation(args)
    if not _write_json(report.to_json(), args.json):
        from tools.bench.simulate import table

        table.print_simulation_report(report, sys.stdout)
    return 0


def _run_startup_benchmark(args: argparse.Namespace) -> int:
    """How soon a command answers."""
    from model.store import store
    from tools.bench import startup_time
    from tools.bench.progress import show_progress

    model = store.find_model(args.model or store.EMBEDDED)
    with _exit_on_signals(), show_progress(args.rounds + 1) as tell:
        started = startup_time.measure_startup(str(model), args.rounds, tell)
    if not _write_json(started.to_json(), args.json):
        startup_time.print_startup_times(started, sys.stdout)
    return 0


def _write_json(data: object, target: str | None) -> bool:
    """Every number as JSON where it is wanted; whether that was all that is."""
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    elif target is not None:
        from tools.cli import output

        output.write_atomic(Path(target), text.encode("utf-8"))
    return target == "-"


def _measure_speed(args: argparse.Namespace, target: BenchTarget, folder: Path) -> SpeedReport:
    """Everything that takes time; what it writes is in the folder."""
    from tools.bench import fidelity, run
    from tools.bench.errors import WorkerFailed
    from tools.bench.figures import SpeedReport
    from tools.bench.progress import show_progress

    setting, chance = _make_settings(args, target), random.Random(args.seed)
    here, parts = describe_machine(), len(target.candidates) * (2 + args.rounds)
    with show_progress(parts) as tell:
        prepared = target.prepare_models(folder, setting, args.seed, tell)
        order = run.run_rounds(prepared, setting, args.rounds, chance, tell)
        windows = target.fidelity_windows(args.windows)
        fidelity.measure_fidelity(prepared, setting, windows, folder, is_text=target.is_text, on_progress=tell)
    if not any(result.visits for result in prepared.results):
        raise WorkerFailed(
            next((result.fault for result in prepared.results), "nothing to measure: --only fits no name")
        )
    about = {"format": 1, "model": target.title, "rounds": args.rounds, "threads": setting.threads, "seed": args.seed}
    about |= {"tokens": args.tokens, "machine": here}
    prompts = setting.prompts
    return SpeedReport(
        about, prompts, target.chars_per_token, target.is_text, prepared.results, prepared.absent_peers, order
    )


def _make_settings(args: argparse.Namespace, target: BenchTarget) -> BenchSettings:
    from model.onnx import cpu
    from tools.bench.run import DECODE_PROMPT_TOKENS, BenchSettings

    context = target.shape.n_positions
    # Where none fits, the context itself is a prompt.
    prompts = tuple(sorted({prompt for prompt in args.prompts if prompt <= context})) or (context,)
    ids = tuple(target.prompt_ids[: max(DECODE_PROMPT_TOKENS, *prompts)])
    tokens = min(args.tokens, context - DECODE_PROMPT_TOKENS)
    return BenchSettings(args.threads or cpu.thread_count(), prompts, tokens, ids, tuple(args.peer_python))


def describe_machine() -> dict[str, str | float]:
    """What the figures hold for; `load` is that of the last minute, so ask before there is any of ours."""
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


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end it as ^C does: nothing is left on the disk or at work."""

    def end(signum: int, _: object) -> None:
        sys.exit(128 + signum)

    before = {signum: signal.signal(signum, end) for signum in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


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
