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

from tools.train import microbatches
from tools.train import schedule as plans
from tools.train.checkpoint import TrainState
from tools.train.data import TokenIds, iter_batches, sample_windows
from tools.train.errors import RunHalted
from tools.train.gpt2 import Gpt2
from tools.train.microbatches import ParallelMap
from tools.train.schedule import TrainPlan
from tools.train.steps import Trainer

SUSPEND_FACTOR = 10  # a step that takes this many times the usual was a machine asleep, not work
EVALUATION_WINDOWS = 64  # held-out windows of a look on the way: 32,768 tokens at context 512, a second or two


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step done. `held_out` is nats a token, None when nothing was held out or it was not looked at."""

    state: TrainState
    done: float
    remaining_s: float
    loss: float
    tokens_per_s: float
    is_evaluated: bool
    held_out_nats: float | None


def train_net(
    net: Gpt2,
    ids: TokenIds,
    held_out: TokenIds | None,
    plan: TrainPlan,
    checkpoint_path: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[StepReport, None, None]:
    """Train from the checkpoint at `saved`, if there is one; closing the generator saves once more.

    At its end the net has the weights that the plan wants: the last, the best, or the mean. Raises RunHalted when
    the loss is no number; the checkpoint is then the last good one.
    """
    with microbatches.open_thread_map(plan.threads) as spread:
        # A card is one, and its threads are its own affair.
        yield from _train_steps(
            net, ids, held_out, plan, checkpoint_path, clock, map if plan.device == "cuda" else spread
        )


def _train_steps(
    net: Gpt2,
    ids: TokenIds,
    held_out: TokenIds | None,
    plan: TrainPlan,
    checkpoint_path: Path,
    clock: Callable[[], float],
    parallel_map: ParallelMap,
) -> Generator[StepReport, None, None]:
    context = net.shape.n_positions
    windows = None if held_out is None else sample_windows(held_out, context, EVALUATION_WINDOWS)
    steps = Trainer(net, plan, checkpoint_path, parallel_map, windows)
    progress = steps.state
    stream = iter_batches(ids, context, plan.batch, plan.seed, start=progress.step)
    usual, saved_at, saved_step = math.inf, clock(), progress.step if checkpoint_path.exists() else -1
    while not plans.is_finished(plan, progress):
        begun = clock()
        loss = steps.take_step(next(stream))
        took = clock() - begun
        if not math.isfinite(loss):
            raise RunHalted(f"step {progress.step + 1}: the loss is {loss}; begin with --fresh and another --seed")
        usual = min(took, usual) if math.isinf(usual) else 0.9 * usual + 0.1 * min(took, SUSPEND_FACTOR * usual)
        steps.count_step(plan.batch * context, min(took, SUSPEND_FACTOR * usual))
        report = _make_report(plan, progress, loss, usual, context)
        if report.is_evaluated:
            report = replace(report, held_out_nats=steps.evaluate(), state=replace(progress))
        try:
            yield report
        except GeneratorExit:
            # Only here are net, optimisers and progress of one step: an exception inside a step saves nothing.
            steps.save_checkpoint()
            raise
        if clock() - saved_at > plan.save_every_s:
            steps.save_checkpoint()
            saved_at, saved_step = clock(), progress.step
    if saved_step != progress.step:
        steps.save_checkpoint()
    steps.load_final_weights()


def _make_report(plan: TrainPlan, state: TrainState, loss: float, step_s: float, context: int) -> StepReport:
    over = plans.share_done(plan.length, state)
    if plan.length.steps is not None:
        left_s = (plan.length.steps - state.step) * step_s
    else:
        left_s = 60.0 * (plan.length.minutes or 1.0) - state.elapsed_s
    return StepReport(
        state=replace(state),
        done=over,
        remaining_s=max(0.0, left_s),
        loss=loss,
        tokens_per_s=plan.batch * context / max(step_s, 1e-9),
        is_evaluated=plans.is_evaluation_step(plan, state.step) or over >= 1.0,
        held_out_nats=None,
    )
