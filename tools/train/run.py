"""One run from the texts to the model in the store: the one place of training that knows who is who."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path

from model.build.bits_per_byte import TextScore, score_documents
from model.onnx.session import OnnxSession
from model.store import store
from tools.train import card, checkpoint, data, device, export_onnx, loop, lora, memorisation, run_folder, sample_text
from tools.train.data import TokenIds
from tools.train.display import TrainDisplay, make_console
from tools.train.memorisation import Memorisation
from tools.train.options import TrainOptions
from tools.train.personas import count_personas
from tools.train.prepare import PreparedRun, prepare_run, write_run_folder
from tools.train.print_samples import SamplePrinter, open_sample_printer
from tools.train.run_folder import RunFolder
from tools.train.signals import StoppedBySignal, StopSignals

CHECKED_WINDOWS = 2


def run_training(options: TrainOptions) -> int:
    """Begin a run, or go on with it; write the model. Returns the exit code."""
    with StopSignals() as stopping:
        display = TrainDisplay(make_console(), stopping.raise_if_stopped)
        place = run_folder.run_folder_for(store.models_folder(), options.name)
        try:
            with run_folder.lock_folder(place):
                _train_and_export(options, place, display)
        except StoppedBySignal as stopped:
            display.print_line(f"stopped; the same command {_resume_hint(options, place)}")
            return stopped.exit_code
    return 0


def _resume_hint(options: TrainOptions, run_folder: RunFolder) -> str:
    if not run_folder.checkpoint.exists():
        return "begins anew: no step was kept"
    return "without --fresh goes on with what is kept" if options.fresh else "goes on from here"


def _train_and_export(options: TrainOptions, run_folder: RunFolder, display: TrainDisplay) -> None:
    material = prepare_run(options, run_folder, display)
    windows = data.sample_windows(material.train_ids, material.net.shape.n_positions, CHECKED_WINDOWS)
    assert windows is not None, "gather saw to it that there is a batch of them"
    if not material.is_resumed:
        # An export that cannot be is better known now than after the last step, or when the run before is forgotten.
        with _open_draft(options) as draft:
            _export_checked(draft, material, windows, options.threads, display)
        device.trim_heap()
    write_run_folder(run_folder, material)
    with open_sample_printer(options.line, display.print_line) as sheet:
        _train_net(material, run_folder, display, sheet)
    with _open_draft(options) as draft:
        onnx = _export_checked(draft, material, windows, options.threads, display)
        score = _score_held_out(onnx, material, options.threads, display)
        copies = _measure_memorisation(onnx, material, options, display)
        _write_model(draft, _make_result(options, material, run_folder, score, copies), material, display)


@contextmanager
def _open_draft(options: TrainOptions) -> Iterator[Path]:
    """Where the model is written before it is in its place."""
    written = store.models_folder() / options.name
    with ExitStack() as stack:
        with run_folder.convert_disk_errors(written):
            draft = stack.enter_context(store.open_draft(written))
        yield draft


def _train_net(
    prepared: PreparedRun, run_folder: RunFolder, display: TrainDisplay, sample_printer: SamplePrinter
) -> None:
    if prepared.config.lora:
        lora.add_adapters(prepared.net, prepared.config.lora, prepared.plan.seed)
    seen = prepared.held_out_ids if len(prepared.held_out_ids) else None
    figure: float | None = None
    prompts = cycle(sample_text.sample_prompts(count_personas(prepared.corpus.train)))
    reports = loop.train_net(prepared.net, prepared.train_ids, seen, prepared.plan, run_folder.checkpoint)
    with closing(reports), display.show_training() as show:
        for report in reports:
            if report.held_out_nats is not None:
                figure = report.held_out_nats * _bits_per_nat(prepared)
            show(report, figure)
            if report.is_evaluated:
                text = sample_text.write_sample(prepared.net, prepared.tokenizer, prepared.plan.seed, next(prompts))
                display.print_sample(text)
                sample_printer.print_sample(report.state.step, text)
            display.check_stop()
    prepared.net.cpu()
    lora.merge_adapters(prepared.net)


def _bits_per_nat(prepared: PreparedRun) -> float:
    """From nats a token to bits a byte, of the text held out; 0 where there is none."""
    size = sum(len(document.encode()) for document in prepared.corpus.held_out)
    return len(prepared.held_out_ids) / size / math.log(2) if size else 0.0


def _export_checked(draft: Path, prepared: PreparedRun, windows: TokenIds, threads: int, display: TrainDisplay) -> Path:
    with display.show_work("proving the export against torch"):
        with run_folder.convert_disk_errors(draft):
            onnx = export_onnx.write_onnx(prepared.net, draft)
        export_onnx.check_export(onnx, prepared.net, windows, threads)
    return onnx


def _score_held_out(onnx: Path, prepared: PreparedRun, threads: int, display: TrainDisplay) -> TextScore | None:
    if not prepared.corpus.held_out:
        return None
    session = OnnxSession(onnx, threads=threads)
    with display.show_work("scoring the text held out", 1.0) as advance:
        return score_documents(session, prepared.tokenizer, prepared.corpus.held_out, _as_share(advance))


def _measure_memorisation(
    onnx: Path, prepared: PreparedRun, options: TrainOptions, display: TrainDisplay
) -> Memorisation | None:
    if not options.copied:
        return None
    session, corpus = OnnxSession(onnx, threads=options.threads), prepared.corpus
    with display.show_work("looking for what it copies", 1.0) as advance:
        return memorisation.measure_memorisation(
            session,
            prepared.tokenizer,
            options.copied,
            corpus.train,
            corpus.held_out,
            prepared.plan.seed,
            _as_share(advance),
        )


def _as_share(advance: Callable[[float], None]) -> Callable[[int, int], None]:
    so_far = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal so_far
        advance(done / total - so_far)
        so_far = done / total

    return progress


def _make_result(
    options: TrainOptions,
    prepared: PreparedRun,
    run_folder: RunFolder,
    score: TextScore | None,
    memorisation: Memorisation | None,
) -> card.TrainResult:
    plan, corpus = prepared.plan, prepared.corpus
    return card.TrainResult(
        name=options.name,
        config=prepared.config,
        length=plan.length,
        rates=(plan.matrix_rate, plan.vector_rate),
        shape=prepared.net.shape,
        state=checkpoint.read_state(run_folder.checkpoint),
        documents=len(corpus.train) + len(corpus.held_out),
        train_tokens=len(prepared.train_ids),
        held_out_score=score,
        about=options.about,
        licence=options.licence,
        held_out_numbers=prepared.held_out_numbers,
        memorisation=memorisation,
        personas=count_personas(corpus.train),
        device=device.device_name("cuda") if plan.device == "cuda" else "",
        base_licence=prepared.base_licence,
        bits_per_nat=_bits_per_nat(prepared),
    )


def _write_model(draft: Path, result: card.TrainResult, prepared: PreparedRun, display: TrainDisplay) -> None:
    written = store.models_folder() / result.name
    with run_folder.convert_disk_errors(written):
        manifest = store.commit_draft(
            draft,
            written,
            name=result.name,
            shape=prepared.net.shape,
            tokenizer_json=prepared.tokenizer.to_json(),
            training=card.training_record(result),
            card=card.model_card(result),
        )
    for line in card.summary_lines(result):
        display.print_line(line)
    # That name alone is the model which asr33 came with.
    named = shlex.quote(str(written)) if result.name == store.EMBEDDED else result.name
    prompt = shlex.quote(sample_text.sample_prompts(result.personas)[0])
    display.print_line(f"{written}: {manifest.graph_bytes / 1e6:.1f} MB; try: asr33 ask {prompt} --model {named}")
