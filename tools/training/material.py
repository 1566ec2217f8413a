"""From texts and folder to all that the steps need, whether the run is new or goes on. It takes no step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from model import store, text, tokenizer
from model.base import Shape
from model.errors import ModelDamaged, TextDamaged
from model.text import Corpus
from model.tokenizer import Tokenizer
from tools.training import checkpoint, data, folder, loop, recipe, weights
from tools.training.data import Ids
from tools.training.display import Display
from tools.training.errors import OptionRefused, OtherRun
from tools.training.folder import RunFolder
from tools.training.loop import Plan
from tools.training.net import Gpt2
from tools.training.options import Options
from tools.training.recipe import Recipe, Size, Source

# From a base the rates are a fifth: a step of Muon has the same length whatever the gradient, and fifty at the full
# rate would write over what the base knows before the fall of the rate could mend it.
BASE_RATES = (0.004, 6e-4)


@dataclass(frozen=True, slots=True)
class Material:
    """All that the steps need; `goes_on` from a checkpoint, or anew."""

    goes_on: bool
    recipe: Recipe
    corpus: Corpus
    words: Tokenizer
    train: Ids
    held_out: Ids
    net: Gpt2
    plan: Plan


def gather(options: Options, place: RunFolder, display: Display) -> Material:
    """Read, compare with the run in the folder, encode; the folder stays as it is.

    Raises ModelError of many a kind, each with its cure.
    """
    documents = text.read_documents(options.texts)
    corpus = text.split(documents, options.hold_out)
    if not corpus.train:
        raise TextDamaged("no text to train on: every document is blank or held out")
    base = None if options.base is None else _base(options.base)
    asked = _recipe(options, base)
    goes_on = _goes_on(options, place, asked, display)
    words = _kept_words(place) if goes_on else _new_words(asked, corpus, base, display)
    torch.manual_seed(options.seed)
    net = Gpt2(_shape(asked.size, words)) if base is None else _based(base, display)
    rates = loop.RATES if base is None else BASE_RATES
    plan = Plan(
        options.length,
        options.batch,
        options.seed,
        *rates,
        save_every_s=options.save_every_s,
        threads=options.threads,
    )
    with display.work("reading", sum(map(len, documents))) as advance:
        train, held_out = (data.encode(some, words, advance) for some in (corpus.train, corpus.held_out))
    display.say(f"{len(train):,} tokens to train on, {_held_out_words(held_out, net.shape)}")
    data.require_windows(train, net.shape.n_positions, options.batch)
    return Material(goes_on, asked, corpus, words, train, held_out, net, plan)


def enter(place: RunFolder, material: Material) -> None:
    """Make the folder that of this run, now that it is known to be possible: only here is one before it forgotten."""
    if not material.goes_on:
        folder.clear(place)
        folder.write(place.tokenizer, material.words.to_json())
    folder.write(place.record, recipe.to_json(material.recipe, material.plan.length))


def _base(name: str) -> Path:
    found = store.find(name)
    store.verify(found)
    return found


def _based(base: Path, display: Display) -> Gpt2:
    with display.work("loading the base"):
        return weights.from_onnx(base / store.GRAPH)


def _recipe(options: Options, base: Path | None) -> Recipe:
    size, source = options.size, None
    if base is not None:
        manifest = store.read_manifest(base)
        source = Source(manifest.name, manifest.graph_sha256)
        shape = manifest.shape
        size = Size(shape.vocab_size, shape.n_positions, shape.n_embd, shape.n_layer, shape.n_head)
    texts = tuple(Source(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in options.texts)
    return Recipe(texts, options.hold_out, source, options.seed, options.batch, size or Size())


def _goes_on(options: Options, place: RunFolder, asked: Recipe, display: Display) -> bool:
    """Whether the folder has this run already. Raises OtherRun, and OptionRefused for a name taken."""
    if options.fresh or not place.checkpoint.exists():
        if not options.fresh and (store.home() / options.name).exists():
            raise OptionRefused(f"--name {options.name}: it is there already; take another --name, or --fresh")
        display.say(f"{place.path}: the run is kept here")
        return False
    length = folder.begun(place, options.name, asked)
    progress = checkpoint.read_progress(place.checkpoint)
    if length is not None:
        _require_flat(options, length, progress)
    display.say(f"{place.path}: going on from step {progress.step}")
    if length is None:
        display.say("it has no run.json: taken for a run of this very command")
    return True


def _require_flat(options: Options, was: recipe.Length, progress: checkpoint.Progress) -> None:
    """A run's length may change while its rate is flat, and to one by which it is flat still."""
    if options.length == was:
        return
    if not (loop.flat(was, progress) and loop.flat(options.length, progress)):
        raise OtherRun(
            f"{options.length}: the run is at step {progress.step}, its rate falls by then and its length {was} stays; "
            f"to train more, make another model with --base {options.name}"
        )


def _kept_words(place: RunFolder) -> Tokenizer:
    """The vocabulary of the run so far."""
    if not place.tokenizer.exists():
        raise ModelDamaged(f"{place.tokenizer}: missing beside its checkpoint; --fresh begins the run again")
    return tokenizer.from_json(place.tokenizer.read_text("utf-8", errors="replace"))


def _new_words(asked: Recipe, corpus: Corpus, base: Path | None, display: Display) -> Tokenizer:
    """The vocabulary of the base, or one learnt from the training text."""
    if base is not None:
        return tokenizer.from_json((base / store.TOKENIZER).read_text("utf-8"))
    title = f"learning a vocabulary of {asked.size.vocabulary}"
    with display.work(title, sum(map(len, corpus.train))) as advance:
        words = tokenizer.learn(data.lines_of(corpus.train, advance), asked.size.vocabulary)
    if words.size < asked.size.vocabulary:
        display.say(f"the text yields only {words.size} tokens")
    return words


def _shape(size: Size, words: Tokenizer) -> Shape:
    return Shape(words.size, size.context, size.width, size.layers, size.heads)


def _held_out_words(held_out: Ids, shape: Shape) -> str:
    if not len(held_out):
        return "none held out: there will be no figure of quality"
    short = "" if len(held_out) > shape.n_positions else ", too few for figures on the way"
    return f"{len(held_out):,} held out{short}"
