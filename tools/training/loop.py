"""The training loop: a generator of reports, which knows nothing of terminals and files but its checkpoint.

While its rate is flat a run may still be made longer or shorter, its fall too, and is then the same run that it
would have been: where it is looked at does not depend on its length. Only how long patience lasts does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

from tools.training import plan as plans
from tools.training import shares
from tools.training.checkpoint import Progress
from tools.training.data import Ids, batches, sample_windows
from tools.training.errors import RunHalted
from tools.training.net import Gpt2
from tools.training.plan import Plan
from tools.training.shares import Spread
from tools.training.steps import Steps

SUSPENDED = 10  # a step that takes this many times the usual was a machine asleep, not work
LOOK_WINDOWS = 64  # held-out windows of a look on the way: 32,768 tokens at context 512, a second or two


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


def train(
    net: Gpt2,
    ids: Ids,
    held_out: Ids | None,
    plan: Plan,
    saved: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Report, None, None]:
    """Train from the checkpoint at `saved`, if there is one; closing the generator saves once more.

    At its end the net has the weights that the plan wants: the last, the best, or the mean. Raises RunHalted when
    the loss is no number; the checkpoint is then the last good one.
    """
    with shares.spread(plan.threads) as spread:
        # A card is one, and its threads are its own affair.
        yield from _train(net, ids, held_out, plan, saved, clock, map if plan.device == "cuda" else spread)


def _train(
    net: Gpt2, ids: Ids, held_out: Ids | None, plan: Plan, saved: Path, clock: Callable[[], float], spread: Spread
) -> Generator[Report, None, None]:
    context = net.shape.n_positions
    windows = None if held_out is None else sample_windows(held_out, context, LOOK_WINDOWS)
    steps = Steps(net, plan, saved, spread, windows)
    progress = steps.progress
    stream = batches(ids, context, plan.batch, plan.seed, start=progress.step)
    usual, saved_at, saved_step = math.inf, clock(), progress.step if saved.exists() else -1
    while not plans.over(plan, progress):
        begun = clock()
        loss = steps.step(next(stream))
        took = clock() - begun
        if not math.isfinite(loss):
            raise RunHalted(f"step {progress.step + 1}: the loss is {loss}; begin with --fresh and another --seed")
        usual = min(took, usual) if math.isinf(usual) else 0.9 * usual + 0.1 * min(took, SUSPENDED * usual)
        steps.count(plan.batch * context, min(took, SUSPENDED * usual))
        report = _report(plan, progress, loss, usual, context)
        if report.look:
            report = replace(report, held_out=steps.look(), progress=replace(progress))
        try:
            yield report
        except GeneratorExit:
            # Only here are net, optimisers and progress of one step: an exception inside a step saves nothing.
            steps.save()
            raise
        if clock() - saved_at > plan.save_every_s:
            steps.save()
            saved_at, saved_step = clock(), progress.step
    if saved_step != progress.step:
        steps.save()
    steps.settle()


def _report(plan: Plan, progress: Progress, loss: float, step_s: float, context: int) -> Report:
    over = plans.done(plan.length, progress)
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
        look=plans.looks(plan, progress.step) or over >= 1.0,
        held_out=None,
    )
