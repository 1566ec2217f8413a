"""Chooses the settings of a run that depend on the texts and on the machine: its config and its plan."""

from __future__ import annotations

from model.interface import GPT2Config
from tools.train import device, memory, schedule
from tools.train.display import TrainDisplay
from tools.train.holdout import HoldOut
from tools.train.inputs import TrainingTexts
from tools.train.memory import MemoryEstimate
from tools.train.options import DEFAULT_PATIENCE, TrainOptions
from tools.train.run_config import HashedSource, ModelSize, RunConfig
from tools.train.schedule import LOOK_EVERY, TrainPlan


def make_config(
    options: TrainOptions, texts: TrainingTexts, hold_out: HoldOut, base: tuple[HashedSource, GPT2Config] | None
) -> RunConfig:
    """The config of the run. The default of `patience` is on with a held-out text and a base or a corpus."""
    size, source = options.size or ModelSize(), None
    if base is not None:
        source, shape = base
        size = ModelSize(shape.vocab_size, shape.n_positions, shape.n_embd, shape.n_layer, shape.n_head)
    patience = options.patience
    if patience is None:
        is_patient = (source is not None or texts.has_corpus) and bool(hold_out) and not options.average
        patience = DEFAULT_PATIENCE if is_patient else 0
    return RunConfig(
        texts.sources,
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
        rate=options.rate or 0,
        times=options.times,
        corpus=texts.has_corpus,
    )


def make_plan(options: TrainOptions, config: RunConfig, shape: GPT2Config, display: TrainDisplay) -> TrainPlan:
    """The plan of the run, cut to the free memory. Raises ToolError."""
    torch_device = device.choose_device(options.device)
    is_bfloat16, precision = device.choose_precision(options.precision, torch_device, shape.n_embd)
    full = _estimate_memory(options, shape, torch_device, is_bfloat16)
    estimate = memory.fit_to_memory(full, device.free_memory(torch_device))
    rates = schedule.choose_rates(has_base=config.base is not None, has_adapters=bool(config.lora), percent=config.rate)
    place = f"{device.device_name(torch_device)}, {precision}"
    plan = TrainPlan(
        options.length,
        options.batch,
        options.seed,
        rates,
        look_every=options.look_every or (0 if config.patience else LOOK_EVERY),
        save_every_s=options.save_every_s,
        threads=estimate.threads,
        decay=config.decay,
        dropout=config.dropout,
        average=config.average,
        patience=config.patience,
        sequences=estimate.sequences,
        grows_context=config.base is None,
        device=torch_device,
        is_bfloat16=is_bfloat16,
        place=place,
    )
    needed = memory.format_bytes(estimate.total_bytes)
    display.print_line(f"on {place}, about {needed} of memory")
    if estimate != full:
        threads = "" if estimate.threads == full.threads else f", on {estimate.threads} threads"
        sequences = f"{estimate.sequences} of a step's {options.batch} sequences at once"
        display.print_line(f"cut to fit: {sequences}{threads}")
    if plan.patience:
        steps = plan.patience * plan.patience_span
        ending = f"the run ends after {steps:,} steps without improvement"
        display.print_line(f"{ending}, with the best weights (--patience)")
    elif options.patience:
        display.print_line("nothing is held out, so there is no early end: --patience needs --hold-out")
    return plan


def _estimate_memory(
    options: TrainOptions, shape: GPT2Config, torch_device: device.TorchDevice, is_bfloat16: bool
) -> MemoryEstimate:
    trainable, muon_trainable = memory.count_trainable(shape, options.lora)
    is_cuda = torch_device == "cuda"
    return MemoryEstimate(
        shape,
        trainable,
        muon_trainable,
        # On CUDA a microbatch is the whole batch, if that fits; on a CPU core it is the part that fits its cache.
        sequences=options.batch if is_cuda else min(memory.MICROBATCH_SEQUENCES, options.batch),
        threads=1 if is_cuda else options.threads,
        has_average=bool(options.average),
        is_bfloat16=is_bfloat16,
        is_cuda=is_cuda,
    )
