"""From what was asked and what was found to the recipe and the plan of a run: the defaults that depend on both."""

from __future__ import annotations

from model.interface import GPT2Config
from tools.train import device, memory
from tools.train.display import TrainDisplay
from tools.train.holdout import HoldOut
from tools.train.inputs import TrainingTexts
from tools.train.memory import MemoryEstimate
from tools.train.options import DEFAULT_PATIENCE, TrainOptions
from tools.train.run_config import HashedSource, ModelSize, RunConfig
from tools.train.schedule import BASE_LEARNING_RATES, LEARNING_RATES, LOOK_EVERY, LORA_LEARNING_RATES, TrainPlan


def make_config(
    options: TrainOptions,
    training_texts: TrainingTexts,
    hold_out: HoldOut,
    base: tuple[HashedSource, GPT2Config] | None,
) -> RunConfig:
    """What makes the run the run it is."""
    size, source = options.size or ModelSize(), None
    if base is not None:
        source, shape = base
        size = ModelSize(shape.vocab_size, shape.n_positions, shape.n_embd, shape.n_layer, shape.n_head)
    patience = options.patience
    if patience is None:
        wanted = (source is not None or training_texts.has_corpus) and bool(hold_out) and not options.average
        patience = DEFAULT_PATIENCE if wanted else 0
    return RunConfig(
        training_texts.sources,
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
        corpus=training_texts.has_corpus,
    )


def make_plan(options: TrainOptions, config: RunConfig, shape: GPT2Config, display: TrainDisplay) -> TrainPlan:
    """Raises DeviceMissing, MemoryShort."""
    where = device.choose_device(options.device)
    load = memory.fit_to_memory(_estimate_memory(options, shape, where), device.free_memory(where))
    rates = LEARNING_RATES if options.base is None else LORA_LEARNING_RATES if options.lora else BASE_LEARNING_RATES
    made = TrainPlan(
        options.length,
        options.batch,
        options.seed,
        *rates,
        look_every=options.look_every or (0 if config.patience else LOOK_EVERY),
        save_every_s=options.save_every_s,
        threads=load.threads,
        decay=config.decay,
        dropout=config.dropout,
        average=config.average,
        patience=config.patience,
        sequences=load.sequences,
        device=where,
        is_bfloat16=load.is_bfloat16,
    )
    _print_plan(options, made, where, load, display)
    return made


def _estimate_memory(options: TrainOptions, shape: GPT2Config, torch_device: device.TorchDevice) -> MemoryEstimate:
    numbers, matrices = memory.count_trainable(shape, options.lora)
    card = torch_device == "cuda"
    return MemoryEstimate(
        shape,
        numbers,
        matrices,
        # A share on a card is the whole batch, if that fits; on a core it is what stays in the cache.
        sequences=options.batch if card else min(memory.MICROBATCH_SEQUENCES, options.batch),
        threads=1 if card else options.threads,
        has_average=bool(options.average),
        is_bfloat16=card,
    )


def _print_plan(
    options: TrainOptions,
    plan: TrainPlan,
    torch_device: device.TorchDevice,
    estimate: MemoryEstimate,
    display: TrainDisplay,
) -> None:
    display.print_line(
        f"on {device.device_name(torch_device)}, about {memory.format_bytes(estimate.total_bytes)} of memory"
    )
    full = _estimate_memory(options, estimate.shape, torch_device)
    if (estimate.sequences, estimate.threads) != (full.sequences, full.threads):
        threads = "" if estimate.threads == full.threads else f", on {estimate.threads} threads"
        display.print_line(f"cut to fit: {estimate.sequences} of a step's {options.batch} sequences at once{threads}")
    if plan.patience:
        steps = plan.patience * plan.patience_span
        display.print_line(f"it ends when {steps:,} steps bring nothing better, with the best weights (--patience)")
    elif options.patience:
        display.print_line("nothing is held out, so there is no early end: --patience needs --hold-out")
