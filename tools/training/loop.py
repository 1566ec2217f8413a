"""The training loop: a generator of reports, which knows nothing of terminals and files but its checkpoint.

The rate rises for `WARM_UP` steps, stays flat until the last part of the run, its fall, and goes down there
in a straight line to `LAST_RATE` of itself. While it is flat a run may still be made longer or shorter, its
fall too, and is then the same run that it would have been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tools.training import checkpoint, shares
from tools.training.checkpoint import Progress
from tools.training.data import Ids, batches, sample_windows
from tools.training.errors import RunHalted
from tools.training.muon import Muon
from tools.training.net import Gpt2
from tools.training.recipe import Length
from tools.training.shares import Spread

RATES = (0.02, 3e-3)  # matrices, vectors
WARM_UP = 50
LAST_RATE = 0.02
SUSPENDED = 10  # a step that takes this many times the usual was a machine asleep, not work
LOOK_WINDOWS = 64  # held-out windows of a look on the way: 32,768 tokens at context 512, a second or two


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is done. Rates are those of the flat part: of Muon for matrices, of AdamW for vectors.

    A checkpoint is due every `save_every_s`: 100 s leave a kill no more than two minutes to take.
    """

    length: Length
    batch: int
    seed: int
    matrix_rate: float = RATES[0]
    vector_rate: float = RATES[1]
    look_every: int = 250
    save_every_s: float = 100.0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """One step done. `held_out` is nats a token, None when nothing was held out or it was not looked at."""

    progress: Progress
    done: float
    left_s: float
    loss: float
    tokens_per_s: float
    look: bool
    held_out: float | None


def rate(done: float, step: int, fall: float) -> float:
    """The share of the full learning rate, 0 to 1; it falls over the last `fall` of the run."""
    falling = 1.0 if done < 1 - fall else LAST_RATE + (1 - LAST_RATE) * (1 - done) / fall
    return min(1.0, (step + 1) / WARM_UP) * falling


def done(length: Length, progress: Progress) -> float:
    """How much of a run of that length is over, 0 to 1."""
    if length.steps is not None:
        return min(1.0, progress.step / length.steps)
    return min(1.0, progress.elapsed_s / (60.0 * (length.minutes or 1.0)))


def flat(length: Length, progress: Progress) -> bool:
    """Whether the rate of a run of that length has not begun to fall."""
    return done(length, progress) < 1 - length.fall


def optimisers_for(net: Gpt2, plan: Plan, spread: Spread = map) -> checkpoint.Optimisers:
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and biases."""
    matrices = [p for name, p in net.named_parameters() if name.startswith("h.") and p.ndim == 2]
    others = [p for name, p in net.named_parameters() if not (name.startswith("h.") and p.ndim == 2)]
    return {
        "muon": Muon(matrices, lr=plan.matrix_rate, spread=spread),
        "adam": torch.optim.AdamW(others, lr=plan.vector_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    }


def train(
    net: Gpt2,
    ids: Ids,
    held_out: Ids | None,
    plan: Plan,
    saved: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Report, None, None]:
    """Train from the checkpoint at `saved`, if there is one; closing the generator saves once more.

    Raises RunHalted when the loss is no number; the checkpoint is then the last good one.
    """
    with shares.spread(plan.threads) as spread:
        yield from _train(net, ids, held_out, plan, saved, clock, spread)


def _train(
    net: Gpt2, ids: Ids, held_out: Ids | None, plan: Plan, saved: Path, clock: Callable[[], float], spread: Spread
) -> Generator[Report, None, None]:
    optimisers = optimisers_for(net, plan, spread)
    progress = checkpoint.load(saved, net, optimisers) if saved.exists() else Progress()
    context = net.shape.n_positions
    windows = None if held_out is None else sample_windows(held_out, context, LOOK_WINDOWS)
    stream = batches(ids, context, plan.batch, plan.seed, start=progress.step)
    usual, saved_at, saved_step = math.inf, clock(), progress.step if saved.exists() else -1
    while (so_far := done(plan.length, progress)) < 1.0:
        begun = clock()
        share = rate(so_far, progress.step, plan.length.fall)
        loss = _step(net, torch.from_numpy(next(stream)).long(), optimisers, plan, share, spread)
        took = clock() - begun
        if not math.isfinite(loss):
            raise RunHalted(f"step {progress.step + 1}: the loss is {loss}; begin with --fresh and another --seed")
        usual = min(took, usual) if math.isinf(usual) else 0.9 * usual + 0.1 * min(took, SUSPENDED * usual)
        progress.step += 1
        progress.tokens += plan.batch * context
        progress.elapsed_s += min(took, SUSPENDED * usual)
        report = _report(plan, progress, loss, usual, context)
        if report.look and windows is not None:
            report = replace(report, held_out=shares.loss(net, torch.from_numpy(windows).long(), spread))
        try:
            yield report
        except GeneratorExit:
            # Only here are net, optimisers and progress of one step: an exception inside a step saves nothing.
            checkpoint.save(saved, progress, net, optimisers)
            raise
        if clock() - saved_at > plan.save_every_s:
            checkpoint.save(saved, progress, net, optimisers)
            saved_at, saved_step = clock(), progress.step
    if saved_step != progress.step:
        checkpoint.save(saved, progress, net, optimisers)


def _report(plan: Plan, progress: Progress, loss: float, step_s: float, context: int) -> Report:
    over = done(plan.length, progress)
    if plan.length.steps is not None:
        left_s = (plan.length.steps - progress.step) * step_s
    else:
        left_s = 60.0 * (plan.length.minutes or 1.0) - progress.elapsed_s
    return Report(
        progress=replace(progress),
        done=over,
        left_s=max(0.0, left_s),
        loss=loss,
        tokens_per_s=plan.batch * context / max(step_s, 1e-9),
        look=progress.step % plan.look_every == 0 or over >= 1.0,
        held_out=None,
    )


def _step(
    net: Gpt2, batch: torch.Tensor, optimisers: checkpoint.Optimisers, plan: Plan, share: float, spread: Spread
) -> float:
    loss = shares.backward(net, batch, spread)
    # Muon's step has the same length whatever the gradient's; only AdamW needs the clip.
    torch.nn.utils.clip_grad_norm_(optimisers["adam"].param_groups[0]["params"], 1.0)
    for label, optimiser in optimisers.items():
        optimiser.param_groups[0]["lr"] = share * (plan.matrix_rate if label == "muon" else plan.vector_rate)
        optimiser.step()
        optimiser.zero_grad()
    return loss
