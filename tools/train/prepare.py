"""Prepares a run, new or resumed, from the texts and its folder: config, tokens, net and plan. Takes no step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch

from model.build import import_weights
from model.errors import ModelDamaged, ModelError
from model.interface import GPT2Config
from model.onnx import tokenizer
from model.onnx.tokenizer import Tokenizer
from model.store import documents, store
from model.store.documents import DocumentSplit
from tools.cli.errors import ToolError
from tools.train import checkpoint, data, defaults, inputs, run_config, schedule, split_documents
from tools.train.data import TokenIds
from tools.train.display import TrainDisplay
from tools.train.gpt2 import Gpt2
from tools.train.holdout import HoldOut
from tools.train.inputs import TrainingTexts
from tools.train.options import TrainOptions
from tools.train.run_config import HashedSource, ModelSize, RunConfig, RunLength
from tools.train.run_folder import RunFolder, clear_folder, read_run_length, write_text
from tools.train.schedule import TrainPlan

DEFAULT_HOLD_OUT_PERCENT = 10.0  # of a corpus: the user does not know the numbers of its documents


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model to start from. `licence` is from its manifest, or empty."""

    source: HashedSource
    net: Gpt2
    tokenizer_json: str
    licence: str

    @property
    def shape(self) -> GPT2Config:
        return self.net.shape


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """The inputs of the training loop. `held_out_numbers` are the documents held out, from 1.

    `personas` are the speakers of the texts to train on, with their number of lines. `persona` is the one whom the
    `--person` of a corpus kept, or "".
    """

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
    personas: dict[str, int]
    persona: str


def prepare_run(options: TrainOptions, run_folder: RunFolder, display: TrainDisplay) -> PreparedRun:
    """Reads and encodes the texts, and compares them with the run in the folder. The folder is not changed.

    Raises ModelError and ToolError.
    """
    texts = inputs.read_texts(options.texts, options.times)
    if not texts.documents:
        raise ModelError("no text to train on: every document is blank", "damaged")
    hold_out = _choose_hold_out(options, texts)
    texts, held_out_numbers = split_documents.choose_held_out(texts, hold_out, Random(options.seed))
    corpus = documents.hold_out_documents(texts.documents, held_out_numbers)
    if not corpus.train:
        raise ModelError("no text to train on: every document is blank or held out", "damaged")
    base = None if options.base is None else _load_base(options.base, display)
    config = defaults.make_config(options, texts, hold_out, None if base is None else (base.source, base.shape))
    is_resumed = _check_resumed(options, run_folder, config, display)
    if is_resumed:
        encoder = _load_tokenizer(run_folder)
    else:
        encoder = _make_tokenizer(config.size.vocabulary, corpus.train, base, display)
    shape = base.shape if base is not None else _make_shape(config.size, encoder)
    with display.show_work("reading", sum(map(len, texts.documents))) as advance:
        times = [often for number, often in enumerate(texts.times, 1) if number not in held_out_numbers]
        parts, times = split_documents.cut_long_documents(corpus.train, times)
        train_ids = data.encode_documents(parts, encoder, advance, times)
        held_out_ids = data.encode_documents(corpus.held_out, encoder, advance)
    display.print_line(f"{len(train_ids):,} tokens to train on, {_describe_held_out(held_out_ids, shape)}")
    data.require_windows(train_ids, shape.n_positions, options.batch)
    plan = defaults.make_plan(options, config, shape, display)
    personas = inputs.count_personas(corpus.train, texts.person)
    torch.manual_seed(options.seed)
    return PreparedRun(
        is_resumed,
        config,
        "" if base is None else base.licence,
        corpus,
        held_out_numbers,
        encoder,
        train_ids,
        held_out_ids,
        Gpt2(shape) if base is None else base.net,
        plan,
        personas,
        texts.person if texts.person in personas else "",
    )


def write_run_folder(run_folder: RunFolder, prepared: PreparedRun) -> None:
    """Writes this run's files to the folder. Call it once the run is sure to be possible: an older run is removed."""
    if not prepared.is_resumed:
        clear_folder(run_folder)
        write_text(run_folder.tokenizer, prepared.tokenizer.to_json())
    write_text(run_folder.config, run_config.to_json(prepared.config, prepared.plan.length))


def read_base(name_or_path: str) -> BaseModel:
    """Reads a model of asr33 or a folder of the hub. Raises ModelNotFound, and ModelDamaged for quantised weights."""
    source = import_weights.read_source(name_or_path)
    with torch.device("meta"):  # no random numbers are drawn for weights that are replaced
        net = Gpt2(source.shape)
    net.load_state_dict({name: torch.tensor(value) for name, value in source.weights.items()}, assign=True)
    # The name by which the same command finds the model again, or the last part of a path.
    name = source.name if "/" in name_or_path else name_or_path
    licence = str(source.training.get("licence") or "")
    return BaseModel(HashedSource(name, _hash_weights(name_or_path)), net, source.tokenizer_json, licence)


def _hash_weights(name_or_path: str) -> str:
    """The SHA-256 of the file with the weights; of several files, the SHA-256 of their hashes."""
    folder = Path(name_or_path)
    folder = folder if folder.is_dir() else folder.parent
    if not (folder / import_weights.CONFIG_FILE).is_file() or not (paths := sorted(folder.glob("*.safetensors"))):
        return store.read_manifest(store.find_model(name_or_path)).graph_sha256
    hashes = []
    for path in paths:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _choose_hold_out(options: TrainOptions, texts: TrainingTexts) -> HoldOut:
    if options.hold_out is not None:
        return options.hold_out
    if not texts.has_corpus:
        return HoldOut()
    units = split_documents.split_large_units(texts, DEFAULT_HOLD_OUT_PERCENT).units
    return HoldOut(percent=DEFAULT_HOLD_OUT_PERCENT) if len(set(units)) > 1 else HoldOut()


def _load_base(name: str, display: TrainDisplay) -> BaseModel:
    with display.show_work("loading the base"):
        return read_base(name)


def _check_resumed(options: TrainOptions, run_folder: RunFolder, config: RunConfig, display: TrainDisplay) -> bool:
    """Whether the folder has this run already. Raises ToolError for another run, or if the model's name is taken."""
    if options.fresh or not run_folder.checkpoint.exists():
        if not options.fresh and (store.models_folder() / options.name).exists():
            cure = "take another --name, or --fresh"
            raise ToolError(f"--name {options.name}: it is there already; {cure}", "usage")
        display.print_line(f"{run_folder.path}: the run is kept here")
        return False
    length = read_run_length(run_folder, options.name, config)
    state = checkpoint.read_state(run_folder.checkpoint)
    if length is not None:
        _require_flat_rate(options, length, state)
    display.print_line(f"{run_folder.path}: going on from step {state.step}")
    if length is None:
        display.print_line("it has no run.json: it is taken for a run of this command")
    return True


def _require_flat_rate(options: TrainOptions, previous: RunLength, state: checkpoint.TrainState) -> None:
    """Raises ToolError for a new length, unless the learning rate is still flat by both lengths."""
    if options.length == previous:
        return
    if not (schedule.is_rate_flat(previous, state) and schedule.is_rate_flat(options.length, state)):
        fault = f"the run is at step {state.step}, its rate falls by then and its length {previous} stays"
        cure = f"to train more, make another model with --base {options.name}"
        raise ToolError(f"{options.length}: {fault}; {cure}", "usage")


def _load_tokenizer(run_folder: RunFolder) -> Tokenizer:
    """The vocabulary of the run so far. Raises ModelDamaged."""
    if not run_folder.tokenizer.exists():
        raise ModelDamaged(f"{run_folder.tokenizer}: missing beside its checkpoint; --fresh begins the run again")
    return tokenizer.from_json(run_folder.tokenizer.read_text("utf-8", errors="replace"))


def _make_tokenizer(size: int, texts: Sequence[str], base: BaseModel | None, display: TrainDisplay) -> Tokenizer:
    """The tokenizer of the base, or one with at most `size` tokens, trained on the texts."""
    if base is not None:
        return tokenizer.from_json(base.tokenizer_json)
    with display.show_work(f"learning a vocabulary of {size}", sum(map(len, texts))) as advance:
        encoder = tokenizer.train_tokenizer(data.iter_lines(texts, advance), size)
    if encoder.vocab_size < size:
        display.print_line(f"the text yields only {encoder.vocab_size} tokens")
    return encoder


def _make_shape(size: ModelSize, encoder: Tokenizer) -> GPT2Config:
    return GPT2Config(encoder.vocab_size, size.context, size.width, size.layers, size.heads)


def _describe_held_out(held_out_ids: TokenIds, shape: GPT2Config) -> str:
    if not len(held_out_ids):
        return "none held out: the quality will not be measured"
    note = "" if len(held_out_ids) > shape.n_positions else ", too few to evaluate during the run"
    return f"{len(held_out_ids):,} held out{note}"
