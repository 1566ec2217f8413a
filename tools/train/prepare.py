"""From texts and folder to all that the steps need, whether the run is new or goes on. It takes no step."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch

from model.errors import ModelDamaged, TextDamaged
from model.interface import GPT2Config
from model.onnx import tokenizer
from model.onnx.tokenizer import Tokenizer
from model.store import documents, store
from model.store.documents import DocumentSplit
from tools.train import base_model, checkpoint, data, defaults, inputs, run_config, split_documents
from tools.train import schedule as plans
from tools.train.base_model import BaseModel
from tools.train.data import TokenIds
from tools.train.display import TrainDisplay
from tools.train.errors import OptionRefused, OtherRun
from tools.train.gpt2 import Gpt2
from tools.train.holdout import HoldOut
from tools.train.inputs import TrainingTexts
from tools.train.options import TrainOptions
from tools.train.run_config import ModelSize, RunConfig
from tools.train.run_folder import RunFolder, clear_folder, read_run_length, write_text
from tools.train.schedule import TrainPlan

DEFAULT_HOLD_OUT_PERCENT = (
    10.0  # per cent of a corpus that are held out by default: a person's heap of files has no numbers yet
)


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """All that the steps need; `goes_on` from a checkpoint, or anew. `out` are the documents held out, from 1."""

    is_resumed: bool
    config: RunConfig
    base_licence: str
    corpus: DocumentSplit
    held_out_numbers: tuple[int, ...]
    tokenizer: Tokenizer
    train_ids: TokenIds
    held_out_ids: TokenIds
    net: Gpt2
    plan: TrainPlan


def prepare_run(options: TrainOptions, run_folder: RunFolder, display: TrainDisplay) -> PreparedRun:
    """Read, compare with the run in the folder, encode; the folder stays as it is.

    Raises ModelError of many a kind, each with its cure.
    """
    found = inputs.read_texts(options.texts)
    if not found.documents:
        raise TextDamaged("no text to train on: every document is blank")
    hold_out = _choose_hold_out(options, found)
    found, out = split_documents.choose_held_out(found, hold_out, Random(options.seed))
    corpus = documents.hold_out_documents(found.documents, out)
    if not corpus.train:
        raise TextDamaged("no text to train on: every document is blank or held out")
    base = None if options.base is None else _load_base(options.base, display)
    asked = defaults.make_config(options, found, hold_out, None if base is None else (base.source, base.shape))
    goes_on = _check_resumed(options, run_folder, asked, display)
    words = _load_tokenizer(run_folder) if goes_on else _make_tokenizer(asked, corpus, base, display)
    shape = _make_shape(asked.size, words) if base is None else base.shape
    with display.show_work("reading", sum(map(len, found.documents))) as advance:
        train, held_out = (data.encode_documents(some, words, advance) for some in (corpus.train, corpus.held_out))
    display.print_line(f"{len(train):,} tokens to train on, {_held_out_text(held_out, shape)}")
    data.require_windows(train, shape.n_positions, options.batch)
    plan = defaults.make_plan(options, asked, shape, display)
    torch.manual_seed(options.seed)
    net = Gpt2(shape) if base is None else base.net
    licence = "" if base is None else base.licence
    return PreparedRun(goes_on, asked, licence, corpus, out, words, train, held_out, net, plan)


def write_run_folder(run_folder: RunFolder, prepared: PreparedRun) -> None:
    """Make the folder that of this run, now that it is known to be possible: only here is one before it forgotten."""
    if not prepared.is_resumed:
        clear_folder(run_folder)
        write_text(run_folder.tokenizer, prepared.tokenizer.to_json())
    write_text(run_folder.config, run_config.to_json(prepared.config, prepared.plan.length))


def _choose_hold_out(options: TrainOptions, training_texts: TrainingTexts) -> HoldOut:
    if options.hold_out is not None:
        return options.hold_out
    possible = (
        training_texts.has_corpus
        and len(set(split_documents.split_large_units(training_texts, DEFAULT_HOLD_OUT_PERCENT).units)) > 1
    )
    return HoldOut(percent=DEFAULT_HOLD_OUT_PERCENT) if possible else HoldOut()


def _load_base(name: str, display: TrainDisplay) -> BaseModel:
    with display.show_work("loading the base"):
        return base_model.read_base(name)


def _check_resumed(options: TrainOptions, run_folder: RunFolder, config: RunConfig, display: TrainDisplay) -> bool:
    """Whether the folder has this run already. Raises OtherRun, and OptionRefused for a name taken."""
    if options.fresh or not run_folder.checkpoint.exists():
        if not options.fresh and (store.models_folder() / options.name).exists():
            raise OptionRefused(f"--name {options.name}: it is there already; take another --name, or --fresh")
        display.print_line(f"{run_folder.path}: the run is kept here")
        return False
    length = read_run_length(run_folder, options.name, config)
    progress = checkpoint.read_state(run_folder.checkpoint)
    if length is not None:
        _require_flat_rate(options, length, progress)
    display.print_line(f"{run_folder.path}: going on from step {progress.step}")
    if length is None:
        display.print_line("it has no run.json: taken for a run of this very command")
    return True


def _require_flat_rate(options: TrainOptions, previous: run_config.RunLength, state: checkpoint.TrainState) -> None:
    """A run's length may change while its rate is flat, and to one by which it is flat still."""
    if options.length == previous:
        return
    if not (plans.is_rate_flat(previous, state) and plans.is_rate_flat(options.length, state)):
        raise OtherRun(
            f"{options.length}: the run is at step {state.step}, its rate falls by then and its length {previous} stays; "
            f"to train more, make another model with --base {options.name}"
        )


def _load_tokenizer(run_folder: RunFolder) -> Tokenizer:
    """The vocabulary of the run so far."""
    if not run_folder.tokenizer.exists():
        raise ModelDamaged(f"{run_folder.tokenizer}: missing beside its checkpoint; --fresh begins the run again")
    return tokenizer.from_json(run_folder.tokenizer.read_text("utf-8", errors="replace"))


def _make_tokenizer(
    config: RunConfig, corpus: DocumentSplit, base: BaseModel | None, display: TrainDisplay
) -> Tokenizer:
    """The vocabulary of the base, or one learnt from the training text."""
    if base is not None:
        return tokenizer.from_json(base.tokenizer_json)
    title = f"learning a vocabulary of {config.size.vocabulary}"
    with display.show_work(title, sum(map(len, corpus.train))) as advance:
        words = tokenizer.train_tokenizer(data.iter_lines(corpus.train, advance), config.size.vocabulary)
    if words.vocab_size < config.size.vocabulary:
        display.print_line(f"the text yields only {words.vocab_size} tokens")
    return words


def _make_shape(size: ModelSize, vocabulary: Tokenizer) -> GPT2Config:
    return GPT2Config(vocabulary.vocab_size, size.context, size.width, size.layers, size.heads)


def _held_out_text(held_out_ids: TokenIds, shape: GPT2Config) -> str:
    if not len(held_out_ids):
        return "none held out: there will be no figure of quality"
    short = "" if len(held_out_ids) > shape.n_positions else ", too few for figures on the way"
    return f"{len(held_out_ids):,} held out{short}"
