"""From texts and folder to all that the steps need, whether the run is new or goes on. It takes no step."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch

from model import store, text, tokenizer
from model.base import Shape
from model.errors import ModelDamaged, TextDamaged
from model.text import Corpus
from model.tokenizer import Tokenizer
from tools.training import bases, checkpoint, data, folder, planning, recipe, stretches, texts
from tools.training import plan as plans
from tools.training.bases import Base
from tools.training.data import Ids
from tools.training.display import Display
from tools.training.errors import OptionRefused, OtherRun
from tools.training.folder import RunFolder
from tools.training.holding import HoldOut
from tools.training.net import Gpt2
from tools.training.options import Options
from tools.training.plan import Plan
from tools.training.recipe import Recipe, Size
from tools.training.texts import Texts

SHARE = 10.0  # per cent of a corpus that are held out by default: a person's heap of files has no numbers yet


@dataclass(frozen=True, slots=True)
class Material:
    """All that the steps need; `goes_on` from a checkpoint, or anew. `out` are the documents held out, from 1."""

    goes_on: bool
    recipe: Recipe
    base_licence: str
    corpus: Corpus
    out: tuple[int, ...]
    words: Tokenizer
    train: Ids
    held_out: Ids
    net: Gpt2
    plan: Plan


def gather(options: Options, place: RunFolder, display: Display) -> Material:
    """Read, compare with the run in the folder, encode; the folder stays as it is.

    Raises ModelError of many a kind, each with its cure.
    """
    found = texts.gathered(options.texts)
    if not found.documents:
        raise TextDamaged("no text to train on: every document is blank")
    hold_out = _hold_out(options, found)
    found, out = stretches.set_apart(found, hold_out, Random(options.seed))
    corpus = text.split(found.documents, out)
    if not corpus.train:
        raise TextDamaged("no text to train on: every document is blank or held out")
    base = None if options.base is None else _based(options.base, display)
    asked = planning.recipe_of(options, found, hold_out, None if base is None else (base.source, base.shape))
    goes_on = _goes_on(options, place, asked, display)
    words = _kept_words(place) if goes_on else _new_words(asked, corpus, base, display)
    shape = _shape(asked.size, words) if base is None else base.shape
    with display.work("reading", sum(map(len, found.documents))) as advance:
        train, held_out = (data.encode(some, words, advance) for some in (corpus.train, corpus.held_out))
    display.say(f"{len(train):,} tokens to train on, {_held_out_words(held_out, shape)}")
    data.require_windows(train, shape.n_positions, options.batch)
    plan = planning.plan_of(options, asked, shape, display)
    torch.manual_seed(options.seed)
    net = Gpt2(shape) if base is None else base.net
    licence = "" if base is None else base.licence
    return Material(goes_on, asked, licence, corpus, out, words, train, held_out, net, plan)


def enter(place: RunFolder, material: Material) -> None:
    """Make the folder that of this run, now that it is known to be possible: only here is one before it forgotten."""
    if not material.goes_on:
        folder.clear(place)
        folder.write(place.tokenizer, material.words.to_json())
    folder.write(place.record, recipe.to_json(material.recipe, material.plan.length))


def _hold_out(options: Options, found: Texts) -> HoldOut:
    if options.hold_out is not None:
        return options.hold_out
    possible = found.corpus and len(set(stretches.parted(found, SHARE).units)) > 1
    return HoldOut(percent=SHARE) if possible else HoldOut()


def _based(name: str, display: Display) -> Base:
    with display.work("loading the base"):
        return bases.read(name)


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
    if not (plans.flat(was, progress) and plans.flat(options.length, progress)):
        raise OtherRun(
            f"{options.length}: the run is at step {progress.step}, its rate falls by then and its length {was} stays; "
            f"to train more, make another model with --base {options.name}"
        )


def _kept_words(place: RunFolder) -> Tokenizer:
    """The vocabulary of the run so far."""
    if not place.tokenizer.exists():
        raise ModelDamaged(f"{place.tokenizer}: missing beside its checkpoint; --fresh begins the run again")
    return tokenizer.from_json(place.tokenizer.read_text("utf-8", errors="replace"))


def _new_words(asked: Recipe, corpus: Corpus, base: Base | None, display: Display) -> Tokenizer:
    """The vocabulary of the base, or one learnt from the training text."""
    if base is not None:
        return tokenizer.from_json(base.tokenizer_json)
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
