"""From what was asked and what was found to the recipe and the plan of a run: the defaults that depend on both."""

from __future__ import annotations

from model.base import Shape
from tools.training import device, memory
from tools.training.display import Display
from tools.training.holding import HoldOut
from tools.training.memory import Load
from tools.training.options import PATIENCE, Options
from tools.training.plan import BASE_RATES, LOOK_EVERY, LORA_RATES, RATES, Plan
from tools.training.recipe import Recipe, Size, Source
from tools.training.texts import Texts


def recipe_of(options: Options, found: Texts, hold_out: HoldOut, base: tuple[Source, Shape] | None) -> Recipe:
    """What makes the run the run it is."""
    size, source = options.size or Size(), None
    if base is not None:
        source, shape = base
        size = Size(shape.vocab_size, shape.n_positions, shape.n_embd, shape.n_layer, shape.n_head)
    patience = options.patience
    if patience is None:
        wanted = (source is not None or found.corpus) and bool(hold_out) and not options.average
        patience = PATIENCE if wanted else 0
    return Recipe(
        found.sources,
        hold_out.numbers,
        source,
        options.seed,
        options.batch,
        size,
        hold_share=hold_out.percent,
        patience=patience if hold_out else 0,
        look_every=options.look_every or 0,
        lora=options.lora,
        dropout=options.dropout,
        decay=options.decay,
        average=options.average,
        corpus=found.corpus,
    )


def plan_of(options: Options, asked: Recipe, shape: Shape, display: Display) -> Plan:
    """Raises DeviceMissing, MemoryShort."""
    where = device.chosen(options.device)
    load = memory.fitting(_load(options, shape, where), device.free(where))
    rates = RATES if options.base is None else LORA_RATES if options.lora else BASE_RATES
    made = Plan(
        options.length,
        options.batch,
        options.seed,
        *rates,
        look_every=options.look_every or (0 if asked.patience else LOOK_EVERY),
        save_every_s=options.save_every_s,
        threads=load.threads,
        decay=asked.decay,
        dropout=asked.dropout,
        average=asked.average,
        patience=asked.patience,
        sequences=load.sequences,
        device=where,
        half=load.half,
    )
    _tell(options, made, where, load, display)
    return made


def _load(options: Options, shape: Shape, where: device.Device) -> Load:
    numbers, matrices = memory.moved(shape, options.lora)
    card = where == "cuda"
    return Load(
        shape,
        numbers,
        matrices,
        # A share on a card is the whole batch, if that fits; on a core it is what stays in the cache.
        sequences=options.batch if card else min(memory.SEQUENCES, options.batch),
        threads=1 if card else options.threads,
        average=bool(options.average),
        half=card,
    )


def _tell(options: Options, made: Plan, where: device.Device, load: Load, display: Display) -> None:
    display.say(f"on {device.name(where)}, about {memory.words(load.bytes)} of memory")
    full = _load(options, load.shape, where)
    if (load.sequences, load.threads) != (full.sequences, full.threads):
        threads = "" if load.threads == full.threads else f", on {load.threads} threads"
        display.say(f"cut to fit: {load.sequences} of a step's {options.batch} sequences at once{threads}")
    if made.patience:
        steps = made.patience * made.span
        display.say(f"it ends when {steps:,} steps bring nothing better, with the best weights (--patience)")
    elif options.patience:
        display.say("nothing is held out, so there is no early end: --patience needs --hold-out")
