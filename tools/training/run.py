"""One run from the texts to the model in the store: the one place of training that knows who is who."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path

from model import store
from model.score import Score, bits_per_byte
from model.session import Session
from tools.training import card, checkpoint, copying, data, device, folder, loop, lora, samples, weights
from tools.training.copying import Copying
from tools.training.data import Ids
from tools.training.display import Display, console
from tools.training.folder import RunFolder
from tools.training.material import Material, enter, gather
from tools.training.options import Options
from tools.training.paper import Paper, paper
from tools.training.personas import personas
from tools.training.stopping import Stopped, Stopping

CHECKED_WINDOWS = 2


def run(options: Options) -> int:
    """Begin a run, or go on with it; write the model. Returns the exit code."""
    with Stopping() as stopping:
        display = Display(console(), stopping.check)
        place = folder.place(store.home(), options.name)
        try:
            with folder.taken(place):
                _run(options, place, display)
        except Stopped as stopped:
            display.say(f"stopped; the same command {_continues(options, place)}")
            return stopped.exit_code
    return 0


def _continues(options: Options, place: RunFolder) -> str:
    if not place.checkpoint.exists():
        return "begins anew: no step was kept"
    return "without --fresh goes on with what is kept" if options.fresh else "goes on from here"


def _run(options: Options, place: RunFolder, display: Display) -> None:
    material = gather(options, place, display)
    windows = data.sample_windows(material.train, material.net.shape.n_positions, CHECKED_WINDOWS)
    assert windows is not None, "gather saw to it that there is a batch of them"
    if not material.goes_on:
        # An export that cannot be is better known now than after the last step, or when the run before is forgotten.
        with _draft(options) as draft:
            _export(draft, material, windows, options.threads, display)
        device.give_back()
    enter(place, material)
    with paper(options.line, display.say) as sheet:
        _train(material, place, display, sheet)
    with _draft(options) as draft:
        onnx = _export(draft, material, windows, options.threads, display)
        score = _score(onnx, material, options.threads, display)
        copies = _copying(onnx, material, options, display)
        _settle(draft, _result(options, material, place, score, copies), material, display)


@contextmanager
def _draft(options: Options) -> Iterator[Path]:
    """Where the model is written before it is in its place."""
    written = store.home() / options.name
    with ExitStack() as stack:
        with folder.writing(written):
            draft = stack.enter_context(store.draft(written))
        yield draft


def _train(material: Material, place: RunFolder, display: Display, sheet: Paper) -> None:
    if material.recipe.lora:
        lora.adapt(material.net, material.recipe.lora, material.plan.seed)
    seen = material.held_out if len(material.held_out) else None
    figure: float | None = None
    prompts = cycle(samples.prompts(personas(material.corpus.train)))
    reports = loop.train(material.net, material.train, seen, material.plan, place.checkpoint)
    with closing(reports), display.training() as show:
        for report in reports:
            if report.held_out is not None:
                figure = report.held_out * _bits_per_nat(material)
            show(report, figure)
            if report.look:
                text = samples.sample(material.net, material.words, material.plan.seed, next(prompts))
                display.sample(text)
                sheet.show(report.progress.step, text)
            display.stop()
    material.net.cpu()
    lora.merge(material.net)


def _bits_per_nat(material: Material) -> float:
    """From nats a token to bits a byte, of the text held out; 0 where there is none."""
    size = sum(len(document.encode()) for document in material.corpus.held_out)
    return len(material.held_out) / size / math.log(2) if size else 0.0


def _export(draft: Path, material: Material, windows: Ids, threads: int, display: Display) -> Path:
    with display.work("proving the export against torch"):
        with folder.writing(draft):
            onnx = weights.to_onnx(material.net, draft)
        weights.prove(onnx, material.net, windows, threads)
    return onnx


def _score(onnx: Path, material: Material, threads: int, display: Display) -> Score | None:
    if not material.corpus.held_out:
        return None
    session = Session(onnx, threads=threads)
    with display.work("scoring the text held out", 1.0) as advance:
        return bits_per_byte(session, material.words, material.corpus.held_out, _by_share(advance))


def _copying(onnx: Path, material: Material, options: Options, display: Display) -> Copying | None:
    if not options.copied:
        return None
    session, corpus = Session(onnx, threads=options.threads), material.corpus
    with display.work("looking for what it copies", 1.0) as advance:
        return copying.measure(
            session,
            material.words,
            options.copied,
            corpus.train,
            corpus.held_out,
            material.plan.seed,
            _by_share(advance),
        )


def _by_share(advance: Callable[[float], None]) -> Callable[[int, int], None]:
    so_far = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal so_far
        advance(done / total - so_far)
        so_far = done / total

    return progress


def _result(
    options: Options, material: Material, place: RunFolder, score: Score | None, copies: Copying | None
) -> card.Result:
    plan, corpus = material.plan, material.corpus
    return card.Result(
        name=options.name,
        recipe=material.recipe,
        length=plan.length,
        rates=(plan.matrix_rate, plan.vector_rate),
        shape=material.net.shape,
        progress=checkpoint.read_progress(place.checkpoint),
        documents=len(corpus.train) + len(corpus.held_out),
        train_tokens=len(material.train),
        held_out=score,
        about=options.about,
        licence=options.licence,
        out=material.out,
        copying=copies,
        personas=personas(corpus.train),
        device=device.name("cuda") if plan.device == "cuda" else "",
        base_licence=material.base_licence,
        bits_per_nat=_bits_per_nat(material),
    )


def _settle(draft: Path, result: card.Result, material: Material, display: Display) -> None:
    written = store.home() / result.name
    with folder.writing(written):
        manifest = store.settle(
            draft,
            written,
            name=result.name,
            shape=material.net.shape,
            tokenizer_json=material.words.to_json(),
            training=card.record(result),
            card=card.card(result),
        )
    for line in card.figures(result):
        display.say(line)
    # That name alone is the model which asr33 came with.
    named = shlex.quote(str(written)) if result.name == store.EMBEDDED else result.name
    prompt = shlex.quote(samples.prompts(result.personas)[0])
    display.say(f"{written}: {manifest.graph_bytes / 1e6:.1f} MB; try: asr33 ask {prompt} --model {named}")
