"""Runs a training from the texts to the model in the store. Only this module connects all parts of a run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path

from model.build.bits_per_byte import TextScore, score_documents
from model.build.copy_index_writer import write_copy_index
from model.build.memorisation import Memorisation, measure_memorisation
from model.onnx.session import OnnxSession
from model.store import store
from model.store.copy_index import RUN_LENGTH
from tools.train import checkpoint, data, device, export_onnx, gpt2, loop, model_card, samples
from tools.train.data import TokenIds
from tools.train.display import TrainDisplay, open_stdout
from tools.train.model_card import TrainResult
from tools.train.options import TrainOptions
from tools.train.prepare import PreparedRun, prepare_run, write_run_folder
from tools.train.run_folder import RunFolder, convert_disk_errors, lock_folder, run_folder_for
from tools.train.samples import SamplePrinter
from tools.train.signals import StoppedBySignal, StopSignals

CHECKED_WINDOWS = 2


def run_training(options: TrainOptions) -> int:
    """Begins or resumes a run, and writes the model. Returns the exit code of the command."""
    with StopSignals() as signals:
        display = TrainDisplay(open_stdout(), signals.raise_if_stopped)
        run_folder = run_folder_for(store.models_folder(), options.name)
        try:
            with lock_folder(run_folder):
                _train_and_export(options, run_folder, display)
        except StoppedBySignal as stopped:
            display.print_line(f"stopped; the same command {_resume_hint(options, run_folder)}")
            return stopped.exit_code
    return 0


def _resume_hint(options: TrainOptions, run_folder: RunFolder) -> str:
    if not run_folder.checkpoint.exists():
        return "begins from the start: no step was kept"
    return "without --fresh goes on with what is kept" if options.fresh else "goes on from here"


def _train_and_export(options: TrainOptions, run_folder: RunFolder, display: TrainDisplay) -> None:
    prepared = prepare_run(options, run_folder, display)
    windows = data.sample_windows(prepared.train_ids, prepared.net.shape.n_positions, CHECKED_WINDOWS)
    assert windows is not None, "prepare_run requires a batch of them"
    if not prepared.is_resumed:
        # A failing export must be known now, before the training and before an older run is removed.
        with _open_draft(options) as draft:
            _export_checked(draft, prepared, windows, options.threads, display)
        device.trim_heap()
    write_run_folder(run_folder, prepared)
    with samples.open_sample_printer(options.line, display.print_line) as sample_printer:
        last_nats = _train_net(prepared, run_folder, display, sample_printer)
    with _open_draft(options) as draft:
        onnx = _export_checked(draft, prepared, windows, options.threads, display)
        score = _score_held_out(onnx, prepared, options.threads, display)
        memorisation = _measure_memorisation(onnx, prepared, options, display)
        result = _make_result(options, prepared, run_folder, score, memorisation, last_nats)
        _write_model(draft, result, prepared, display)
    if options.index:
        _write_index(options.name, prepared, display)


@contextmanager
def _open_draft(options: TrainOptions) -> Iterator[Path]:
    """The draft folder of the model. Raises ToolError if it cannot be made."""
    target = store.models_folder() / options.name
    with ExitStack() as stack:
        with convert_disk_errors(target):
            draft = stack.enter_context(store.open_draft(target))
        yield draft


def _train_net(
    prepared: PreparedRun, run_folder: RunFolder, display: TrainDisplay, sample_printer: SamplePrinter
) -> float | None:
    """Takes the steps. Returns the loss of the final weights, as at an evaluation, if the run has a base to compare."""
    net, config, plan = prepared.net, prepared.config, prepared.plan
    if config.lora:
        gpt2.add_adapters(net, config.lora, plan.seed)
    held_out = prepared.held_out_ids if len(prepared.held_out_ids) else None
    bits_per_byte: float | None = None
    prompts = cycle(samples.sample_prompts(prepared.personas, prepared.persona))
    reports = loop.train_net(net, prepared.train_ids, held_out, plan, run_folder.checkpoint)
    with closing(reports), display.show_training() as show:
        for report in reports:
            if report.held_out_nats is not None:
                bits_per_byte = report.held_out_nats * _bits_per_nat(prepared)
            show(report, bits_per_byte)
            if report.is_evaluated:
                text = samples.write_sample(net, prepared.tokenizer, plan.seed, next(prompts))
                display.print_sample(text)
                sample_printer.print_sample(report.state.step, text)
            display.check_stop()
    last_nats = None
    if config.base is not None and held_out is not None:
        last_nats = loop.evaluate_net(net, held_out, plan)
    net.cpu()
    gpt2.merge_adapters(net)
    return last_nats


def _bits_per_nat(prepared: PreparedRun) -> float:
    """The factor from nats per token of the held-out text to bits per byte; 0 if nothing is held out."""
    size = sum(len(document.encode()) for document in prepared.corpus.held_out)
    return len(prepared.held_out_ids) / size / math.log(2) if size else 0.0


def _export_checked(draft: Path, prepared: PreparedRun, windows: TokenIds, threads: int, display: TrainDisplay) -> Path:
    with display.show_work("checking the export against torch"):
        with convert_disk_errors(draft):
            onnx = export_onnx.write_onnx(prepared.net, draft)
        export_onnx.check_export(onnx, prepared.net, windows, threads)
    return onnx


def _score_held_out(onnx: Path, prepared: PreparedRun, threads: int, display: TrainDisplay) -> TextScore | None:
    if not prepared.corpus.held_out:
        return None
    session = OnnxSession(onnx, threads=threads)
    with display.show_work("scoring the held-out text", 1.0) as advance:
        return score_documents(session, prepared.tokenizer, prepared.corpus.held_out, _as_share(advance))


def _measure_memorisation(
    onnx: Path, prepared: PreparedRun, options: TrainOptions, display: TrainDisplay
) -> Memorisation | None:
    if not options.copied:
        return None
    session, corpus = OnnxSession(onnx, threads=options.threads), prepared.corpus
    texts = corpus.train, corpus.held_out
    with display.show_work("measuring how much it copies", 1.0) as advance:
        on_progress = _as_share(advance)
        return measure_memorisation(session, prepared.tokenizer, options.copied, *texts, options.seed, on_progress)


def _as_share(advance: Callable[[float], None]) -> Callable[[int, int], None]:
    """Turns (done, total) into the share done since the last call."""
    share = 0.0

    def on_progress(done: int, total: int) -> None:
        nonlocal share
        advance(done / total - share)
        share = done / total

    return on_progress


def _make_result(
    options: TrainOptions,
    prepared: PreparedRun,
    run_folder: RunFolder,
    score: TextScore | None,
    memorisation: Memorisation | None,
    last_nats: float | None,
) -> TrainResult:
    plan, corpus = prepared.plan, prepared.corpus
    return TrainResult(
        name=options.name,
        config=prepared.config,
        length=plan.length,
        rates=plan.rates,
        shape=prepared.net.shape,
        state=checkpoint.read_state(run_folder.checkpoint),
        documents=len(corpus.train) + len(corpus.held_out),
        train_tokens=len(prepared.train_ids),
        held_out_score=score,
        about=options.about,
        licence=options.licence,
        held_out_numbers=prepared.held_out_numbers,
        memorisation=memorisation,
        personas=prepared.personas,
        persona=prepared.persona,
        device=plan.place,
        base_licence=prepared.base_licence,
        bits_per_nat=_bits_per_nat(prepared),
        last_nats=last_nats,
    )


def _write_index(name: str, prepared: PreparedRun, display: TrainDisplay) -> None:
    with display.show_work("indexing the texts", 1.0) as advance:
        header = write_copy_index(store.models_folder() / name, prepared.corpus.train, RUN_LENGTH, _as_share(advance))
    display.print_line(f"{name}: an index of {header.runs:,} runs of {header.run_length} words, for .COPIED")


def _write_model(draft: Path, result: TrainResult, prepared: PreparedRun, display: TrainDisplay) -> None:
    folder = store.models_folder() / result.name
    with convert_disk_errors(folder):
        manifest = store.commit_draft(
            draft,
            folder,
            name=result.name,
            shape=prepared.net.shape,
            tokenizer_json=prepared.tokenizer.to_json(),
            training=model_card.training_record(result),
            card=model_card.model_card(result),
        )
    for line in model_card.summary_lines(result):
        display.print_line(line)
    # The name `embedded` alone means the model that asr33 comes with.
    model = shlex.quote(str(folder)) if result.name == store.EMBEDDED else result.name
    if result.persona:
        display.print_line(f"at the machine it answers as {result.persona}: asr33 run --model {model}")
    elif result.personas:
        persona = shlex.quote(next(iter(result.personas)))
        display.print_line(f"at the machine: asr33 run --model {model} --persona {persona}")
    prompt = shlex.quote(samples.sample_prompts(result.personas, result.persona)[0])
    display.print_line(f"{folder}: {manifest.graph_bytes / 1e6:.1f} MB; try: asr33 ask {prompt} --model {model}")
